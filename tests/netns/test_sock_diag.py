"""Whose socket is that: the kernel's list of one namespace, and the process that has it."""

import os
import socket
import subprocess
from typing import Any, Iterator

import pytest
from nameserver import eventually
from pair import WORLD4, WORLD6, Pair, entered
from rcc.app.observe import look, who_asks
from rcc.core.policy import Policy
from rcc.system.netns import inode_of
from rcc.system.processes import owners, processes_in
from rcc.system.sock_diag import read_sockets
from rcc.system.state import Record

pytestmark = pytest.mark.netns

HOLDER = """
import socket, sys
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("127.0.0.1", 5555))
tcp = socket.create_connection((sys.argv[1], int(sys.argv[2])))
tcp.sendall(b"x" * 5000)
tcp.recv(1)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=[WORLD4, WORLD6])
def holder(lab: Pair, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A process in the box with a connection to the world and a UDP port."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    listening = lab.open_socket(lab.world, family, socket.SOCK_STREAM)
    listening.bind((request.param, 0))
    listening.listen()
    port = listening.getsockname()[1]
    words = ["nsenter", f"--net=/proc/self/fd/{lab.box}", "python3", "-c", HOLDER, request.param, str(port)]
    child = subprocess.Popen(words, pass_fds=[lab.box], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    accepted, _ = listening.accept()
    with accepted:
        left = 5000
        while left:
            left -= len(accepted.recv(left))
        accepted.sendall(b"y")
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        yield child, request.param, port
    child.communicate("")


def record_of(lab: Pair) -> Record:
    netns = inode_of(lab.box)
    path = f"/proc/{os.getpid()}/fd/{lab.box}"
    return Record(netns, path, (), Policy("p"), "", (), 1, f"{netns}.1", (), "", "", (), False, 1.0)


def test_connections_with_their_sizes_and_processes(lab: Pair, holder: Any) -> None:
    child, address, port = holder
    with entered(lab.box):
        found = [one for one in read_sockets() if one.remote_port == port]
    (one,) = found
    assert (one.protocol, one.state, str(one.remote)) == ("tcp", "established", address)
    assert one.sent >= 5000 and one.received >= 1
    netns = inode_of(lab.box)
    assert f"/proc/{child.pid}" in list(processes_in(netns))
    assert owners(netns, {one.inode}) == {one.inode: "python3"}
    assert owners(netns, {1}) == {} and owners(1, {one.inode}) == {}


def test_who_asks(lab: Pair, holder: Any) -> None:
    record = record_of(lab)
    assert who_asks(record, 5555, "udp") == "python3"
    assert who_asks(record, 5556, "udp") == "" and who_asks(record, 5555, "tcp") == ""


def test_a_look_at_a_namespace_without_a_table(lab: Pair, holder: Any) -> None:
    seen = look(record_of(lab), True)
    assert not seen.notes.denied and "python3" in dict(seen.processes).values()
    assert not look(record_of(lab), False).sockets


def test_a_process_that_has_gone_is_nobody(lab: Pair, holder: Any) -> None:
    child, _, _ = holder
    with entered(lab.box):
        (one,) = [one for one in read_sockets(("udp",)) if one.port == 5555]
    child.kill()
    child.wait()
    eventually(lambda: owners(inode_of(lab.box), {one.inode}) == {})
