"""Start the agent's keeper from a hook: apart from container, engine and caller, and wait until the agent answers."""

import os
import select
import time
from typing import Optional, Sequence

from rcc import __version__
from rcc.core.agent_protocol import Pong
from rcc.core.errors import AgentError
from rcc.system.agent_client import ping, restart, stop
from rcc.system.agent_line import NoAgent

READY = 3  # the descriptor on which the keeper writes its ready byte
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "RCC_READY": str(READY)}
CGROUPS = "/sys/fs/cgroup"
CGROUP = "rcc-agent"
# Groups that end with a container, an engine's command or a service, and end what is in them (systemd.kill(5)).
PASSING = ("libpod-", "libpod_", "crun-", "docker-", "crio-", "cri-containerd-", "podman-")
STEP = 0.02  # seconds between two tries
STARTS = 3  # an agent waits for the one before it to go, so more would not help


def ensure(root: str, argv: Sequence[str], seconds: float = 2.0, *, any_namespace: bool = False) -> Pong:
    """The running agent of the state folder ``root``; its keeper is started as ``argv`` when there is none that fits.

    One of another version is asked to make room for this one, and keeps its sockets; one of another user namespace,
    which cannot enter the containers of this one, to go (with ``any_namespace`` this process is no hook, and does not
    care).  Raises AgentError when there is none that fits after ``seconds``.
    """
    deadline = time.monotonic() + seconds
    own = user_namespace()
    problem = AgentError("the agent does not start")
    starts = 0
    while time.monotonic() < deadline:
        left = deadline - time.monotonic()
        try:
            pong = ping(root, left)
            if pong.version != __version__:
                problem = AgentError("an agent of another rcc does not go", where=root)
                restart(root, left)
            elif not any_namespace and pong.user_namespace != own:
                problem = AgentError("an agent of another user namespace does not go", where=root)
                stop(root, left)
            else:
                return pong
        except NoAgent as error:
            problem = error
            if starts == STARTS:
                break
            starts += 1
            start(argv, left)
        except AgentError as error:  # not one that this side understands
            problem = error
            _restart_blindly(root, deadline - time.monotonic())
        time.sleep(STEP)
    raise problem


def _restart_blindly(root: str, seconds: float) -> None:
    try:
        restart(root, max(seconds, 0.01))
    except AgentError:
        return  # ``ensure`` tries again or tells the first problem


def user_namespace() -> int:
    """The inode of this process's user namespace."""
    return os.stat("/proc/self/ns/user").st_ino


def start(argv: Sequence[str], seconds: float) -> None:
    """Run ``argv`` as a daemon; return when it is ready, has ended, or ``seconds`` are over.

    RCC_READY in its environment names the descriptor to write a byte to.  It has a session of its own, default signals,
    none of the caller's descriptors, environment and folder, and where it can be done not its cgroup.
    Raises AgentError when no process can be made.
    """
    try:
        ready, theirs = os.pipe2(os.O_CLOEXEC)
        child = os.fork()
    except OSError as error:
        raise AgentError(f"cannot start the agent: {error.strerror}") from error
    if child == 0:
        try:
            os.setsid()
            if os.fork() == 0:
                _become(argv, theirs)
        finally:  # whatever happened, this copy of the hook must not go on as the hook
            os._exit(127)
    os.close(theirs)
    try:
        os.waitpid(child, 0)
        waiting = select.poll()
        waiting.register(ready, select.POLLIN)
        if waiting.poll(max(seconds, 0.0) * 1000):
            os.read(ready, 1)
    finally:
        os.close(ready)


def _become(argv: Sequence[str], ready: int) -> None:
    import signal

    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.umask(0o077)
    os.chdir("/")
    null = os.open("/dev/null", os.O_RDWR)
    # Above the numbers that dup2 is about to fill, in whatever order they came.
    kept = [_above(descriptor, 16) for descriptor in (null, null, null, ready)]
    for wanted, descriptor in enumerate(kept):
        os.dup2(descriptor, wanted)
    os.closerange(READY + 1, max(int(name) for name in os.listdir("/proc/self/fd")) + 1)
    leave_cgroup()
    os.execve(argv[0], list(argv), ENVIRONMENT)  # noqa: S606


def _above(descriptor: int, least: int) -> int:
    import fcntl

    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, least)


def agent_cgroup(text: str) -> Optional[str]:
    """The cgroup (v2, from its root) that the agent goes to, None when it may stay; ``text`` of /proc/self/cgroup.

    It is a sibling of the first group on the way down that passes away with a container, a command or a service.
    """
    for line in text.splitlines():
        hierarchy, _, path = line.split(":", 2)
        if hierarchy != "0":
            continue
        parts = path.strip("/").split("/")
        for depth, part in enumerate(parts):
            service = part.endswith(".service") and not part.startswith("user@")
            if part.startswith(PASSING) or service:
                return "/".join(["", *parts[:depth], CGROUP])
    return None


def leave_cgroup(proc: str = "/proc/self/cgroup", mount: str = CGROUPS) -> bool:
    """Move this process out of a cgroup that will not outlive its container; best effort, True when moved."""
    try:
        with open(proc, encoding="utf-8", errors="surrogateescape") as stream:
            goal = agent_cgroup(stream.read())
        if goal is None or not os.path.exists(os.path.join(mount, "cgroup.procs")):
            return False
        os.makedirs(mount + goal, mode=0o755, exist_ok=True)
        with open(f"{mount}{goal}/cgroup.procs", "w", encoding="ascii") as stream:
            stream.write(f"{os.getpid()}\n")
    except (OSError, ValueError):
        return False  # no delegation there: the agent ends with its group, and the next start brings another
    return True
