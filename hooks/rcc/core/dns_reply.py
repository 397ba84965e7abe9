"""The upstream's side of DNS messages: a query made afresh, and what may be believed of the reply.

Whoever answers for an allowed name chooses every byte of the reply, so nothing of it is taken along as it came: records
of the asked type are found by following aliases from the question alone (threat 34), and taken apart and put together
again.  The work for one reply is bounded, whatever its size.
"""

from struct import Struct, error
from typing import Dict, List, Optional, Tuple

from rcc.core.dns_message import (
    AAAA,
    CLASS_IN,
    CNAME,
    FORMERR,
    HEADER,
    LABEL_LIMIT,
    MX,
    NAME_LIMIT,
    NOERROR,
    NOTIMP,
    NS,
    NXDOMAIN,
    OPCODE,
    QR,
    RD,
    REFUSED,
    SERVFAIL,
    SOA,
    SRV,
    TC,
    A,
    Record,
    Reply,
)

RECORDS_READ = 300  # of answer and authority sections; an honest answer has a few dozen
RECORDS_LIMIT = 64  # of the asked type that are kept
BYTES_LIMIT = 16 << 10  # of their data
CHAIN_LIMIT = 16  # aliases
JUMPS_LIMIT = 32  # compression pointers in one name
TTL_LIMIT = 86400  # seconds
NO_TTL = 60  # seconds that "there is none" holds where no SOA record says for how long

_HEADER = Struct(">HHHHHH")
_TAIL = Struct(">HH")
_RECORD = Struct(">HHIH")
# Data that is a name after so many bytes; every other type's is opaque (RFC 3597 section 4), but for SOA's.
_NAME_AFTER = {CNAME: 0, NS: 0, MX: 2, SRV: 6}
_SIZES = {A: 4, AAAA: 16}
# Servers that have no answer may leave the question out.
_BARE = (FORMERR, SERVFAIL, NOTIMP, REFUSED)


class BadReply(Exception):
    """It answers the question and makes no sense."""


class CaseLost(Exception):
    """It answers the question in another spelling than it was asked in: the server does not keep letters' case."""


class Cut(Exception):
    """The answer does not fit into a datagram: ask by TCP (RFC 7766)."""


def encode_name(name: str) -> bytes:
    """A name in the form of messages.  Raises ValueError for what is none."""
    found = b""
    for label in name.encode("ascii").split(b"."):
        if not 0 < len(label) <= LABEL_LIMIT:
            raise ValueError(f"a label of {len(label)} bytes")
        found += bytes((len(label),)) + label
    if len(found) >= NAME_LIMIT:
        raise ValueError("longer than 253 bytes")
    return found + b"\0"


def render_query(number: int, name: bytes, qtype: int, cases: int = 0) -> bytes:
    """A query with recursion desired and nothing else; ``name`` as ``encode_name`` gives it, in lower case.

    Each bit of ``cases`` has one byte of the name in upper case: random bits are that much harder to guess for
    whoever forges a reply (draft-vixie-dnsext-dns0x20).
    """
    if cases:  # the bytes for lengths are below those of letters
        name = bytes(b - 32 if 97 <= b <= 122 and cases >> at & 1 else b for at, b in enumerate(name))
    return _HEADER.pack(number, RD, 1, 0, 0, 0) + name + _TAIL.pack(qtype, CLASS_IN)


def parse_reply(query: bytes, wire: bytes) -> Optional[Reply]:
    """What ``wire`` says to ``query``, None when it is no reply to it or cannot be read.

    ``error`` of the reply is not set here.  Raises BadReply, CaseLost, Cut.
    """
    if len(wire) < HEADER or wire[:2] != query[:2]:
        return None
    _, flags, questions, answers, authority, _ = _HEADER.unpack_from(wire)
    if not flags & QR or flags & OPCODE:
        return None
    if flags & TC:
        raise Cut
    rcode = flags & 15
    if not questions and rcode in _BARE:
        return Reply(rcode)
    question = query[HEADER:]
    end = HEADER + len(question)
    if questions != 1 or wire[HEADER:end].lower() != question.lower():
        return None
    if wire[HEADER:end] != question:
        raise CaseLost
    if rcode not in (NOERROR, NXDOMAIN):
        return Reply(rcode)
    try:
        return _read(wire, end, (answers, authority), question, rcode)
    except (error, IndexError, ValueError):
        return None


def _read(wire: bytes, at: int, counts: Tuple[int, int], question: bytes, rcode: int) -> Reply:
    """The reply in the sections from ``at`` on.  Raises struct.error, IndexError, ValueError, BadReply."""
    qtype = _TAIL.unpack_from(question, len(question) - 4)[0]
    found: Dict[Tuple[bytes, int], List[Tuple[int, int, int]]] = {}
    negative = NO_TTL
    for number in range(min(sum(counts), RECORDS_READ)):
        owner, at = _name(wire, at)
        kind, its_class, ttl, length = _RECORD.unpack_from(wire, at)
        at += _RECORD.size
        if at + length > len(wire):
            raise ValueError("a record beyond the end")
        if its_class == CLASS_IN:
            ttl = ttl if ttl < 1 << 31 else 0  # RFC 2181 section 8
            if number < counts[0]:
                if kind in (qtype, CNAME):
                    found.setdefault((owner.lower(), kind), []).append((ttl, at, length))
            elif kind == SOA and length >= 22:
                negative = min(ttl, int.from_bytes(wire[at + length - 4 : at + length], "big"))  # RFC 2308 section 5
        at += length
    records, ttl = _follow(wire, found, question[:-4].lower(), qtype)
    if not records:
        return Reply(rcode, (), min(negative, TTL_LIMIT))
    if rcode == NXDOMAIN:
        raise BadReply("an answer for a name that does not exist")
    return Reply(rcode, records, ttl)


def _follow(
    wire: bytes, found: Dict[Tuple[bytes, int], List[Tuple[int, int, int]]], owner: bytes, qtype: int
) -> Tuple[Tuple[Record, ...], int]:
    """The records of the type at the end of the aliases that begin at ``owner``, and the shortest TTL on the way."""
    least = TTL_LIMIT
    for _ in range(CHAIN_LIMIT):
        entries = found.get((owner, qtype))
        if entries:
            least = min(least, *(ttl for ttl, _, _ in entries), TTL_LIMIT)
            records: List[Record] = []
            size = 0
            for _, at, length in entries[: 1 if qtype == CNAME else RECORDS_LIMIT]:
                data = _data(wire, qtype, at, length)
                size += len(data)
                if size <= BYTES_LIMIT:
                    records.append(Record(qtype, least, data))
            return tuple(dict.fromkeys(records)), least
        aliases = found.get((owner, CNAME))
        if not aliases:
            return (), least
        ttl, at, _ = aliases[0]
        least = min(least, ttl)
        owner = _name(wire, at)[0].lower()
    raise BadReply("a loop of aliases, or too many of them")


def _data(wire: bytes, kind: int, at: int, length: int) -> bytes:
    """A record's data without compression.  Raises as ``_name``.

    Names in lower case: where they refer to the question's, they are spelled as at random as that.
    """
    end = at + length
    if _SIZES.get(kind, length) != length:
        raise ValueError("an address of another length")
    if kind in _NAME_AFTER:
        start = at + _NAME_AFTER[kind]
        name, after = _name(wire, start)
        rest = wire[at:start] + name.lower()
    elif kind == SOA:
        first, after = _name(wire, at)
        second, after = _name(wire, after)
        after += 20
        rest = (first + second).lower() + wire[after - 20 : after]
    else:
        return wire[at:end]
    if after != end:
        raise ValueError("data of another length")
    return rest


def _name(wire: bytes, at: int) -> Tuple[bytes, int]:
    """The name at ``at`` without compression, and where what follows begins.  Raises IndexError, ValueError."""
    name = b""
    after = 0
    jumps = 0
    while True:
        length = wire[at]
        if length > LABEL_LIMIT:
            if length < 0xC0:
                raise ValueError("a label of an unknown kind")
            after = after or at + 2
            jumps += 1
            target = (length & 0x3F) << 8 | wire[at + 1]
            if target >= at or jumps > JUMPS_LIMIT:
                raise ValueError("a pointer that leads nowhere")
            at = target
            continue
        name += wire[at : at + 1 + length]
        at += 1 + length
        if len(name) > NAME_LIMIT or at > len(wire):
            raise ValueError("a name too long")
        if not length:
            return name, after or at
