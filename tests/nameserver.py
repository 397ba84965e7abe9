"""A small DNS server on loopback, for tests: UDP and TCP on one port, a zone that may change while it runs."""

import contextlib
import socket
import threading
import time
from typing import Callable, Dict, Iterator, List, Optional, Tuple, Union

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

Reply = Union[dns.message.Message, bytes, None]
Special = Callable[[dns.message.Message, bool], Reply]


def _bound(address: str) -> Tuple[socket.socket, socket.socket]:
    """UDP and TCP on one port, whichever is free for both."""
    while True:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        udp.bind((address, 0))
        try:
            tcp.bind(udp.getsockname())
            return udp, tcp
        except OSError:
            udp.close()
            tcp.close()


class NameServer:
    """``zone`` maps (name, type) to the records of the whole answer section, as texts ``OWNER TTL TYPE DATA``.

    ``special`` maps a name to a function that answers instead; None as reply is silence.  ``asked`` are all questions.
    """

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.zone: Dict[Tuple[str, str], List[str]] = {}
        self.special: Dict[str, Special] = {}
        self.asked: List[Tuple[str, str, str]] = []
        self._udp, self._tcp = _bound(address)
        self.address, self.port = self._udp.getsockname()
        self._tcp.listen()
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._serve_udp, self._serve_tcp)]

    @property
    def resolv_conf(self) -> str:
        """The text of a resolv.conf that names this server."""
        return f"nameserver [{self.address}]:{self.port}\n"

    def add(self, name: str, kind: str, *data: str, ttl: int = 60) -> None:
        """Let ``name`` have these records of ``kind`` and no others."""
        self.zone[name, kind] = [f"{name}. {ttl} {kind} {text}" for text in data]

    def reply(self, query: dns.message.Message, tcp: bool) -> Reply:
        """What is sent back for a query."""
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind, "tcp" if tcp else "udp"))
        if name in self.special:
            return self.special[name](query, tcp)
        reply = dns.message.make_response(query)
        records = self.zone.get((name, kind))
        if records is None and not any(known == name for known, _ in self.zone):
            reply.set_rcode(dns.rcode.NXDOMAIN)
        add_records(reply, records or [])
        return reply

    def _serve_udp(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                wire, peer = self._udp.recvfrom(65535)
                if not wire:
                    return  # shut down, or a stranger's empty datagram, which no test sends
                reply = _to_wire(self.reply(dns.message.from_wire(wire), False))
                if reply is not None:
                    self._udp.sendto(reply, peer)

    def _serve_tcp(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._tcp.accept()
                with connection, connection.makefile("rb") as stream:
                    wire = stream.read(int.from_bytes(stream.read(2), "big"))
                    reply = _to_wire(self.reply(dns.message.from_wire(wire), True))
                    if reply is not None:
                        connection.sendall(len(reply).to_bytes(2, "big") + reply)

    def __enter__(self) -> "NameServer":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._tcp.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            self._udp.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        self._udp.close()
        self._tcp.close()


def add_records(reply: dns.message.Message, records: List[str]) -> None:
    """Put records, as texts, into the answer section in their order."""
    for record in records:
        owner, ttl, kind, data = record.split(None, 3)
        reply.answer.append(dns.rrset.from_text(owner, int(ttl), "IN", kind, data))


def truncated(query: dns.message.Message) -> dns.message.Message:
    """An empty response that says: ask by TCP."""
    reply = dns.message.make_response(query)
    reply.flags |= dns.flags.TC
    return reply


def _to_wire(reply: Reply) -> Optional[bytes]:
    return reply.to_wire() if isinstance(reply, dns.message.Message) else reply


def eventually(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait until ``condition()`` holds; fail after ``seconds``."""
    for _ in _moments(seconds):
        if condition():
            return
    raise AssertionError(f"not within {seconds} s")


def _moments(seconds: float) -> Iterator[None]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
        time.sleep(0.02)
