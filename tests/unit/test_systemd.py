"""The agent as a service of systemd's: a small manager here passes and keeps sockets as systemd does."""

import os
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Iterator

import pytest
from agents import Manager, Versions
from nameserver import NameServer, eventually
from rcc.core.errors import EX_TEMPFAIL, AgentError
from rcc.system import agent_client, agent_line, systemd


@pytest.fixture
def manager() -> Iterator[Manager]:
    with tempfile.TemporaryDirectory(prefix="rcc-") as folder, NameServer() as server:
        made = Manager(Versions(folder, server))
        try:
            yield made
        finally:
            made.close()


def test_it_serves_on_the_socket_that_it_is_given(manager: Manager) -> None:
    inode = manager.versions.inode()
    manager.start("1.0")
    assert manager.hears() == ({"READY": "1"}, [])
    pong = agent_client.ping(manager.versions.root, 5.0)
    assert pong.pid == manager.pid, "systemd watches it, nobody else"
    agent_client.stop(manager.versions.root)
    assert manager.status() == 0
    assert manager.versions.inode() == inode, "the socket is systemd's"


def test_whoever_comes_first_waits_until_it_is_there(manager: Manager) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(agent_line.socket_path(manager.versions.root))
        client.sendall(b'{"v": 1, "op": "ping"}\n')
        manager.start("1.0")
        client.settimeout(20)
        assert b'"ok":true' in client.recv(4096)


def test_it_goes_when_idle_with_status_0(manager: Manager) -> None:
    manager.start("1.0", "--idle", "0.3")
    assert manager.status() == 0


def test_an_agent_that_was_there_before_goes(manager: Manager) -> None:
    """The hook has started one, and then the unit is started: its socket takes the place of the older one's."""
    manager.listening.close()
    os.unlink(agent_line.socket_path(manager.versions.root))
    old = manager.versions.start("1.0")
    manager.listen()
    manager.start("1.0")
    assert agent_client.ping(manager.versions.root, 20.0).pid == manager.pid != old.pid


def test_one_that_cannot_have_the_place_answers_whoever_waits(manager: Manager) -> None:
    """Or systemd would start it again and again for the same client."""
    lock = os.path.join(manager.versions.root, "agent.lock")
    holder = subprocess.Popen(["flock", lock, "sleep", "60"])
    try:
        eventually(lambda: subprocess.run(["flock", "-n", lock, "true"], check=False).returncode != 0)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(agent_line.socket_path(manager.versions.root))
            client.sendall(b'{"v": 1, "op": "ping"}\n')
            manager.start("1.0")
            client.settimeout(20)
            assert b"holds the lock" in client.recv(4096)
        assert manager.status() == AgentError.exit_code
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()


def test_another_version_asks_systemd_for_a_restart(manager: Manager) -> None:
    manager.start("1.0")
    manager.hears()
    agent_client.restart(manager.versions.root)
    assert manager.status() == EX_TEMPFAIL, "Restart=on-failure"
    manager.start("2.0")
    assert agent_client.ping(manager.versions.root, 5.0).version == "2.0"


@pytest.mark.parametrize(
    ("pid", "count"), [("", "1"), ("1", "1"), (str(os.getpid()), ""), (str(os.getpid()), "0"), (str(os.getpid()), "x")]
)
def test_nothing_is_taken_that_was_not_given(monkeypatch: pytest.MonkeyPatch, pid: str, count: str) -> None:
    monkeypatch.setenv("LISTEN_PID", pid)
    monkeypatch.setenv("LISTEN_FDS", count)
    assert systemd.activated() is None
    assert "LISTEN_PID" not in os.environ and "LISTEN_FDS" not in os.environ


def test_nobody_is_notified_where_nobody_listens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for address in ("", "relative", str(tmp_path / "missing"), "@no-such-name"):
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        systemd.notify(b"READY=1\n")
