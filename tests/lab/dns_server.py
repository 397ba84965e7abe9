"""The lab's DNS: serves the zone file as it is now; names that are not in it do not exist.

    dns_server.py READY ZONE ADDRESS...

A line of the zone: `name ttl type value`, types A, AAAA, CNAME and TXT; `#` begins a comment.
"""

import asyncio
import os
import sys
from typing import Dict, List, Tuple

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

import ready

Zone = Dict[Tuple[dns.name.Name, str], List[Tuple[int, str]]]
CHAIN = 8


def read_zone(path: str) -> Zone:
    """The records of the file; lines that are none are passed over, they may be half written."""
    zone: Zone = {}
    with open(path, encoding="utf-8") as stream:
        for line in stream:
            words = line.partition("#")[0].split(None, 3)
            if len(words) == 4 and words[1].isdigit():
                key = (dns.name.from_text(words[0].lower()), words[2].upper())
                zone.setdefault(key, []).append((int(words[1]), words[3].strip()))
    return zone


def respond(path: str, wire: bytes, limit: int) -> bytes:
    """The answer to one message, truncated to ``limit`` bytes; raises DNSException for what is no query."""
    query = dns.message.from_wire(wire)
    try:
        return _look_up(read_zone(path), query, limit)
    except (OSError, dns.exception.DNSException):
        failure = dns.message.make_response(query)  # a zone that is not there or whose records are none
        failure.set_rcode(dns.rcode.SERVFAIL)
        return failure.to_wire()


def _look_up(zone: Zone, query: dns.message.Message, limit: int) -> bytes:
    response = dns.message.make_response(query)
    response.flags |= dns.flags.AA | dns.flags.RA
    question = query.question[0]
    name, kind = question.name, dns.rdatatype.to_text(question.rdtype)
    known = {owner for owner, _ in zone}
    low = dns.name.from_text(name.to_text().lower())
    if low not in known:
        response.set_rcode(dns.rcode.NXDOMAIN)
    for _ in range(CHAIN):
        low = dns.name.from_text(name.to_text().lower())
        records = zone.get((low, kind))
        if records:
            response.answer.append(
                dns.rrset.from_text(name, records[0][0], "IN", kind, *(value for _, value in records))
            )
            break
        alias = zone.get((low, "CNAME"))
        if not alias:
            break
        response.answer.append(dns.rrset.from_text(name, alias[0][0], "IN", "CNAME", alias[0][1].rstrip(".") + "."))
        name = dns.name.from_text(alias[0][1])
    try:
        return response.to_wire(max_size=limit)
    except dns.exception.TooBig:
        response.answer.clear()
        response.flags |= dns.flags.TC
        return response.to_wire()


class Udp(asyncio.DatagramProtocol):
    """DNS over UDP (RFC 1035 section 4.2.1)."""

    def __init__(self, path: str) -> None:
        self.path = path

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: object) -> None:
        try:
            self.transport.sendto(respond(self.path, data, 1232), address)  # type: ignore[attr-defined]
        except (dns.exception.DNSException, IndexError):
            return


async def tcp(path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """DNS over TCP (RFC 1035 section 4.2.2)."""
    try:
        while True:
            length = int.from_bytes(await reader.readexactly(2), "big")
            wire = respond(path, await reader.readexactly(length), 65535)
            writer.write(len(wire).to_bytes(2, "big") + wire)
            await writer.drain()
    except (OSError, EOFError, asyncio.IncompleteReadError, dns.exception.DNSException, IndexError):
        writer.close()


async def main(descriptor: str, path: str, *listen: str) -> None:
    """Serve until the lab ends."""
    loop = asyncio.get_running_loop()
    for address in listen:
        await loop.create_datagram_endpoint(lambda: Udp(path), (address, 53))
        await asyncio.start_server(lambda reader, writer: tcp(path, reader, writer), address, 53)
    ready.tell(descriptor)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
