"""The files from which Podman's DNS server knows the containers of each network (netavark writes, aardvark-dns reads).

They, and not the server, are asked: it tells askers apart by their address, and a socket to it would have to be opened
in a namespace where the container has a say.  What they say is in ``core/peers.py``.
"""

import contextlib
import os
import stat
import time
from typing import Dict, List, NamedTuple, Optional, Tuple

from rcc.system.owner import owner_uid

# containers/common libnetwork/network: as root one folder for all, for the network namespace is one; a user's lies in
# his run root.
ROOTS_FOLDER = "/run/containers/networks/aardvark-dns"
USERS_FOLDER = "networks/aardvark-dns"
NO_NETWORKS = ("aardvark.pid",)  # of the same folder; aardvark-dns skips it as well
FILES_LIMIT = 256
SIZE_LIMIT = 1 << 20  # bytes; 4096 containers take about half of it
# A file changed so lately may be half written, or change again within one tick of the clock that stamps it.
FRESH = 20_000_000  # nanoseconds
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK

# File name, inode, mtime in nanoseconds, size.
Stamp = Tuple[str, int, int, int]
Signature = Tuple[Stamp, ...]


class Read(NamedTuple):
    """The text of each network's file by its name; ``settled`` unless one has changed just now."""

    texts: Dict[str, str]
    signature: Signature
    settled: bool


def folder_of(run_root: str, uid: "int | None" = None) -> str:
    """The folder for the Podman of this process's user (or of ``uid``), whose run root is ``run_root``."""
    uid = owner_uid() if uid is None else uid
    return ROOTS_FOLDER if uid == 0 else os.path.join(run_root, USERS_FOLDER)


def signature_of(folder: str) -> Signature:
    """Changes whenever a file comes, goes or is written; empty where there is no folder."""
    found: List[Stamp] = []
    with contextlib.suppress(OSError), os.scandir(folder) as files:
        for file in files:
            if file.name not in NO_NETWORKS and len(found) < FILES_LIMIT:
                with contextlib.suppress(OSError):
                    status = file.stat(follow_symlinks=False)
                    found.append((file.name, status.st_ino, status.st_mtime_ns, status.st_size))
    return tuple(sorted(found))


def read_files(folder: str) -> Read:
    """All that ``folder`` says now.  No error: what cannot be read or trusted is not there, and then nobody is a peer.

    Trusted are regular files in a real folder, both of this user and not writable by others (a rootless Podman's files
    are uid 0's in the user's own namespace, as this process is).
    """
    signature = signature_of(folder)  # before anything is read: a change in between shows
    newest = max((stamp[2] for stamp in signature), default=0)
    settled = time.time_ns() - newest > FRESH
    try:
        directory = os.open(folder, _OPEN | os.O_DIRECTORY)
    except OSError:
        return Read({}, signature, settled)
    try:
        trusted = [stamp[0] for stamp in signature] if _is_ours(os.fstat(directory)) else []
        texts: Dict[str, str] = {}
        for name in trusted:
            with contextlib.suppress(OSError):  # it has gone meanwhile, or is a link
                text = _read_file(os.open(name, _OPEN, dir_fd=directory))
                if text is not None:
                    texts[name] = text
        return Read(texts, signature, settled)
    finally:
        os.close(directory)


def _read_file(descriptor: int) -> Optional[str]:
    """The text, None for a file that is not trusted or too long."""
    with open(descriptor, "rb") as stream:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or not _is_ours(found):
            return None
        data = stream.read(SIZE_LIMIT + 1)
    return data.decode("utf-8", "replace") if len(data) <= SIZE_LIMIT else None


def _is_ours(found: os.stat_result) -> bool:
    """Owned by this user and written by nobody else; a group's right counts where the group is not the user's own."""
    strangers = stat.S_IWOTH | (0 if found.st_gid == os.getgid() else stat.S_IWGRP)
    return found.st_uid == os.getuid() and not found.st_mode & strangers
