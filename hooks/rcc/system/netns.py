"""Network namespaces: work inside one, tell one from another.

Only the network namespace is joined, never the mount namespace: no file, library or name service of a container is read
(CVE-2025-23266, threat 58).
"""

import _thread
import ctypes
import os
from typing import Callable, List, Optional, TypeVar, Union

from rcc.core.errors import KernelError

CLONE_NEWNET = 0x40000000  # <linux/sched.h>
OWN = "/proc/thread-self/ns/net"  # setns(2) moves one thread; proc(5), Linux 3.17

_T = TypeVar("_T")
Place = Union[str, int]  # a path, or an open file descriptor of a namespace


def inside(place: Place, job: "Callable[[], _T]") -> "_T":
    """What ``job`` gives, run in the network namespace at ``place`` by a thread of its own that ends there.

    setns(2) moves one thread, so the caller never leaves its own namespace.  Going back is no way: it takes
    CAP_SYS_ADMIN over the namespace gone back to, which a rootless engine's root does not have over the host's.

    Entering takes CAP_SYS_ADMIN in the caller's user namespace and in the one that owns the network namespace; whoever
    has it in a user namespace has it in those below, so the rootless engine's root may enter the namespaces of
    containers with a --userns of their own.  Raises KernelError when the namespace cannot be entered, and whatever
    ``job`` raises.
    """
    results: "List[_T]" = []
    errors: List[BaseException] = []
    done = _thread.allocate_lock()
    done.acquire()

    def run() -> None:
        try:
            _enter(place)
            results.append(job())
        except BaseException as error:  # handed to the caller, whose error it is
            errors.append(error)
        finally:
            done.release()

    _thread.start_new_thread(run, ())
    with done:
        if errors:
            raise errors[0]
        return results[0]


def inode_of(place: Place) -> int:
    """The inode that names a network namespace while it lives (namespaces(7)).  Raises KernelError."""
    try:
        return os.stat(place).st_ino
    except OSError as error:
        raise _gone(place, error) from error


def find_inode(path: str) -> Optional[int]:
    """The inode of the namespace at ``path``, None when there is none to be seen."""
    try:
        return os.stat(path).st_ino
    except OSError:
        return None


def _enter(place: Place) -> None:
    what = f"enter the network namespace {place}"
    if isinstance(place, int):
        _setns(place, what)
        return
    target = _open(place)
    try:
        _setns(target, what)
    finally:
        os.close(target)


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError as error:
        raise _gone(path, error) from error


def _gone(place: Place, error: OSError) -> KernelError:
    return KernelError(
        f"the network namespace {place} is out of reach: {error.strerror}",
        hint="the container has ended, or /proc hides its processes (hidepid)",
    )


def _setns(descriptor: int, what: str) -> None:
    # os.setns exists from Python 3.12; ctypes is loaded for libnftables in any case.
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise KernelError(
            f"cannot {what}: {os.strerror(number)}",
            hint="run rcc as root, or as the user whose container it is, in that user's namespace (podman unshare)",
        )


_libc = ctypes.CDLL(None, use_errno=True)
