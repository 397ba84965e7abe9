"""What systemd does for the agent, where there is no systemd: start it, hold its sockets, start it again.

The keeper talks to the agent as systemd does (sd_listen_fds(3), sd_notify(3) with FDSTORE=1), so the agent has one way
of living.  It imports next to nothing and has a command line of its own: it is there when the agent is not.
A copy of the keeper, the spare, only waits for its death and then takes its place; should both die, the agent starts
another keeper.  So there are three, and whichever of them is killed, the others make another one.
A new keeper adopts the agent that runs: it is handed the sockets over a connection, a line of JSON each way, and
watches a process that is not its child by a pidfd (pidfd_open(2), Linux 5.3).

    keeper: {"v": 1, "op": "adopt", "keeper": 4711}
    agent:  {"ok": true, "pid": 4712, "sockets": [[0, "control"], [4026532001, "udp4"], ...], "more": true}
            with as many descriptors (SCM_RIGHTS, unix(7)), then further lines until one has "more": false
"""

import array
import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import time
from typing import Dict, Iterable, List, Optional, Sequence, Tuple

from rcc.core.errors import EX_OK, EX_SOFTWARE, EX_TEMPFAIL, AgentError
from rcc.system.agent_line import socket_path

LISTEN_FDS_START = 3  # <systemd/sd-daemon.h>
LOCK, NOTIFY, CONTROL = "keeper.lock", "keeper.notify", "control"
AGENT_LOCK = "agent.lock"  # agent_socket.py
BACKLOG = 256
# Descriptors are kept above this, so that a child finds the numbers from 3 on free.
HIGH = 20000
STORED_LIMIT = HIGH - 100
MESSAGE = 4096  # bytes of a notification
LINE_LIMIT = 1 << 20  # bytes
TICK = 1.0  # seconds between looks at the socket file
ADOPT_SECONDS, ADOPT_STEP = 10.0, 0.05
END_SECONDS = 10.0  # for the agent to end by itself
# An agent that ends within QUICK seconds by a defect is started again later each time, up to LONGEST seconds; after
# DEFECTS in a row it is given up: the next start of a container brings another keeper.  One that is killed is back at
# once, but for a storm of kills.
QUICK, FIRST, LONGEST = 2.0, 0.001, 0.5
DEFECTS, KILLS = 10, 300
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


class Taken(Exception):
    """Another keeper has the folder, or the agent."""


class Keeper:
    """Keeps one agent, started as ``argv``, for the state folder ``root``.  Raises AgentError, Taken."""

    def __init__(self, root: str, argv: Sequence[str], ready: Optional[int] = None) -> None:
        self._root = root
        self._argv = list(argv)
        self._ready = ready
        self._stored: Dict[str, int] = {}
        self._pid = 0
        self._pidfd = -1
        self._is_child = True
        self._told_to_stop = False
        self._stopping = False
        self._began = 0.0
        self._spare = -1  # a pidfd
        self._spare_pid = 0
        self._alive = -1
        self._lock = _lock(os.path.join(root, LOCK))
        self._notify = self._bind(os.path.join(root, NOTIFY), socket.SOCK_DGRAM)
        self._listening: Optional[socket.socket] = None
        self._inode = 0

    def listen(self) -> None:
        """Open the agent's socket, for this user only."""
        self._listening = self._bind(socket_path(self._root), socket.SOCK_STREAM)
        self._listening.listen(BACKLOG)
        self._inode = _inode(socket_path(self._root))

    def adopted(self) -> bool:
        """Whether there was an agent without a keeper, which this one has now."""
        if not _is_locked(os.path.join(self._root, AGENT_LOCK)):
            return False
        try:
            self._adopt()
        except (AgentError, Taken):  # it has gone meanwhile, or is systemd's
            return False
        return True

    def _adopt(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as talk:
            talk.settimeout(ADOPT_SECONDS)
            try:
                talk.connect(socket_path(self._root))
                talk.sendall(json.dumps({"v": 1, "op": "adopt", "keeper": os.getpid()}).encode("ascii") + b"\n")
                self._wait_for_answer(talk)
                self._pid, handed = _receive(talk)
                self._pidfd = os.pidfd_open(self._pid)
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise AgentError(f"there is no agent to adopt: {error}", where=self._root) from error
        self._is_child = False
        self._began = time.monotonic()
        for name, descriptor in handed:
            if name != CONTROL:
                self._drop(name)
                self._stored[name] = _high(descriptor)
            elif self._listening is None:
                self._listening = socket.socket(fileno=_high(descriptor))
                self._inode = _inode(socket_path(self._root))
            else:
                os.close(descriptor)  # the spare has had it all the time

    def _wait_for_answer(self, talk: socket.socket) -> None:
        """A spare holds the agent's socket open itself: a connection is no sign of life, and the agent's lock is."""
        deadline = time.monotonic() + ADOPT_SECONDS
        while not select.select([talk], [], [], ADOPT_STEP)[0]:
            if time.monotonic() > deadline or not _is_locked(os.path.join(self._root, AGENT_LOCK)):
                raise OSError("it is dead")

    def run(self) -> int:
        """Keep the agent until it ends well, or never does anything else; the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            return self._keep()
        finally:
            if self._spare >= 0:
                with contextlib.suppress(OSError):
                    signal.pidfd_send_signal(self._spare, signal.SIGKILL)

    def _keep(self) -> int:
        defects = kills = 0
        delay = FIRST
        ended = ""
        while True:
            self._make_spare()  # whoever was the spare comes out of here when the keeper has died
            if self._pidfd < 0 and not self.adopted():
                self._start(ended)
            status = self._watch()
            if status is None:
                continue
            if status == EX_OK and (self._told_to_stop or not self._is_wanted()):
                return EX_OK
            quick = time.monotonic() - self._began < QUICK
            failed = status not in (EX_OK, EX_TEMPFAIL) and status > 0
            defects = defects + 1 if failed and quick else 0
            kills = kills + 1 if status < 0 and quick else 0
            if defects >= DEFECTS:
                return EX_SOFTWARE
            ended = f"signal {-status}" if status < 0 else f"status {status}"
            delay = min(delay * 2, LONGEST) if (failed and quick) or kills > KILLS else FIRST
            time.sleep(delay)

    def close(self) -> None:
        """Let everything go."""
        if self._listening is not None:
            if _inode(socket_path(self._root)) == self._inode:
                with contextlib.suppress(OSError):
                    os.unlink(socket_path(self._root))
            self._listening.close()
        self._notify.close()
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(self._root, NOTIFY))

    def _make_spare(self) -> None:
        """See that there is a process that takes this one's place when it dies; returns there too, when it has."""
        while self._spare < 0:
            watch, alive = os.pipe2(os.O_CLOEXEC)  # nobody writes: ``alive`` only has to stay open here
            child = os.fork()
            if child:
                os.close(watch)
                self._spare_pid, self._spare, self._alive = child, os.pidfd_open(child), alive
                return
            os.close(alive)
            self._wait_for_death(watch)

    def _wait_for_death(self, watch: int) -> None:
        """The life of a spare."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        for name in list(self._stored):  # or it would hold open what the keeper lets go
            self._drop(name)
        _close([descriptor for descriptor in (self._pidfd, self._ready) if descriptor is not None and descriptor >= 0])
        self._pidfd, self._ready = -1, None
        os.read(watch, 1)
        os.close(watch)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def _bind(self, path: str, kind: int) -> socket.socket:
        made = socket.socket(socket.AF_UNIX, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            if os.path.lexists(path):
                os.unlink(path)
            made.bind(path)
            os.chmod(path, 0o600)
        except OSError as error:
            made.close()
            raise AgentError(f"cannot listen: {error.strerror or error}", where=path) from error
        return made

    def _start(self, ended: str) -> None:
        """Fork and become the agent, with all sockets from descriptor 3 on."""
        assert self._listening is not None
        names = ["rcc-agent.socket", *self._stored]
        descriptors = [self._listening.fileno(), *self._stored.values()]
        environment = {
            **ENVIRONMENT,
            "LISTEN_FDS": str(len(names)),
            "LISTEN_FDNAMES": ":".join(names),
            "NOTIFY_SOCKET": os.path.join(self._root, NOTIFY),
            "RCC_KEEPER": str(os.getpid()),
            "RCC_ENDED": ended,
        }
        child = os.fork()
        if child == 0:
            try:
                for number, descriptor in enumerate(_moved(descriptors)):
                    os.dup2(descriptor, LISTEN_FDS_START + number)
                environment["LISTEN_PID"] = str(os.getpid())
                for signal_number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                    signal.signal(signal_number, signal.SIG_DFL)
                os.execve(self._argv[0], self._argv, environment)  # noqa: S606
            finally:  # whatever happened, this copy must not go on as a keeper
                os._exit(127)
        self._pid, self._is_child = child, True
        self._pidfd = os.pidfd_open(child)
        self._began = time.monotonic()
        self._stopping = False

    def _watch(self) -> Optional[int]:
        """Hear what the agent says until it has ended: its status, negative for a signal; None when the spare has.

        The status of an agent that was adopted is nobody's to read: it has said whether it ends well.
        """
        poll = select.poll()
        for descriptor in (self._notify.fileno(), self._pidfd, self._spare):
            poll.register(descriptor, select.POLLIN)
        while True:
            ready = dict(poll.poll(TICK * 1000))
            while self._notify.fileno() in ready:
                said = self._hear()
                if said is None:
                    break
                self._stopping = self._stopping or "STOPPING" in said
                self._told_to_stop = self._told_to_stop or "X_RCC_STOP" in said
            if self._pidfd in ready:
                os.close(self._pidfd)
                self._pidfd = -1
                if not self._is_child:
                    return EX_OK if self._stopping else -signal.SIGKILL
                return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
            if self._spare in ready:
                self._bury_spare()
                return None
            if _inode(socket_path(self._root)) != self._inode:  # systemd's, or another keeper's: nobody comes here
                self._stop()

    def _bury_spare(self) -> None:
        os.waitpid(self._spare_pid, 0)
        _close((self._spare, self._alive))
        self._spare = -1

    def _hear(self) -> "Optional[Dict[str, str]]":
        """One notification; None when there is none."""
        try:
            data, rights, _, _ = self._notify.recvmsg(MESSAGE, socket.CMSG_SPACE(64), socket.MSG_CMSG_CLOEXEC)
        except (BlockingIOError, OSError):
            return None
        descriptors = array.array("i")
        for level, kind, part in rights:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors.frombytes(part[: len(part) - len(part) % descriptors.itemsize])
        text = data.decode("ascii", "replace")
        said = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        name = said.get("FDNAME", "")
        if said.get("FDSTORE") == "1" and len(descriptors) == 1 and name and len(self._stored) < STORED_LIMIT:
            self._drop(name)
            self._stored[name] = _high(descriptors.pop())
        if said.get("FDSTOREREMOVE") == "1":
            self._drop(name)
        for descriptor in descriptors:
            os.close(descriptor)
        if said.get("READY") == "1":
            self._say_ready()
        return said

    def _drop(self, name: str) -> None:
        descriptor = self._stored.pop(name, None)
        if descriptor is not None:
            os.close(descriptor)

    def _say_ready(self) -> None:
        if self._ready is not None:
            with contextlib.suppress(OSError):  # whoever waited has given up
                os.write(self._ready, b"1")
            os.close(self._ready)
            self._ready = None

    def _is_wanted(self) -> bool:
        """Whether somebody has come since the agent decided to go."""
        if self._listening is None or _inode(socket_path(self._root)) != self._inode:
            return False
        return bool(select.select([self._listening], [], [], 0)[0])

    def _stop(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            if self._pidfd >= 0:
                signal.pidfd_send_signal(self._pidfd, signal.SIGTERM)


def _lock(path: str) -> int:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise AgentError(f"cannot open the keeper's lock: {error.strerror}", where=path) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise Taken from error
    return descriptor


def _is_locked(path: str) -> bool:
    """Whether somebody holds this lock."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _inode(path: str) -> int:
    try:
        return os.stat(path, follow_symlinks=False).st_ino
    except OSError:
        return 0


def _high(descriptor: int) -> int:
    """The same under a number from HIGH on, where the process may have such numbers."""
    try:
        moved: int = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, HIGH)
    except OSError:
        return descriptor
    os.close(descriptor)
    return moved


def _moved(descriptors: List[int]) -> List[int]:
    """The same descriptors, none of them where another one is about to be put."""
    last = LISTEN_FDS_START + len(descriptors)
    return [fcntl.fcntl(d, fcntl.F_DUPFD_CLOEXEC, last) if d < last else d for d in descriptors]


def _receive(talk: socket.socket) -> "Tuple[int, List[Tuple[str, int]]]":
    """The agent's process, and its sockets by the names under which they are kept."""
    loose: List[int] = []
    found: List[Tuple[str, int]] = []
    data = b""
    try:
        while True:
            part, descriptors, flags, _ = socket.recv_fds(talk, 1 << 16, 256)
            loose += descriptors
            if not part or flags & socket.MSG_CTRUNC or len(data) > LINE_LIMIT:
                raise ValueError("it stopped in the middle of handing over")
            data += part
            while b"\n" in data:
                line, _, data = data.partition(b"\n")
                said = json.loads(line)
                if said.get("ok") is False:
                    raise Taken(said.get("error"))
                names = [CONTROL if label == CONTROL else f"{int(netns)}.{label}" for netns, label in said["sockets"]]
                if len(names) > len(loose):
                    raise ValueError("fewer descriptors than names")
                for name in names:
                    os.set_inheritable(loose[0], False)
                    found.append((name, loose.pop(0)))
                if said["more"] is not True:
                    return int(said["pid"]), found
    except BaseException:
        _close(descriptor for _, descriptor in found)
        raise
    finally:
        _close(loose)


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)
