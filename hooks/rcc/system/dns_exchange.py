"""One question to one DNS server, from the network namespace that this process is in.

Each question has its own connected socket, so a random port from the kernel, datagrams of the asked server only, and
"connection refused" at once; a random id; and random case in the name (0x20), which a forger has to guess as well.
"""

import asyncio
import contextlib
import os
import socket
from typing import Dict, Optional, Tuple

from rcc.core.dns_message import Reply
from rcc.core.dns_reply import CaseLost, Cut, parse_reply, render_query
from rcc.core.names import Server

DATAGRAM = 65535
# Seconds for which a server that did not keep the case of a name is asked in lower case.
PLAIN_SECONDS = 600.0


class Exchange:
    """Asks servers and remembers which of them do not keep the case of names."""

    def __init__(self) -> None:
        self._plain: Dict[Server, float] = {}

    async def ask(self, server: Server, name: bytes, qtype: int, *, tcp: bool) -> Reply:
        """The reply of ``server``, by TCP where UDP's is cut.  Waits without end.

        Raises OSError, EOFError (hung up, or no sense by TCP), BadReply.
        """
        try:
            return await self._ask(server, name, qtype, tcp)
        except CaseLost:
            # What comes now is another question: other port, other id.
            self._plain[server] = asyncio.get_running_loop().time() + PLAIN_SECONDS
            return await self._ask(server, name, qtype, tcp)

    async def _ask(self, server: Server, name: bytes, qtype: int, tcp: bool) -> Reply:
        plain = self._plain.get(server, 0.0) > asyncio.get_running_loop().time()
        noise = os.urandom(2 + (0 if plain else len(name) // 8 + 1))
        query = render_query(int.from_bytes(noise[:2], "big"), name, qtype, int.from_bytes(noise[2:], "big"))
        if not tcp:
            with contextlib.suppress(Cut):
                return await _exchange_udp(server, query)
        return await _exchange_tcp(server, query)


def _open(server: Server, kind: "socket.SocketKind") -> Tuple[socket.socket, Tuple[object, ...]]:
    found = socket.getaddrinfo(server.address, server.port, type=kind, flags=socket.AI_NUMERICHOST)
    family, _, _, _, address = found[0]
    opened = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    return opened, address


async def _exchange_udp(server: Server, query: bytes) -> Reply:
    """The first datagram that answers the question.  Raises Cut, CaseLost, BadReply, OSError."""
    loop = asyncio.get_running_loop()
    opened, address = _open(server, socket.SOCK_DGRAM)
    with opened:
        opened.connect(address)
        await loop.sock_sendall(opened, query)
        while True:
            reply = parse_reply(query, await loop.sock_recv(opened, DATAGRAM))
            if reply is not None:
                return reply


async def _exchange_tcp(server: Server, query: bytes) -> Reply:
    loop = asyncio.get_running_loop()
    opened, address = _open(server, socket.SOCK_STREAM)
    with opened:
        await loop.sock_connect(opened, address)
        await loop.sock_sendall(opened, len(query).to_bytes(2, "big") + query)
        length = int.from_bytes(await _receive(opened, 2), "big")
        wire = await _receive(opened, length)
    reply: Optional[Reply] = None
    with contextlib.suppress(Cut):
        reply = parse_reply(query, wire)
    if reply is None:
        raise EOFError
    return reply


async def _receive(opened: socket.socket, length: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = bytearray()
    while len(data) < length:
        part = await loop.sock_recv(opened, length - len(data))
        if not part:
            raise EOFError
        data += part
    return bytes(data)
