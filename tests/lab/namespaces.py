"""Namespaces that die with their first process, and the system calls that Python 3.11 has no function for."""

import ctypes
import os
import select
import signal
import sys
import traceback
from typing import Callable, Optional

# linux/sched.h
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000
# linux/mount.h
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE, MS_SHARED = 1, 0x20, 0x1000, 0x4000, 1 << 18, 1 << 20
MNT_DETACH = 2
PR_SET_PDEATHSIG = 1  # linux/prctl.h
SI_KERNEL = 0x80  # asm-generic/siginfo.h: the terminal's signals, which the whole foreground group gets

FORWARDED = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2}
WATCHED = FORWARDED | {signal.SIGCHLD}
FAILED = 125  # what env(1), timeout(1) and podman(1) give when they fail themselves

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: Optional[str], target: str, kind: Optional[str] = None, flags: int = 0, options: str = "") -> None:
    """mount(2); raises OSError that names the target."""
    words = [None if word is None else os.fsencode(word) for word in (source, target, kind)]
    _check(_libc.mount(*words, ctypes.c_ulong(flags), os.fsencode(options) or None), f"mount {target}")


def unmount(target: str) -> None:
    """umount2(2), lazily; raises OSError."""
    _check(_libc.umount2(os.fsencode(target), MNT_DETACH), f"unmount {target}")


def run(inside: Callable[[], int]) -> int:
    """Run ``inside`` as the first process of fresh mount, network, IPC, UTS and PID namespaces; its status.

    The kernel ends every process in there when the first one ends, and the first one when this process ends, however
    that happens.  Mounts and links go with the last process.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    _check(_libc.unshare(CLONE_NEWPID), "unshare")  # of the children: the next one is the first
    alive, _ours = os.pipe()
    child = os.fork()
    if child:
        return attend(child)
    try:
        os.close(_ours)
        _die_with_parent(alive)
        for number in FORWARDED:  # the first process of a PID namespace has no default actions (pid_namespaces(7))
            signal.signal(number, lambda got, _: os._exit(128 + got))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WATCHED)
        _check(_libc.unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET), "unshare")
        mount(None, "/", None, MS_REC | MS_PRIVATE)
        mount("proc", "/proc", "proc")
        code = inside()
    except SystemExit as end:
        print(end.code, file=sys.stderr)
        code = FAILED
    except BaseException:
        traceback.print_exc()
        code = FAILED
    sys.stderr.flush()
    os._exit(code)


def _die_with_parent(alive: int) -> None:
    _check(_libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
    # The parent never writes: the pipe has news only if it ended before the kernel was told.
    if select.select([alive], [], [], 0)[0]:
        os._exit(FAILED)
    os.close(alive)


def attend(child: int) -> int:
    """Forward signals to ``child`` until it ends, reaping whatever else ends; its status, 128 + N when killed by N.

    Needs WATCHED blocked since before the child was made.  What the terminal sends has reached the child already.
    """
    while True:
        news = signal.sigwaitinfo(WATCHED)
        if news.si_signo != signal.SIGCHLD:
            if news.si_code != SI_KERNEL:
                os.kill(child, news.si_signo)
            continue
        while True:
            ended, status = os.waitpid(-1, os.WNOHANG)
            if ended == child:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
            if not ended:
                break
