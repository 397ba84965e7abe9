"""DNS messages as the gateway meets them: one question in, one reply out, by the bytes (RFC 1035, RFC 6891, RFC 8914).

What a container sends is read here and never handed on: a question that is allowed is asked anew.  Nothing but
Malformed is raised, whatever comes.  Own code because it is on the way of every question: 3 microseconds where
dnspython takes a hundred, and it takes one form only.
"""

from struct import Struct
from typing import Iterable, NamedTuple, Optional, Tuple

HEADER = 12
QR, OPCODE, TC, RD, RA, CD = 0x8000, 0x7800, 0x0200, 0x0100, 0x0080, 0x0010
CLASS_IN = 1
A, NS, CNAME, SOA, PTR, MX, TXT, AAAA, SRV, OPT, SVCB, HTTPS, ANY, CAA = (
    1, 2, 5, 6, 12, 15, 16, 28, 33, 41, 64, 65, 255, 257,
)  # fmt: skip
_TYPES = {
    A: "A", NS: "NS", CNAME: "CNAME", SOA: "SOA", PTR: "PTR", MX: "MX", TXT: "TXT", AAAA: "AAAA", SRV: "SRV",
    SVCB: "SVCB", HTTPS: "HTTPS", ANY: "ANY", CAA: "CAA",
}  # fmt: skip
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16
BLOCKED, FILTERED, NO_REACHABLE_AUTHORITY, OTHER = 15, 17, 22, 0  # RFC 8914 section 4
EDE = 15  # the EDNS option (RFC 8914 section 2)
UDP_LEAST = 512  # bytes (RFC 1035 section 4.2.1)
UDP_MOST = 1232  # what passes every path unfragmented (DNS flag day 2020)
TCP_MOST = 65535
NAME_LIMIT = 255
LABEL_LIMIT = 63

_HEADER = Struct("!6H")
_TAIL = Struct("!2H")  # type and class
_OPT = Struct("!BHHBBHH")  # root, type, payload size, rcode, version, flags, length
_OPTION = Struct("!3H")
_RECORD = Struct("!HHHIH")  # owner, type, class, time to live, length
_OWNER = 0xC00C  # a pointer to the name of the question

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-_")
# To the spelling that names are compared in.  A byte 1 stands for the end of a label; whatever can be in no name of a
# policy, first of all the dot, becomes a zero.
_SPELLING = bytes(
    ord(".") if byte == 1 else byte if byte in _PLAIN else 0
    for byte in (byte + 32 if ord("A") <= byte <= ord("Z") else byte for byte in range(256))
)


class Malformed(Exception):
    """No query that can be answered.  ``reply``: what to say to it, empty for nothing."""

    def __init__(self, reply: bytes = b"") -> None:
        super().__init__("malformed")
        self.reply = reply


class Question(NamedTuple):
    """``name``: lower case without trailing dot, for people and for comparing; it is only equal to a host name when
    ``plain``, that is when every label is of letters, digits, ``-`` and ``_``.  Other bytes stand as ``\\046`` in it
    (RFC 1035 section 5.1).

    ``wire``: the question section as it came.  ``payload``: what the asker's datagrams may hold, 0 without EDNS.
    """

    id: int
    flags: int
    name: str
    plain: bool
    qtype: int
    wire: bytes
    payload: int = 0


class Record(NamedTuple):
    """One record of an answer; its owner is the name that was asked for."""

    type: int
    ttl: int
    data: bytes


class Reply(NamedTuple):
    """What upstream said: ``rcode``, the records of the type that was asked for (ttl of the whole chain, in seconds);
    ``error`` for people where the rcode is SERVFAIL.
    """

    rcode: int
    records: Tuple[Record, ...] = ()
    ttl: int = 0
    error: str = ""


def parse_question(data: bytes) -> Question:
    """The only question of a query: one name, class IN, perhaps an OPT record, and nothing else.

    Compressed names are refused: there is nothing before the first one that it could refer to.  Raises Malformed.
    """
    if len(data) < HEADER:
        raise Malformed(_error(int.from_bytes(data[:2], "big"), 0, FORMERR) if len(data) >= 2 else b"")
    number, flags, questions, answers, authorities, additional = _HEADER.unpack_from(data)
    if flags & QR:
        raise Malformed  # a reply: two that answer each other would never end
    if flags & OPCODE:
        raise Malformed(_error(number, flags, NOTIMP))
    if questions != 1 or answers or authorities or additional > 1:
        raise Malformed(_error(number, flags, FORMERR))
    labels = []
    at = HEADER
    try:
        length = data[at]
        while length:
            if length > LABEL_LIMIT:  # also every compression pointer
                raise Malformed(_error(number, flags, FORMERR))
            labels.append(data[at + 1 : at + 1 + length])
            at += 1 + length
            length = data[at]
    except IndexError:
        raise Malformed(_error(number, flags, FORMERR)) from None
    end = at + 5
    if at + 1 - HEADER > NAME_LIMIT or end > len(data):
        raise Malformed(_error(number, flags, FORMERR))
    qtype, qclass = _TAIL.unpack_from(data, at + 1)
    payload = _edns(data, end, number, flags) if additional else 0
    if not additional and end != len(data):
        raise Malformed(_error(number, flags, FORMERR))
    if qclass != CLASS_IN or qtype in (0, OPT):
        raise Malformed(_error(number, flags, NOTIMP))
    spelled = b"\1".join(labels).translate(_SPELLING)
    plain = 0 not in spelled and (spelled.count(b".") == len(labels) - 1 or not labels)
    name = spelled.decode("ascii") if plain else ".".join(map(_shown, labels))
    return Question(number, flags, name, plain, qtype, data[HEADER:end], payload)


def _edns(data: bytes, at: int, number: int, flags: int) -> int:
    """The payload size in the OPT record that must be the rest of the message.  Raises Malformed."""
    if at + _OPT.size > len(data):
        raise Malformed(_error(number, flags, FORMERR))
    root, kind, size, _, version, _, length = _OPT.unpack_from(data, at)
    if root or kind != OPT or at + _OPT.size + length != len(data):
        raise Malformed(_error(number, flags, FORMERR))
    if version:
        raise Malformed(_error(number, flags, BADVERS))
    return max(int(size), UDP_LEAST)


def _shown(label: bytes) -> str:
    return "".join(chr(byte) if byte in _PLAIN else f"\\{byte:03d}" for byte in label.lower())


def type_name(qtype: int) -> str:
    """The type as text, ``TYPE123`` (RFC 3597) where it has no name here."""
    return _TYPES.get(qtype) or f"TYPE{qtype}"


def udp_limit(question: Question) -> int:
    """The bytes that a reply by datagram may have."""
    return min(question.payload, UDP_MOST) if question.payload else UDP_LEAST


def render_reply(
    question: Question,
    rcode: int,
    records: Iterable[Record] = (),
    limit: int = UDP_LEAST,
    ede: "Optional[Tuple[int, str]]" = None,
) -> bytes:
    """The reply in at most ``limit`` bytes, UDP_LEAST or more; records that do not fit are left out, and it says so
    (TC).

    The question is repeated byte by byte, so letters keep their case.  ``ede``: code and text of an extended error.
    """
    option = _render_opt(ede) if question.payload else b""
    flags = QR | RA | question.flags & (RD | CD) | rcode
    room = limit - HEADER - len(question.wire) - len(option)
    body = b""
    count = 0
    for kind, ttl, data in records:
        body += _RECORD.pack(_OWNER, kind, CLASS_IN, ttl, len(data)) + data
        if len(body) > room:
            body = body[: -_RECORD.size - len(data)]
            flags |= TC
            break
        count += 1
    counts = _HEADER.pack(question.id, flags, 1, count, 0, 1 if option else 0)
    return counts + question.wire + body + option


def around_ttls(question: Question, reply: bytes) -> Tuple[bytes, ...]:
    """What ``render_reply`` gave, without its id and without the times to live of its records: joined by another one
    (``packed_ttl``), it is the same reply some time later.
    """
    parts = []
    begin, at = 2, HEADER + len(question.wire)
    for _ in range(_HEADER.unpack_from(reply)[3]):
        parts.append(reply[begin : at + 6])
        begin = at + 10
        at += _RECORD.size + _RECORD.unpack_from(reply, at)[4]
    return (*parts, reply[begin:])


def packed_ttl(seconds: int) -> bytes:
    """A time to live as it stands in a record."""
    return seconds.to_bytes(4, "big")


def _render_opt(ede: "Optional[Tuple[int, str]]") -> bytes:
    if ede is None:
        return _OPT.pack(0, OPT, UDP_MOST, 0, 0, 0, 0)
    text = ede[1].encode("ascii", "backslashreplace")[:200]
    return _OPT.pack(0, OPT, UDP_MOST, 0, 0, 0, 6 + len(text)) + _OPTION.pack(EDE, 2 + len(text), ede[0]) + text


def _error(number: int, flags: int, rcode: int) -> bytes:
    """A reply without a question."""
    extended = rcode >> 4
    header = _HEADER.pack(number, QR | RA | flags & (OPCODE | RD) | rcode & 15, 0, 0, 0, 1 if extended else 0)
    return header + (_OPT.pack(0, OPT, UDP_MOST, extended, 0, 0, 0) if extended else b"")
