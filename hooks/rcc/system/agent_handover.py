"""One agent hands its sockets to another: no container's question meets a closed port meanwhile.

    newer: {"v": 1, "op": "handover"}
    older: {"ok": true, "sockets": [[0, "lock"], [0, "control"], [4026532001, "udp4"], ...], "more": true}
           with as many descriptors (SCM_RIGHTS, unix(7)), then further lines until one has "more": false
    newer: {"serving": true}        once it answers on all of them; the older one has answered until now
    older: {"ok": true, "bye": true}, and goes; or {"ok": false, "error": "..."}: the newer one goes

An agent of systemd's says {"ok": false, "restart": true} and ends: systemd, which holds its sockets, starts the newer
program with them.  These lines do not depend on the version of the protocol, as ``stop`` does not; sockets of labels
that the newer one does not know it closes.  Where anything else is said, the newer one has the older one stop, and
opens everything itself.
"""

import array
import asyncio
import contextlib
import json
import os
import socket
import time
from typing import Any, Iterable, List, Optional, Sequence, Tuple

from rcc.core.errors import AgentError
from rcc.system.agent_line import socket_path
from rcc.system.agent_socket import Inherited, Place
from rcc.system.descriptors import above
from rcc.system.in_time import in_time

REQUEST = b'{"v": 1, "op": "handover"}\n'
SERVING = b'{"serving": true}\n'
BYE = b'{"ok": true, "bye": true}\n'
CHUNK = 200  # descriptors a message; the kernel takes SCM_MAX_FD, 253
LINE_LIMIT = 1 << 20  # bytes
SOCKETS_LIMIT = 1 << 17
SECONDS = 5.0  # for all sockets to come
SERVING_SECONDS = 30.0  # until the newer one must serve
BYE_SECONDS = 5.0
LOCK, CONTROL = "lock", "control"
TOO_LATE = b'{"ok": false, "error": "it took too long"}\n'
RESTART = b'{"ok": false, "restart": true}\n'
Handed = Tuple[int, str, int]  # inode of the network namespace, label, descriptor


class Restarts(AgentError):
    """systemd starts the newer program in place of the older one, with all sockets."""


def take_over(root: str, seconds: float = SECONDS) -> Place:
    """The sockets and the lock of the agent that runs for ``root``.  Raises AgentError, Restarts."""
    talk = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    handed: List[Handed] = []
    try:
        _receive(talk, root, time.monotonic() + seconds, handed)
        return _place(handed, talk)
    except BaseException as error:
        for _, _, descriptor in handed:
            with contextlib.suppress(OSError):
                os.close(descriptor)
        talk.close()
        if isinstance(error, (OSError, ValueError, KeyError, TypeError)):
            raise AgentError(f"the agent that runs hands nothing over: {error}", where=root) from error
        raise


def _receive(talk: socket.socket, root: str, deadline: float, handed: List[Handed]) -> None:
    talk.settimeout(max(deadline - time.monotonic(), 0.01))
    talk.connect(socket_path(root))
    uid = int.from_bytes(talk.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[4:8], "little")
    if uid != os.getuid():
        raise AgentError("somebody else listens where the agent should", where=root)
    talk.sendall(REQUEST)
    data = b""
    loose: "List[int]" = []
    try:
        while True:
            talk.settimeout(max(deadline - time.monotonic(), 0.01))
            part, descriptors, flags, _ = socket.recv_fds(talk, 1 << 16, 256)
            loose.extend(descriptors)
            if not part or flags & socket.MSG_CTRUNC or len(data) > LINE_LIMIT or len(handed) > SOCKETS_LIMIT:
                raise AgentError("the agent that runs stopped in the middle of handing over", where=root)
            data += part
            while b"\n" in data:
                line, _, data = data.partition(b"\n")
                if not _take_line(line, loose, handed):
                    return
    finally:
        for descriptor in loose:
            os.close(descriptor)


def _take_line(line: bytes, loose: "List[int]", handed: List[Handed]) -> bool:
    """Put the descriptors of one line beside their names; whether more lines come."""
    said = json.loads(line)
    if not isinstance(said, dict) or said.get("ok") is not True:
        if isinstance(said, dict) and said.get("restart") is True:
            raise Restarts("systemd starts the agent anew")
        raise AgentError("the agent that runs hands nothing over")
    named = [(int(netns), str(label)) for netns, label in said["sockets"]]
    if len(named) > len(loose):
        raise ValueError("fewer descriptors than names")
    for netns, label in named:
        descriptor = loose.pop(0)
        os.set_inheritable(descriptor, False)  # recv_fds has no MSG_CMSG_CLOEXEC
        handed.append((netns, label, descriptor))
    return said["more"] is True


def _place(handed: List[Handed], talk: socket.socket) -> Place:
    own = {label: descriptor for netns, label, descriptor in handed if netns == 0}
    if not {LOCK, CONTROL} <= set(own):
        raise ValueError("neither lock nor socket")
    inherited: List[Inherited] = []
    for netns, label, descriptor in handed:
        if netns:
            listener = socket.socket(fileno=descriptor)
            listener.setblocking(False)  # Python takes it for a blocking one, and would make it so
            inherited.append((netns, label, above(listener)))
        elif label not in (LOCK, CONTROL):
            os.close(descriptor)
    control = socket.socket(fileno=own[CONTROL])
    control.setblocking(False)
    return Place(own[LOCK], control, False, tuple(inherited), talk)


async def finish(talk: socket.socket) -> bool:
    """Say that this agent serves; False when the older one goes on and this one must go.  Closes ``talk``."""
    loop = asyncio.get_running_loop()
    talk.setblocking(False)
    try:
        await in_time(loop.sock_sendall(talk, SERVING), BYE_SECONDS)
        said = await in_time(loop.sock_recv(talk, 4096), BYE_SECONDS)
        return not said or b'"ok": true' in said
    except (OSError, asyncio.TimeoutError):
        return True  # it has gone, or hangs: then only this one answers
    finally:
        talk.close()


async def hand_over(
    reader: asyncio.StreamReader, connection: socket.socket, place: Place, sockets: Iterable[Inherited]
) -> bool:
    """Send everything on ``connection``, a duplicate of the reader's that does not block; whether the other one serves
    now.
    """
    own: List[Tuple[int, str, Any]] = [(0, LOCK, place.lock), (0, CONTROL, place.listening)]
    items = own + list(sockets)
    try:
        for first in range(0, len(items), CHUNK):
            await _send(connection, items[first : first + CHUNK], more=first + CHUNK < len(items))
        said = await in_time(reader.readline(), SERVING_SECONDS)
        if said == SERVING:
            with contextlib.suppress(OSError):
                connection.send(BYE)
            return True
    except (OSError, ValueError, asyncio.TimeoutError):
        pass
    with contextlib.suppress(OSError):
        connection.send(TOO_LATE)
    return False


async def _send(connection: socket.socket, items: Sequence[Tuple[int, str, Any]], more: bool) -> None:
    """One line with its descriptors.  A socket may close at any moment: its number is asked for as it is sent."""
    live = [(netns, label, item if isinstance(item, int) else item.fileno()) for netns, label, item in items]
    live = [item for item in live if item[2] >= 0]
    line = json.dumps({"ok": True, "sockets": [[netns, label] for netns, label, _ in live], "more": more})
    data = line.encode("ascii") + b"\n"
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
