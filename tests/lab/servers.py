"""The far sides' servers: HTTP on 80, TLS on 443, TCP and UDP echo on 7000, on every address of a side.

servers.py READY SIDE CERTIFICATE
"""

import asyncio
import os
import ssl
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

import ready
from addresses import SERVERS


def web(name: str) -> "asyncio.Protocol":
    """A server of one page that says whose it is."""
    body = f"this is {name}\n".encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()

    class Web(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport, self.seen = transport, b""

        def data_received(self, data: bytes) -> None:
            self.seen = (self.seen + data)[-65536:]
            if b"\r\n\r\n" in self.seen:
                self.transport.write(head + body)  # type: ignore[attr-defined]
                self.transport.close()

    return Web()


class TcpEcho(asyncio.Protocol):
    """Every byte comes back."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)  # type: ignore[attr-defined]


class UdpEcho(asyncio.DatagramProtocol):
    """Every datagram comes back."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: object) -> None:
        self.transport.sendto(data, address)  # type: ignore[attr-defined]


async def main(descriptor: str, side: str, certificate: str) -> None:
    """Serve until the lab ends."""
    loop = asyncio.get_running_loop()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate + ".crt", certificate)
    for server in SERVERS:
        if server.side != side:
            continue
        for address in (server.ip4, server.ip6):
            await loop.create_server(lambda name=server.name: web(name), address, 80)  # type: ignore[misc]
            await loop.create_server(lambda name=server.name: web(name), address, 443, ssl=tls)  # type: ignore[misc]
            await loop.create_server(TcpEcho, address, 7000)
            await loop.create_datagram_endpoint(UdpEcho, (address, 7000))
    ready.tell(descriptor)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
