"""The agent's side of an adoption: all its sockets for a keeper that has come in place of one that died (keep.py)."""

import array
import asyncio
import contextlib
import json
import os
import socket
from typing import Any, Iterable, List, Optional, Sequence, Tuple

from rcc.system.in_time import in_time
from rcc.system.keep import CONTROL

CHUNK = 200  # descriptors a message; the kernel takes SCM_MAX_FD, 253
SECONDS = 5.0  # for a message to be taken
Named = Tuple[int, str, Any]  # inode of the network namespace, label, socket


async def hand_over(connection: socket.socket, listening: socket.socket, sockets: Iterable[Named]) -> bool:
    """Send them all on ``connection``, which does not block; whether they have been taken."""
    items: List[Named] = [(0, CONTROL, listening), *sockets]
    try:
        for first in range(0, len(items), CHUNK):
            await _send(connection, items[first : first + CHUNK], more=first + CHUNK < len(items))
    except (OSError, asyncio.TimeoutError):
        return False
    return True


async def _send(connection: socket.socket, items: Sequence[Named], more: bool) -> None:
    """One line with its descriptors.  A socket may close at any moment: its number is asked for as it is sent."""
    live = [(netns, label, item.fileno()) for netns, label, item in items]
    live = [item for item in live if item[2] >= 0]
    said = {"ok": True, "pid": os.getpid(), "sockets": [[netns, label] for netns, label, _ in live], "more": more}
    data = json.dumps(said).encode("ascii") + b"\n"
    rights = array.array("i", [descriptor for _, _, descriptor in live])
    sent: Optional[int] = None
    while sent is None:
        await _writable(connection)
        with contextlib.suppress(BlockingIOError):
            sent = connection.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    while sent < len(data):
        await _writable(connection)
        with contextlib.suppress(BlockingIOError):
            sent += connection.send(data[sent:])


async def _writable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(connection.fileno(), ready.set)
    try:
        await in_time(ready.wait(), SECONDS)
    finally:
        loop.remove_writer(connection.fileno())
