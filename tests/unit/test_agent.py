"""The agent as a process of its own, on a state folder of the test, asking a DNS server on loopback."""

import contextlib
import json
import os
import random
import select
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Iterator, List

import pytest
from agents import HOOKS, answering, children_of, end_all, is_running
from nameserver import NameServer, eventually
from rcc import __version__
from rcc.core.errors import AgentError
from rcc.core.names import Answer
from rcc.core.policy import Policy
from rcc.system import agent_client, agent_line, agent_start
from rcc.system.agent_line import NoAgent
from rcc.system.state import Member, Record, State

SCRIPT = os.path.join(HOOKS, "rcc-agent")
KEEPER = os.path.join(HOOKS, "rcc-keeper")
MEMBER = Member("c" * 64, "box", "run1")


class Home:
    """A state folder with what it takes to start agents on it."""

    def __init__(self, folder: str, server: NameServer) -> None:
        self.root = os.path.join(folder, "rcc")
        self.state = State(self.root)
        self.server = server
        resolv_conf = Path(folder, "resolv.conf")
        resolv_conf.write_text(server.resolv_conf, encoding="ascii")
        self.argv = ["/usr/bin/python3", "-I", "-S", KEEPER, "--root", self.root, "--"]
        self.argv += ["--resolv-conf", str(resolv_conf), "--hosts", ""]

    def ensure(self, *arguments: str) -> agent_client.Pong:
        return agent_start.ensure(self.root, [*self.argv, *arguments], 20.0)

    def end(self) -> None:
        end_all(self.root)

    def log(self) -> List[Any]:
        lines = Path(self.root, "agent.log").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]


@pytest.fixture
def home() -> Iterator[Home]:
    # Not tmp_path: the path of a Unix socket has at most 107 characters (unix(7)).
    with tempfile.TemporaryDirectory(prefix="rcc-") as folder, NameServer() as server:
        made = Home(folder, server)
        try:
            yield made
        finally:
            made.end()


def test_it_starts_answers_and_stops(home: Home) -> None:
    pong = home.ensure()
    assert (pong.version, pong.user_namespace) == (__version__, agent_start.user_namespace())
    assert home.ensure().pid == pong.pid
    agent_client.rescan(home.root)
    agent_client.stop(home.root)
    eventually(lambda: not is_running(pong.pid) and not is_running(pong.keeper))
    with pytest.raises(NoAgent):
        agent_client.ping(home.root)
    assert [line["event"] for line in home.log()] == ["started", "stopped"]


def test_it_is_a_daemon_of_its_own(home: Home) -> None:
    pid = home.ensure().pid
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    assert int(fields[3]) not in (os.getsid(0), 0)
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert {os.readlink(f"/proc/{pid}/fd/{number}") for number in (0, 1, 2)} == {"/dev/null"}
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    assert int(status["SigBlk"], 16) == 0 and status["Umask"] == "0077"
    environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    keys = [word.partition(b"=")[0] for word in environment if word]
    kept_keys = [b"LC_ALL", b"LISTEN_FDNAMES", b"LISTEN_FDS", b"LISTEN_PID", b"NOTIFY_SOCKET", b"PATH"]
    assert sorted(keys) == [*kept_keys, b"RCC_ENDED", b"RCC_KEEPER"]
    inherited = os.path.realpath(f"/proc/self/fd/{os.open('/dev/zero', os.O_RDONLY)}")
    kept = {os.path.realpath(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")}
    assert inherited not in kept
    assert os.stat(agent_line.socket_path(home.root)).st_mode & 0o777 == 0o600


def test_an_answer_is_kept_for_its_time(home: Home) -> None:
    home.server.add("a.example", "A", "203.0.113.1", ttl=60)
    home.ensure()
    assert agent_client.resolve(home.root, ["a.example"], 10.0) == (Answer("a.example", (("203.0.113.1", 60),)),)
    asked = len(home.server.asked)
    (again,) = agent_client.resolve(home.root, ["a.example"], 10.0)
    assert [address for address, _ in again.addresses] == ["203.0.113.1"]
    assert len(home.server.asked) == asked
    home.server.add("b.example", "A", "203.0.113.2", ttl=0)
    for _ in range(2):
        agent_client.resolve(home.root, ["b.example"], 10.0)
    assert [name for name, kind, _ in home.server.asked if kind == "A"].count("b.example") == 2


def test_a_silent_name_costs_its_own_answer_only(home: Home) -> None:
    home.server.add("a.example", "A", "203.0.113.1")
    home.server.special["dead.example"] = lambda query, tcp: None
    home.ensure()
    dead, good = agent_client.resolve(home.root, ["dead.example", "a.example"], 0.7)
    assert dead == Answer("dead.example", (), "no answer in time")
    assert good.addresses == (("203.0.113.1", 60),)


def test_two_at_once_become_one(home: Home) -> None:
    children = [subprocess.Popen([*home.argv, "--idle", "30"]) for _ in range(5)]
    try:
        eventually(lambda: sum(child.poll() is None for child in children) == 1)
        running = [child.pid for child in children if child.poll() is None]
        assert agent_client.ping(home.root, 5.0).keeper in running
        assert {child.returncode for child in children} == {0, None}
    finally:
        with contextlib.suppress(AgentError):
            agent_client.stop(home.root)
        for child in children:
            child.wait(20)


def test_it_goes_when_idle_and_stays_while_records_are_there(home: Home) -> None:
    pong = home.ensure("--idle", "0.3")
    eventually(lambda: not is_running(pong.keeper))
    assert not os.path.exists(agent_line.socket_path(home.root))
    record = own_record()
    with home.state:
        home.state.write_record(record)
    pong = home.ensure("--idle", "0.3")
    eventually(lambda: agent_client.ping(home.root).records == 1)
    time.sleep(1.5)  # five times as long as it would stay without
    assert is_running(pong.pid)
    with home.state:
        home.state.remove_record(record.netns)
    agent_client.rescan(home.root)
    eventually(lambda: not is_running(pong.pid))


def own_record(path: str = "/proc/self/ns/net") -> Record:
    """A record of the test's own namespace, in which there is no table of rcc: nothing in it is touched."""
    netns = os.stat("/proc/self/ns/net").st_ino
    return Record(netns, path, (MEMBER,), Policy("default"), "label", (), 1, "not.there", (), "", "", (), False, 1.5)


def test_after_kill_9_the_next_one_takes_over(home: Home) -> None:
    with home.state:
        home.state.write_record(own_record())
    first = home.ensure()
    eventually(lambda: agent_client.ping(home.root).records == 1)
    for pid in (first.keeper, first.pid):
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not is_running(first.pid))
    assert os.path.exists(agent_line.socket_path(home.root)), "it had no time to remove it"
    second = home.ensure()
    assert second.pid != first.pid
    eventually(lambda: agent_client.ping(home.root).records == 1)
    eventually(lambda: [line for line in home.log() if line["event"] == "refresh_failed"])
    assert agent_client.ping(home.root).pid == second.pid, "a record that fails stops nothing"


def test_one_that_is_killed_is_back_at_once(home: Home) -> None:
    """Many times in a row, while questions come: nobody has to help, and nothing is left over."""
    home.server.add("a.example", "A", "203.0.113.1", ttl=0)
    first = home.ensure()
    inode = os.stat(agent_line.socket_path(home.root)).st_ino
    agent = first.pid
    for _ in range(20):
        os.kill(agent, signal.SIGKILL)
        pong = answering(home, 2.0)
        assert pong.pid != agent and pong.keeper == first.keeper
        assert agent_client.resolve(home.root, ["a.example"], 5.0)[0].addresses
        agent = pong.pid
    assert agent in children_of(first.keeper) and len(children_of(first.keeper)) == 2, "and the spare"
    assert len(os.listdir(f"/proc/{first.keeper}/fd")) < 12, "nothing piles up"
    assert [line["ended_before"] for line in home.log() if line["event"] == "started"] == ["", *["signal 9"] * 20]
    assert os.stat(agent_line.socket_path(home.root)).st_ino == inode, "whoever comes meanwhile waits"


def test_whoever_comes_while_it_is_not_there_waits(home: Home) -> None:
    pong = home.ensure()
    for _ in range(5):
        os.kill(pong.pid, signal.SIGKILL)
        pong = agent_client.ping(home.root, 10.0)


def test_a_keeper_that_is_killed_is_replaced_and_the_agent_goes_on(home: Home) -> None:
    home.server.add("a.example", "A", "203.0.113.1", ttl=0)
    first = pong = home.ensure()
    for turn in range(5):
        os.kill(pong.keeper, signal.SIGKILL)
        pong = answering(home, 5.0, other_than=pong.keeper)
        assert pong.pid == first.pid, "nobody was without it for a moment"
        assert agent_client.resolve(home.root, ["a.example"], 5.0)[0].addresses
        if turn == 4:  # the new keeper, whose child it is not, keeps it like any other
            os.kill(pong.pid, signal.SIGKILL)
            after = answering(home, 5.0)
            assert after.pid != pong.pid and after.keeper == pong.keeper
            assert after.pid in children_of(after.keeper) and len(children_of(after.keeper)) == 2
    agent_client.stop(home.root)
    eventually(lambda: not is_running(pong.keeper) and not os.path.exists(agent_line.socket_path(home.root)))


def test_an_agent_that_was_adopted_ends_with_its_keeper(home: Home) -> None:
    pong = home.ensure()
    os.kill(pong.keeper, signal.SIGKILL)
    pong = answering(home, 5.0, other_than=pong.keeper)
    agent_client.stop(home.root)
    eventually(lambda: not is_running(pong.pid) and not is_running(pong.keeper))
    assert not os.path.exists(agent_line.socket_path(home.root))


def test_a_socket_that_cannot_be_made_is_an_error_at_once(home: Home) -> None:
    os.mkdir(agent_line.socket_path(home.root))
    done = subprocess.run(home.argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == AgentError.exit_code and "cannot listen" in done.stderr
    os.rmdir(agent_line.socket_path(home.root))


def test_sigterm_ends_it_cleanly(home: Home) -> None:
    pong = home.ensure()
    pid = pong.pid
    os.kill(pong.keeper, signal.SIGTERM)
    eventually(lambda: not is_running(pid) and not is_running(pong.keeper))
    assert not os.path.exists(agent_line.socket_path(home.root))
    assert home.log()[-1]["event"] == "stopped"


def test_stop_by_the_command_line(home: Home) -> None:
    pid = home.ensure().pid
    subprocess.run(["/usr/bin/python3", "-I", "-S", SCRIPT, "--root", home.root, "--stop"], check=True)
    eventually(lambda: not is_running(pid))
    missing = subprocess.run([SCRIPT, "--root", home.root, "--stop"], capture_output=True, text=True)
    assert missing.returncode == AgentError.exit_code and "no agent" in missing.stderr


def talk(home: Home, data: bytes) -> bytes:
    """What the agent says to ``data`` until it hangs up or is silent."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(agent_line.socket_path(home.root))
        connection.settimeout(10)
        heard = b""
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while True:
                part = connection.recv(65536)
                if not part:
                    return heard
                heard += part
        except (BrokenPipeError, ConnectionResetError):
            return heard


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (b'{"v": 99, "op": "ping"}\n', "version 1"),
        (b'{"v": 1, "op": "fly"}\n', "no such request"),
        (b"\xff\xfe\n", "not JSON"),
        (b"[" * 100000 + b"\n", "not JSON"),
        (b'{"v": 1, "op": "resolve", "names": ["a b"], "seconds": 1}\n', "host names"),
        (b"x" * (2 << 20), "longer"),
        (b'{"v": 1, "op": "ping"}', "not a whole line"),
    ],
)
def test_what_makes_no_sense_gets_an_error_and_hurts_nobody(home: Home, line: bytes, cause: str) -> None:
    pid = home.ensure().pid
    reply = talk(home, line)
    if len(line) < 1 << 20 or reply:  # it may hang up while a client still sends
        assert json.loads(reply)["ok"] is False and cause in json.loads(reply)["error"]
    assert agent_client.ping(home.root).pid == pid


def test_noise_hurts_nobody(home: Home) -> None:
    pid = home.ensure().pid
    noise = random.Random(7)
    good = b'{"v":1,"op":"resolve","names":["a.example"],"seconds":0.1}\n'
    for _ in range(300):
        data = bytearray(good)
        for _ in range(noise.randrange(1, 6)):
            data[noise.randrange(len(data))] = noise.randrange(256)
        talk(home, bytes(data[: noise.randrange(len(data) + 1)]))
    pong = agent_client.ping(home.root)
    assert pong.pid == pid or (not is_running(pid) and pong is None)
    assert not [line for line in home.log() if line["level"] in ("error", "critical")]


def test_a_client_that_says_nothing_holds_up_nobody(home: Home) -> None:
    home.ensure()
    silent = []
    try:
        for _ in range(200):
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(agent_line.socket_path(home.root))
            silent.append(connection)
        eventually(lambda: select.select(silent, [], [], 0)[0])  # those beyond the limit are closed
        for connection in silent[:150]:
            connection.close()
        assert answering(home, 2.0).pid
    finally:
        for connection in silent:
            connection.close()


def test_an_agent_of_another_user_namespace_is_replaced(home: Home) -> None:
    """It could not enter the containers of this one."""
    inside = ["unshare", "--user", "--map-root-user", *home.argv]
    child = subprocess.Popen(inside)
    try:
        old = answering(home, 5.0)
        assert old.user_namespace != agent_start.user_namespace()
        new = home.ensure()
        assert new.keeper != old.keeper and new.user_namespace == agent_start.user_namespace()
        child.wait(20)
    finally:
        child.kill()
        child.wait()


def test_one_that_never_starts_is_an_error_in_time(home: Home) -> None:
    with pytest.raises(AgentError):
        agent_start.ensure(home.root, ["/nonexistent/agent"], 0.3)
    with pytest.raises(AgentError):
        agent_start.ensure(home.root, ["/bin/sleep", "0"], 0.3)


def test_one_that_hangs_is_an_error_in_time(home: Home) -> None:
    pid = home.ensure().pid
    os.kill(pid, signal.SIGSTOP)
    try:
        for ask in (agent_client.ping, agent_client.rescan, agent_client.stop):
            with pytest.raises(AgentError, match="answer"):
                ask(home.root, 0.2)
        with pytest.raises(AgentError):
            agent_client.resolve(home.root, ["a.example"], 0.2)
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize(
    "reply", [b"", b"\n", b"nonsense\n", b'{"v": 1, "ok": true}\n', b'{"v": 2, "ok": true}\n', b"x" * 70000]
)
def test_a_false_agent_is_an_error(home: Home, reply: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(agent_line.socket_path(home.root))
        listening.listen()
        child = os.fork()
        if child == 0:
            connection, _ = listening.accept()
            connection.sendall(reply)
            connection.close()
            os._exit(0)
        with pytest.raises(AgentError):
            agent_client.ping(home.root, 5.0)
        os.waitpid(child, 0)


@pytest.mark.parametrize(
    ("text", "goal"),
    [
        ("0::/user.slice/user-1000.slice/session-2.scope\n", None),
        ("0::/\n", None),
        ("1:cpu:/libpod-abc\n", None),
        ("0::/machine.slice/libpod-abc.scope/container\n", "/machine.slice/rcc-agent"),
        ("0::/machine.slice/libpod-conmon-abc.scope\n", "/machine.slice/rcc-agent"),
        (
            "1:x:/y\n0::/user.slice/user-1000.slice/user@1000.service/app.slice/box.service/libpod-payload-abc\n",
            "/user.slice/user-1000.slice/user@1000.service/app.slice/rcc-agent",
        ),
        ("0::/system.slice/box.service\n", "/system.slice/rcc-agent"),
    ],
)
def test_where_the_agent_may_stay(text: str, goal: "str | None") -> None:
    assert agent_start.agent_cgroup(text) == goal


def test_it_leaves_a_group_that_passes_away(tmp_path: Path) -> None:
    proc, mount = tmp_path / "cgroup", tmp_path / "mount"
    proc.write_text("0::/machine.slice/libpod-abc.scope\n")
    assert not agent_start.leave_cgroup(str(proc), str(mount))
    (mount / "machine.slice").mkdir(parents=True)
    (mount / "cgroup.procs").write_text("")
    assert agent_start.leave_cgroup(str(proc), str(mount))
    assert (mount / "machine.slice/rcc-agent/cgroup.procs").read_text() == f"{os.getpid()}\n"
