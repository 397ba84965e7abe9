"""The user and mount namespaces in which a rootless Podman, and so its hooks, live: an agent must be in there too.

Podman keeps them by a process that only waits (pkg/rootless/rootless_linux.go, BecomeRootInUserNS; its id in
``pause.pid`` in the runtime folder, seen in 4.3.1 and 5.4.2).  A process of the same user outside may join, because a
user namespace belongs to who made it (user_namespaces(7)).
"""

import ctypes
import fcntl
import os
import subprocess
from typing import List, Optional, Sequence

from rcc.core.errors import KernelError

CLONE_NEWUSER, CLONE_NEWNS = 0x10000000, 0x00020000  # <linux/sched.h>
NS_GET_OWNER_UID = 0xB704  # <linux/nsfs.h>, Linux 4.11
PAUSE = "libpod/tmp/pause.pid"
PODMAN = "/usr/bin/podman"
SECONDS = 20.0


def join(runtimes: Optional[Sequence[str]] = None) -> None:
    """Move this process, which must have one thread, into its user's Podman's namespaces; they are made if need be.

    ``runtimes``: where the user's runtime folder may be.  Raises KernelError.
    """
    folders = _runtimes() if runtimes is None else runtimes
    if not any(_try(folder) for folder in folders):
        _make()
        if not any(_try(folder) for folder in folders):
            raise KernelError("this user's Podman has no user namespace to join", hint="run: podman unshare true")


def _runtimes() -> List[str]:
    """Where Podman has its runtime folder: the environment's, the usual one, its own where there is neither."""
    uid = os.getuid()
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    return [*([given] if given.startswith("/") else []), f"/run/user/{uid}", f"/tmp/podman-run-{uid}"]


def _try(folder: str) -> bool:
    pid = _pause_pid(os.path.join(folder, PAUSE))
    if not pid:
        return False
    try:
        user = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        mount = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # The number may be another process's by now.
        if os.fstat(user).st_ino == os.stat("/proc/self/ns/user").st_ino or _owner(user) != os.getuid():
            return False
        libc = ctypes.CDLL(None, use_errno=True)
        for descriptor, kind in ((user, CLONE_NEWUSER), (mount, CLONE_NEWNS)):
            if libc.setns(descriptor, kind) != 0:
                reason = os.strerror(ctypes.get_errno())
                raise KernelError(f"cannot join the namespaces of this user's Podman: {reason}", where=f"process {pid}")
        return True
    finally:
        os.close(user)
        os.close(mount)


def _pause_pid(path: str) -> int:
    try:
        with open(path, encoding="ascii") as stream:
            return int(stream.read(32))
    except (OSError, ValueError):
        return 0


def _owner(namespace: int) -> int:
    """The uid that made a user namespace."""
    found = bytearray(4)
    try:
        fcntl.ioctl(namespace, NS_GET_OWNER_UID, found)
    except OSError:
        return -1
    return int.from_bytes(found, "little")


def _make() -> None:
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": os.path.expanduser("~")}
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    if given:
        environment["XDG_RUNTIME_DIR"] = given
    try:
        subprocess.run([PODMAN, "unshare", "true"], env=environment, timeout=SECONDS, check=False, capture_output=True)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KernelError(f"podman unshare does not run: {error}", hint="install podman") from error
