"""The keeper with agents that are scripts of the test: it starts them, holds what they give it, knows when to end."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Iterator, List

import pytest
from agents import HOOKS, Versions, children_of
from nameserver import NameServer, eventually
from rcc.core.errors import EX_OK, EX_SOFTWARE
from rcc.system import agent_client, agent_line
from rcc.system.keep import DEFECTS, Keeper, Taken

# Says what it was given, and does what the file `do` beside it says.
AGENT = """
import array, os, socket, sys, time
root = sys.argv[sys.argv.index("--root") + 1]
names = os.environ["LISTEN_FDNAMES"].split(":")
assert os.environ["LISTEN_PID"] == str(os.getpid()) and int(os.environ["LISTEN_FDS"]) == len(names)
kinds = [socket.socket(fileno=os.dup(3 + number)).type for number in range(len(names))]
with open(root + "/starts", "a") as stream:
    print(os.environ["RCC_ENDED"] or "first", *names, file=stream)

def notify(text, *descriptors):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect(os.environ["NOTIFY_SOCKET"])
        sender.sendmsg([text.encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))])

exec(open(root + "/do").read())
"""


class Kept:
    """A keeper in a process of its own."""

    def __init__(self, folder: str) -> None:
        self.root = os.path.join(folder, "rcc")
        os.mkdir(self.root, 0o700)
        self._script = Path(folder, "rcc-agent")
        self._script.write_text(AGENT)
        self._keeper = Path(folder, "rcc-keeper")
        text = Path(HOOKS, "rcc-keeper").read_text().replace("os.path.dirname(os.path.abspath(__file__))", repr(HOOKS))
        self._keeper.write_text(text)
        self.child: "subprocess.Popen[bytes]"

    def start(self, does: str) -> "subprocess.Popen[bytes]":
        Path(self.root, "do").write_text(does)
        self.child = subprocess.Popen(["/usr/bin/python3", "-IS", str(self._keeper), "--root", self.root])
        return self.child

    def starts(self) -> List[str]:
        with contextlib.suppress(FileNotFoundError):
            return Path(self.root, "starts").read_text().splitlines()
        return []

    def come(self) -> socket.socket:
        made = socket.socket(socket.AF_UNIX)
        made.connect(agent_line.socket_path(self.root))
        return made


@pytest.fixture
def kept() -> Iterator[Kept]:
    with tempfile.TemporaryDirectory(prefix="rcc-") as folder:
        made = Kept(folder)
        yield made
        subprocess.run(["pkill", "-9", "-f", folder], check=False)
        made.child.wait()


def test_it_ends_with_an_agent_that_ends_well(kept: Kept) -> None:
    assert kept.start("").wait(20) == EX_OK
    assert kept.starts() == ["first rcc-agent.socket"]
    assert sorted(os.listdir(kept.root)) == ["do", "keeper.lock", "starts"], "sockets are gone"


def test_what_it_was_given_the_next_one_gets(kept: Kept) -> None:
    stores = "notify(f'FDSTORE=1\\nFDPOLL=0\\nFDNAME={name}', made.fileno())"
    kept.start(f"""
made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
if len(names) == 1:
    for name in ("7.udp4", "8.tcp4", "9.udp6"):
        {stores}
    notify("FDSTOREREMOVE=1\\nFDNAME=8.tcp4")
    name = "7.udp4"
    {stores}  # in place of the one before
    notify("FDSTORE=1\\nFDNAME=")
    notify("nonsense")
    notify("READY=1")
    os.kill(os.getpid(), 9)
assert kinds[1:] == [socket.SOCK_DGRAM] * 2
""")
    assert kept.child.wait(20) == EX_OK
    assert kept.starts() == ["first rcc-agent.socket", "signal 9 rcc-agent.socket 9.udp6 7.udp4"]


def test_thousands_of_sockets(kept: Kept) -> None:
    kept.start("""
if len(names) == 1:
    for number in range(3000):
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        notify(f"FDSTORE=1\\nFDNAME={4026531840 + number}.udp4", made.fileno())
    os.kill(os.getpid(), 9)
assert len(names) == len(kinds) == 3001
""")
    assert kept.child.wait(60) == EX_OK and len(kept.starts()) == 2


def test_one_that_always_fails_is_given_up(kept: Kept) -> None:
    assert kept.start("sys.exit(3)").wait(60) == EX_SOFTWARE
    assert len(kept.starts()) == DEFECTS and kept.starts()[-1].startswith("status 3")


def test_one_that_makes_room_for_another_version_is_no_defect(kept: Kept) -> None:
    kept.start("count = len(open(root + '/starts').readlines()); sys.exit(75 if count < 30 else 0)")
    assert kept.child.wait(60) == EX_OK and len(kept.starts()) == 30


def test_whoever_has_come_meanwhile_gets_another_one(kept: Kept) -> None:
    kept.start("time.sleep(1) if len(open(root + '/starts').readlines()) == 1 else socket.socket(fileno=3).accept()")
    eventually(lambda: len(kept.starts()) == 1)
    with kept.come():
        assert kept.child.wait(20) == EX_OK
    assert len(kept.starts()) == 2


def test_there_is_one_keeper(kept: Kept) -> None:
    kept.start("time.sleep(60)")
    eventually(lambda: len(kept.starts()) == 1)
    with pytest.raises(Taken):
        Keeper(kept.root, ["/bin/true"])
    second = subprocess.run([*kept.child.args], check=False, timeout=20)  # type: ignore[misc]
    assert second.returncode == EX_OK and len(kept.starts()) == 1


def test_it_passes_a_signal_on(kept: Kept) -> None:
    kept.start("import signal; signal.signal(15, lambda *_: sys.exit(0)); notify('READY=1'); time.sleep(60)")
    eventually(lambda: len(kept.starts()) == 1)
    time.sleep(0.3)
    kept.child.send_signal(signal.SIGTERM)
    assert kept.child.wait(20) == EX_OK


def test_its_spare_takes_its_place(kept: Kept) -> None:
    """Also when the agent has died with it: nobody has to come for another one to be started."""
    kept.start("notify('READY=1'); time.sleep(60)")
    eventually(lambda: len(kept.starts()) == 1)
    for turn in range(2, 6):
        for pid in subprocess.run(["pgrep", "-f", f"{kept.root}$"], capture_output=True, text=True).stdout.split():
            agent = b"rcc-agent" in Path(f"/proc/{pid}/cmdline").read_bytes()
            keeper = not agent and len(children_of(int(pid))) == 2
            if agent or keeper:
                os.kill(int(pid), signal.SIGKILL)
        eventually(lambda turn=turn: len(kept.starts()) == turn)  # type: ignore[misc]
        time.sleep(0.1)


def test_a_spare_that_dies_is_replaced(kept: Kept) -> None:
    kept.start("time.sleep(60)")
    eventually(lambda: len(kept.starts()) == 1)
    before = set(children_of(kept.child.pid))
    for pid in before:
        if b"rcc-keeper" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)
    eventually(lambda: len(children_of(kept.child.pid)) == 2 and set(children_of(kept.child.pid)) != before)
    assert len(kept.starts()) == 1, "the agent has noticed nothing"


def test_it_goes_when_the_socket_is_another_s(kept: Kept) -> None:
    """systemd's unit has been started."""
    kept.start("import signal; signal.signal(15, lambda *_: sys.exit(0)); time.sleep(60)")
    eventually(lambda: len(kept.starts()) == 1)
    time.sleep(0.3)
    os.unlink(agent_line.socket_path(kept.root))
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(agent_line.socket_path(kept.root))
        assert kept.child.wait(20) == EX_OK
    assert os.path.exists(agent_line.socket_path(kept.root)), "which it leaves alone"


NONSENSE = (
    b"",
    b"\n",
    b"nonsense\n",
    b"[]\n",
    b"null\n",
    b'{"ok": false, "error": "this agent has a keeper"}\n',
    b'{"ok": true}\n',
    b'{"ok": true, "pid": 1, "sockets": 3, "more": false}\n',
    b'{"ok": true, "pid": 1, "sockets": [[1, "udp4"]], "more": false}\n',
    b'{"ok": true, "pid": "x", "sockets": [], "more": false}\n',
    b'{"ok": true, "sockets": [], "more": true}\n',
    b"x" * (2 << 20),
)


@pytest.mark.parametrize("reply", NONSENSE, ids=range(len(NONSENSE)))
def test_what_makes_no_sense_is_not_adopted(reply: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="rcc-") as root, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(agent_line.socket_path(root))
        listening.listen()
        lock = os.path.join(root, "agent.lock")
        holder = subprocess.Popen(["flock", lock, "sleep", "60"])
        eventually(lambda: subprocess.run(["flock", "-n", lock, "true"], check=False).returncode != 0)
        child = os.fork()
        if child == 0:
            connection, _ = listening.accept()
            with contextlib.suppress(OSError):
                connection.sendall(reply)
            os._exit(0)
        keeper = Keeper(root, ["/bin/true"])
        before = len(os.listdir("/proc/self/fd"))
        assert not keeper.adopted()
        assert len(os.listdir("/proc/self/fd")) == before, "no descriptor is left"
        keeper.close()
        os.waitpid(child, 0)
        holder.kill()
        holder.wait()


def test_there_is_nobody_to_adopt_without_the_agents_lock() -> None:
    with tempfile.TemporaryDirectory(prefix="rcc-") as root, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(agent_line.socket_path(root))
        listening.listen()  # a spare holds this open, whether the agent lives or not
        keeper = Keeper(root, ["/bin/true"])
        began = time.monotonic()
        assert not keeper.adopted() and time.monotonic() - began < 5
        keeper.close()


@pytest.fixture
def versions() -> Iterator[Versions]:
    with tempfile.TemporaryDirectory(prefix="rcc-") as folder, NameServer() as server:
        made = Versions(folder, server)
        try:
            yield made
        finally:
            made.close()


def test_another_version_takes_the_place_and_nobody_is_turned_away(versions: Versions) -> None:
    old = versions.start("1.0")
    inode = versions.inode()
    for version in ("2.0", "1.0"):
        new = versions.start(version)
        assert new.pid != old.pid and new.keeper == old.keeper and versions.inode() == inode
        old = new
    assert old.pid in children_of(old.keeper)


def test_an_agent_with_a_keeper_is_not_adopted(versions: Versions) -> None:
    pong = versions.start("1.0")
    with socket.socket(socket.AF_UNIX) as talk:
        talk.connect(agent_line.socket_path(versions.root))
        talk.sendall(b'{"v": 1, "op": "adopt", "keeper": 1}\n')
        talk.settimeout(10)
        assert json.loads(talk.recv(4096))["ok"] is False
    assert agent_client.ping(versions.root).keeper == pong.keeper


def test_an_agent_started_by_hand_gets_a_keeper(versions: Versions) -> None:
    program = os.path.join(versions.install("1.0"), "rcc-agent")
    words = ["/usr/bin/python3", "-IS", program, "--root", versions.root, "--hosts=", "--idle", "0.5"]
    child = subprocess.Popen([*words, "--resolv-conf", f"{versions.folder}/resolv.conf"])
    eventually(lambda: versions.version() == "1.0")
    assert agent_client.ping(versions.root).keeper == child.pid
    assert child.wait(20) == EX_OK


def test_it_imports_next_to_nothing() -> None:
    """It stays in memory, once for every user."""
    script = "import sys; sys.path.insert(0, sys.argv[1]); import rcc.keeper; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-IS", "-c", script, HOOKS], capture_output=True, text=True, check=True)
    slow = {"asyncio", "structlog", "dns", "yaml", "threading", "subprocess", "rcc.core.policy"}
    assert not slow & set(done.stdout.split())
