"""A newer agent takes the place of an older one: the sockets stay, and somebody answers on them all the time."""

import contextlib
import os
import signal
import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import Iterator, List

import pytest
from agents import Versions, children_of, is_running
from nameserver import NameServer, eventually
from rcc.core.errors import AgentError
from rcc.system import agent_client, agent_handover, agent_line
from rcc.system.agent_handover import Restarts, take_over


@pytest.fixture
def versions() -> Iterator[Versions]:
    with tempfile.TemporaryDirectory(prefix="rcc-") as folder, NameServer() as server:
        made = Versions(folder, server)
        try:
            yield made
        finally:
            made.close()


def test_the_socket_stays_and_nobody_is_turned_away(versions: Versions) -> None:
    old = versions.start("1.0")
    before = versions.inode()
    refused: List[str] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            try:
                agent_client.ping(versions.root, 5.0)
            except AgentError as error:
                refused.append(str(error))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        new = versions.start("2.0")
    finally:
        done.set()
        asking.join()
    assert new.supervisor != old.supervisor and versions.inode() == before
    eventually(lambda: not is_running(old.pid) and not is_running(old.supervisor))
    # A client whose line the old one had not read yet when it went is told so by a closed connection.
    assert all("hung up" in text or "reset" in text for text in refused) and len(refused) <= 2, refused
    assert [line["how"] for line in versions.log() if line["event"] == "stopped"] == ["handed_over"]
    assert versions.start("1.0").supervisor != new.supervisor, "an older one, put back, takes over as well"
    assert versions.inode() == before


def test_the_newer_one_is_watched_like_any_other(versions: Versions) -> None:
    versions.start("1.0")
    new = versions.start("2.0")
    os.kill(new.pid, signal.SIGKILL)
    eventually(lambda: versions.version() == "2.0")
    again = agent_client.ping(versions.root)
    assert again.pid != new.pid and again.supervisor == new.supervisor
    assert children_of(again.supervisor) == [again.pid]


def test_the_older_one_goes_on_when_the_newer_one_dies_midway(versions: Versions) -> None:
    old = versions.start("1.0")
    place = take_over(versions.root)
    assert place.talk is not None
    assert agent_client.ping(versions.root).pid == old.pid, "it serves meanwhile"
    for descriptor in (place.talk, place.listening):
        descriptor.close()
    os.close(place.lock)
    time.sleep(0.2)
    assert agent_client.ping(versions.root).pid == old.pid
    assert versions.start("2.0").version == "2.0", "and the next one may try again"


def test_one_that_hands_nothing_over_is_stopped(versions: Versions, monkeypatch: pytest.MonkeyPatch) -> None:
    program = versions.program("0.9")
    path = os.path.join(os.path.dirname(program), "rcc", "system", "agent_handover.py")
    text = Path(path).read_text(encoding="utf-8")
    Path(path).write_text(text.replace('"op": "handover"', '"op": "hand"'), encoding="utf-8")
    old = versions.start("0.9")
    new = versions.start("2.0")
    assert new.supervisor != old.supervisor
    eventually(lambda: not is_running(old.supervisor))


NONSENSE = (
    b"",
    b"\n",
    b"nonsense\n",
    b"[]\n",
    b"null\n",
    b'{"ok": true}\n',
    b'{"ok": true, "sockets": 3, "more": false}\n',
    b'{"ok": true, "sockets": [[1, "udp4"]], "more": false}\n',
    b'{"ok": true, "sockets": [], "more": false}\n',
    b'{"ok": true, "sockets": [], "more": true}\n',
    b"x" * (2 << 20),
)


@pytest.mark.parametrize("reply", NONSENSE, ids=range(len(NONSENSE)))
def test_what_makes_no_sense_is_an_error(versions: Versions, reply: bytes) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(AgentError) as caught:
        answered_with(versions, reply)
    assert not isinstance(caught.value, Restarts)
    assert len(os.listdir("/proc/self/fd")) == before, "no descriptor is left"


def test_systemd_s_agent_asks_for_a_restart(versions: Versions) -> None:
    with pytest.raises(Restarts):
        answered_with(versions, agent_handover.RESTART)


def answered_with(versions: Versions, reply: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(agent_line.socket_path(versions.root))
        listening.listen()
        child = os.fork()
        if child == 0:
            connection, _ = listening.accept()
            with contextlib.suppress(OSError):
                connection.sendall(reply)
            os._exit(0)
        try:
            take_over(versions.root, 3.0)
        finally:
            os.waitpid(child, 0)
            os.unlink(agent_line.socket_path(versions.root))
