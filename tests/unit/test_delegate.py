"""Only the agent's plain success counts: whatever else it says or does, the hook does the work itself."""

import json
import os
import socket
import threading
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest
from rcc import __version__
from rcc.app import delegate
from rcc.core.agent_protocol import parse_request
from rcc.core.oci import RUN, TOUCH
from rcc.system.owner import own_namespaces

SPEC: Dict[str, Any] = {"linux": {"namespaces": [{"type": "network", "path": "/proc/self/ns/net"}]}, "text": 'ü"\n'}
DATA = json.dumps(SPEC, ensure_ascii=False).encode()
ISOLATED = json.dumps(
    {"hooks": {"poststop": [{"path": TOUCH, "args": ["touch", "/f"], "env": [f"{RUN}0123abcd"]}]}},
    separators=(",", ":"),
)
STATE = json.dumps({"id": "c" * 64, "pid": os.getpid(), "bundle": "/b", "status": "created"}).encode()
NETNS = os.stat("/proc/self/ns/net").st_ino


class FakeAgent:
    """Answers every line with ``reply`` and keeps what it was asked."""

    def __init__(self, path: Path) -> None:
        self.reply = b""
        self.asked: List[bytes] = []
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listening.bind(str(path))
        self._listening.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as stream:
                line = stream.readline()
                if line:
                    self.asked.append(line)
                    connection.sendall(self.reply)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAgent]:
    monkeypatch.setattr(delegate, "state_root", lambda: str(tmp_path))
    made = FakeAgent(tmp_path / "agent.sock")
    yield made
    made.close()


def test_the_request_is_one_that_the_agent_understands(agent: FakeAgent) -> None:
    agent.reply = json.dumps({"v": 1, "ok": True, "spec": ISOLATED}).encode() + b"\n"
    assert delegate.admit_by_agent(DATA, '/tmp/a "b"', SPEC) == ISOLATED.encode()
    request = parse_request(agent.asked[0])
    assert (request.op, request.spec.encode(), request.cwd) == ("admit", DATA, '/tmp/a "b"')
    assert (request.version, list(request.namespaces)) == (__version__, own_namespaces())
    assert request.netns == NETNS
    assert delegate.isolate_by_agent("0123abcd", STATE)
    request = parse_request(agent.asked[1])
    assert (request.op, request.run, request.container) == ("isolate", "0123abcd", "c" * 64)
    assert (request.pid, request.netns) == (os.getpid(), NETNS)
    assert delegate.release_by_agent("0123abcd")
    assert parse_request(agent.asked[2]).run == "0123abcd"


@pytest.mark.parametrize("spec", [None, "{}", DATA.decode(), "[]", 7, "no JSON", '{"hooks": []}'])
def test_that_a_container_need_not_be_isolated_is_not_the_agents_to_say(agent: FakeAgent, spec: Any) -> None:
    """Whoever got hold of the socket must not be able to open the next container with a word."""
    agent.reply = json.dumps({"v": 1, "ok": True, "spec": spec}).encode() + b"\n"
    assert delegate.admit_by_agent(DATA, "/", SPEC) is None


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"\n",
        b"nonsense\n",
        b'{"v":1,"ok":true}',
        b'{"v":1,"ok":false,"error":"no","hint":"","spec":"{}"}\n',
        b'{"v":2,"ok":true,"spec":"{}"}\n',
        b'{"ok":true,"spec":"{}"}\n',
        b'{"v":1,"ok":1,"spec":"{}"}\n',
        b'[1, "ok", "spec"]\n',
        b'{"v":1,"ok":true,"spec":"{}"} more\n',
    ],
)
def test_everything_else_is_left_to_the_hook(agent: FakeAgent, reply: bytes) -> None:
    agent.reply = reply
    assert delegate.admit_by_agent(DATA, "/", SPEC) is None
    assert not delegate.isolate_by_agent("0123abcd", STATE)
    assert not delegate.release_by_agent("0123abcd")


def test_a_success_without_a_spec_is_none_for_precreate(agent: FakeAgent) -> None:
    agent.reply = b'{"v":1,"ok":true}\n'
    assert delegate.admit_by_agent(DATA, "/", SPEC) is None


@pytest.mark.parametrize("run", ["", "x", "../x", '0"', "ABC"])
def test_what_is_no_run_is_not_sent(agent: FakeAgent, run: str) -> None:
    assert not delegate.release_by_agent(run)
    assert not delegate.isolate_by_agent(run, STATE)
    assert agent.asked == []


@pytest.mark.parametrize("state", [b"", b"{}", b"[]", b'{"id":"a","bundle":"/b","pid":0}', b"\xff"])
def test_a_state_without_a_process_is_not_sent(agent: FakeAgent, state: bytes) -> None:
    agent.reply = b'{"v":1,"ok":true}\n'
    assert not delegate.isolate_by_agent("0123abcd", state)
    assert agent.asked == []


def test_no_agent_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delegate, "state_root", lambda: str(tmp_path))
    assert delegate.admit_by_agent(DATA, "/", SPEC) is None
    assert not delegate.isolate_by_agent("0123abcd", STATE)
    assert not delegate.release_by_agent("0123abcd")
