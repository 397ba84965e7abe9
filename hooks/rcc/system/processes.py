"""Which process has a socket: found in /proc among those of one network namespace."""

import os
import time
from typing import Container, Dict, Iterator

from rcc.system.netns import find_inode

NAME_LIMIT = 64  # characters; comm(5) has 15
SECONDS = 0.5  # of looking


def processes_in(netns: int, proc: str = "/proc") -> Iterator[str]:
    """The folders in ``proc`` of the processes in a network namespace, as far as this process may see."""
    for name in os.listdir(proc):
        if name.isdigit() and find_inode(f"{proc}/{name}/ns/net") == netns:
            yield f"{proc}/{name}"


def owners(netns: int, inodes: Container[int], proc: str = "/proc", seconds: float = SECONDS) -> Dict[int, str]:
    """The names of the processes that have sockets with these inodes open; what is not found in time is left out.

    A name is what the process calls itself (proc(5), comm): a hint for people, nothing to decide by.
    """
    found: Dict[int, str] = {}
    deadline = time.monotonic() + seconds
    for folder in processes_in(netns, proc):
        try:
            descriptors = os.listdir(f"{folder}/fd")
        except OSError:
            continue
        for descriptor in descriptors:
            inode = _socket_inode(f"{folder}/fd/{descriptor}")
            if inode and inode in inodes and inode not in found:
                found[inode] = name_of(folder)
        if time.monotonic() > deadline:
            break
    return found


def name_of(folder: str) -> str:
    """What the process with this folder in /proc calls itself, empty when it has gone."""
    try:
        with open(f"{folder}/comm", "rb") as stream:
            return stream.read(NAME_LIMIT).decode("utf-8", "replace").strip()
    except OSError:
        return ""


def _socket_inode(path: str) -> int:
    try:
        link = os.readlink(path)
    except OSError:
        return 0
    return int(link[8:-1]) if link.startswith("socket:[") and link[8:-1].isdigit() else 0
