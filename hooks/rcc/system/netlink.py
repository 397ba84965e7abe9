"""Netlink messages by hand (netlink(7), <linux/netlink.h>): where a library's import or copying would be felt."""

import errno
import os
import socket
import struct
from typing import Iterator, Tuple

from rcc.core.errors import KernelError

NETLINK_SOCK_DIAG, NETLINK_NETFILTER = 4, 12  # <linux/netlink.h>
NLMSG_NOOP, NLMSG_ERROR, NLMSG_DONE = 1, 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP, NLM_F_CREATE, NLM_F_DUMP_INTR = 0x1, 0x4, 0x300, 0x400, 0x10
NLA_F_NESTED = 0x8000
NLA_TYPE_MASK = 0x3FFF
NFPROTO_UNSPEC, NFPROTO_INET = 0, 1  # <linux/netfilter.h>
NFNL_SUBSYS_NFTABLES = 10  # <linux/netfilter/nfnetlink.h>
REPLY = 1 << 16  # bytes: more than a message of a dump has (netlink_dump)
INTERRUPTED = 5  # tries of a dump during which something changed
HEADER = 16

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")


def open_netfilter() -> socket.socket:
    """A netfilter socket in the network namespace of this thread.  Raises KernelError."""
    return _open(NETLINK_NETFILTER)


def open_sock_diag() -> socket.socket:
    """A socket that tells of sockets (sock_diag(7)) in the network namespace of this thread.  Raises KernelError."""
    return _open(NETLINK_SOCK_DIAG)


def _open(protocol: int) -> socket.socket:
    try:
        made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    except OSError as error:
        raise KernelError(f"no netlink socket: {error.strerror}") from error
    try:
        made.bind((0, 0))
    except OSError as error:
        made.close()
        raise KernelError(f"no netlink socket: {error.strerror}") from error
    return made


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """One message."""
    return _HEADER.pack(HEADER + len(body), kind, flags | NLM_F_REQUEST, sequence, 0) + body


def netfilter_body(family: int, resource: int, attributes: bytes) -> bytes:
    """A nfgenmsg and what follows it."""
    return struct.pack("!BBH", family, 0, resource) + attributes


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded."""
    return _ATTRIBUTE.pack(4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def attributes(data: bytes) -> Iterator[Tuple[int, bytes]]:
    """The attributes in ``data``: kind without flags, and value.  Raises struct.error, ValueError."""
    at = 0
    while at + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < 4 or at + length > len(data):
            raise ValueError("an attribute beyond the end")
        yield kind & NLA_TYPE_MASK, data[at + 4 : at + length]
        at += length + 3 & ~3


def messages(data: bytes) -> Iterator[Tuple[int, int, int, bytes]]:
    """The messages in a datagram: kind, flags, sequence number, body.  What is cut off counts for nothing."""
    at = 0
    while at + HEADER <= len(data):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, at)
        if length < HEADER or at + length > len(data):
            return
        yield kind, flags, sequence, data[at + HEADER : at + length]
        at += length + 3 & ~3


def request(netlink: socket.socket, kind: int, flags: int, family: int, wanted: bytes) -> Iterator[bytes]:
    """The attributes of each message in answer to a netfilter dump.  Raises OSError."""
    for _ in range(INTERRUPTED):
        found, whole = dump(netlink, kind, flags, netfilter_body(family, 0, wanted))
        if whole:
            break
    for body in found:
        yield body[4:]  # without its nfgenmsg


def dump(netlink: socket.socket, kind: int, flags: int, body: bytes) -> Tuple["list[bytes]", bool]:
    """The bodies of all messages of a dump, and whether nothing changed meanwhile.  Raises OSError."""
    sequence = int.from_bytes(os.urandom(3), "big") + 1
    netlink.send(message(kind, flags, sequence, body))
    found: "list[bytes]" = []
    whole = True
    while True:
        for answer, its_flags, number, inner in messages(netlink.recv(REPLY)):
            if number != sequence:
                continue
            whole = whole and not its_flags & NLM_F_DUMP_INTR
            if answer == NLMSG_DONE:
                return found, whole
            if answer == NLMSG_ERROR:
                problem = -int(struct.unpack_from("=i", inner)[0])
                if problem:
                    raise OSError(problem, os.strerror(problem))
                return found, whole
            if answer > NLMSG_DONE:
                found.append(inner)
            elif answer != NLMSG_NOOP:
                raise OSError(errno.EPROTO, "an unknown message")
