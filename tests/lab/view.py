"""The lab's own view of the machine's files: everything can be read, nothing that is written stays.

All of it lies in memory, in this mount namespace, so that it is gone with the lab however that ends.
"""

import os
import shutil
from typing import List

from addresses import UID, USER
from namespaces import MS_BIND, MS_REC, MS_SHARED, mount, unmount

LAYERED = ("/etc", "/usr", "/home", "/root", "/tmp", "/var")
# What an rcc on this machine, or somebody's settings of Podman, would add to the lab.
ABSENT = (
    "/etc/containers", "/etc/rcc", "/usr/bin/rcc", "/usr/lib/rcc", "/usr/libexec/rcc", "/usr/share/rcc",
    "/usr/share/containers/oci/hooks.d", "/root/.config", "/root/.docker",
)  # fmt: skip
# Podman's own layers cannot lie on an overlay file system.
PLAIN = (("/var/lib/containers", 755), ("/var/tmp", 1777), (f"/home/{USER}", 755))
DEVICES = (("/dev/net/tun", 10, 200), ("/dev/fuse", 10, 229))  # admin-guide/devices.txt; rootless networks and storage


def build(shared: List[str]) -> None:
    """Mount it.  The folders ``shared`` stay the machine's own wherever they are."""
    mount("tmpfs", "/run", "tmpfs", options="mode=755")
    for folder in ("/run/lab", "/run/lock", "/run/netns", "/run/lab/shared", "/run/lab/layers"):
        os.mkdir(folder)
    kept = [_keep(path, f"/run/lab/shared/{number}") for number, path in enumerate(shared)]
    for tree in LAYERED:
        if os.path.isdir(tree) and not os.path.islink(tree):
            _layer(tree)
    for path in ABSENT:
        _remove(path)
    for path, mode in PLAIN:
        os.makedirs(path, exist_ok=True)
        mount("tmpfs", path, "tmpfs", options=f"mode={mode}")
    os.chown(f"/home/{USER}", UID, UID)
    for path, keep in zip(shared, kept):
        os.makedirs(path, exist_ok=True)
        mount(keep, path, flags=MS_BIND | MS_REC)
    mount("tmpfs", "/dev/shm", "tmpfs", options="mode=1777")  # Podman's locks
    _system()
    for number, (path, major, minor) in enumerate(DEVICES):
        _device(path, major, minor, f"/run/lab/device{number}")
    # Rootless Podman wants to see mounts that are made later.
    mount(None, "/", flags=MS_REC | MS_SHARED)


def _keep(path: str, at: str) -> str:
    os.makedirs(path, exist_ok=True)
    os.mkdir(at)
    mount(path, at, flags=MS_BIND | MS_REC)
    return at


def _layer(tree: str) -> None:
    """An overlay of ``tree`` on itself whose upper side is in memory."""
    upper, work = (f"/run/lab/layers{tree}.{side}" for side in ("upper", "work"))
    found = os.stat(tree)
    for folder in (upper, work):
        os.mkdir(folder)
    os.chown(upper, found.st_uid, found.st_gid)
    os.chmod(upper, found.st_mode & 0o7777)  # the merged root shows the upper one's mode
    mount("overlay", tree, "overlay", options=f"lowerdir={tree},upperdir={upper},workdir={work}")


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def _system() -> None:
    """sysfs of the lab's own network, and a pure cgroup v2: crun refuses the v1 and v2 mixture of some machines.

    Security modules' file systems stay: programs ask there whether to use them.
    """
    held = []
    for number, path in enumerate(("/sys/kernel/security", "/sys/fs/selinux")):
        if os.path.ismount(path):
            held.append((path, _keep(path, f"/run/lab/held{number}")))
    unmount("/sys")
    mount("sysfs", "/sys", "sysfs")
    for path, keep in held:
        mount(keep, path, flags=MS_BIND | MS_REC)
    mount("cgroup2", "/sys/fs/cgroup", "cgroup2")


def _device(path: str, major: int, minor: int, node: str) -> None:
    """A node that everybody may open, over the machine's, which stays as it is."""
    if os.path.exists(path):
        os.mknod(node, 0o20666, os.makedev(major, minor))
        os.chmod(node, 0o666)
        mount(node, path, flags=MS_BIND)


def write(path: str, text: str, mode: int = 0o644) -> None:
    """Write a file anew, with the folders above it, also where a link was."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.lexists(path):
        os.unlink(path)
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(text)
    os.chmod(path, mode)


def append(path: str, line: str) -> None:
    """Add a line to a file that may lack its last line's end."""
    with open(path, encoding="utf-8") as stream:
        kept = stream.read()
    write(path, kept + ("" if kept.endswith("\n") or not kept else "\n") + line)


def user_folder(path: str) -> str:
    """A folder below the lab user's home, his own like those above it; its full path."""
    full = f"/home/{USER}"
    for name in path.split("/"):
        full = os.path.join(full, name)
        if not os.path.isdir(full):
            os.mkdir(full, 0o700)
            os.chown(full, UID, UID)
    return full
