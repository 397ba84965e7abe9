"""The gateway's wire code, with dnspython as the oracle."""

import contextlib
from typing import List, Optional

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rcc.core import dns_message as wire
from rcc.core.dns_message import Malformed, Question, Record, parse_question, render_reply, udp_limit

LABEL = st.binary(min_size=1, max_size=63)
PLAIN_LABEL = st.text("abcXYZ019_-", min_size=1, max_size=20).map(str.encode)


def query(*labels: bytes, qtype: int = 1, edns: bool = False, payload: int = 1232) -> bytes:
    name = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    tail = b"\0\0\x29" + payload.to_bytes(2, "big") + b"\0" * 6 if edns else b""
    head = b"\x12\x34\1\0\0\1\0\0\0\0\0" + bytes((int(edns),))
    return head + name + qtype.to_bytes(2, "big") + b"\0\1" + tail


def by_oracle(data: bytes) -> Optional[dns.message.Message]:
    """The message, if it is of the one form that the gateway takes."""
    if len(data) > 2 and data[2] & 0x78:
        return None  # dnspython knows no opcode 3
    try:
        message = dns.message.from_wire(data)
    except (dns.exception.DNSException, ValueError, AttributeError):
        return None
    fits = (
        not message.flags & dns.flags.QR
        and message.opcode() == dns.opcode.QUERY
        and len(message.question) == 1
        and not message.answer
        and not message.authority
        and not message.additional
        and message.edns <= 0
        and not message.had_tsig
    )
    if not fits:
        return None
    question = message.question[0]
    return message if question.rdclass == dns.rdataclass.IN and question.rdtype not in (0, 41) else None


def parsed(data: bytes) -> Optional[Question]:
    try:
        return parse_question(data)
    except Malformed as error:
        if error.reply:
            assert error.reply[:2] == data[:2] and error.reply[2] & 0x80
            with contextlib.suppress(ValueError):  # an opcode that dnspython does not know
                assert dns.message.from_wire(error.reply).rcode() in (1, 4, 16)
        return None


@given(st.lists(LABEL, max_size=8), st.integers(0, 65535), st.booleans(), st.integers(0, 65535))
def test_a_question_is_read_as_dnspython_reads_it(labels: List[bytes], qtype: int, edns: bool, payload: int) -> None:
    data = query(*labels, qtype=qtype, edns=edns, payload=payload)
    found, oracle = parsed(data), by_oracle(data)
    assert (found is None) == (oracle is None)
    if found is None or oracle is None:
        return
    name = oracle.question[0].name
    assert found.qtype == oracle.question[0].rdtype and bool(found.payload) == (oracle.edns == 0)
    assert found.wire == data[12 : 12 + len(found.wire)]
    if found.plain and found.name:
        assert dns.name.from_text(found.name) == name
        assert all(
            set(label) <= set(b"abcdefghijklmnopqrstuvwxyz0123456789-_") for label in found.name.encode().split(b".")
        )
    elif not found.plain:
        assert dns.name.from_text(found.name) == name, "shown so that it can be told what it was"
        assert "\\" in found.name and found.name.isprintable() and found.name.isascii()


@given(st.lists(PLAIN_LABEL, min_size=1, max_size=6))
def test_names_of_letters_and_digits_are_plain(labels: List[bytes]) -> None:
    found = parse_question(query(*labels))
    assert found.plain and found.name == b".".join(labels).decode().lower()


@settings(max_examples=1000)
@given(st.binary(max_size=120))
def test_any_bytes(data: bytes) -> None:
    found = parsed(data)
    assert found is None or len(data) >= 17


@settings(max_examples=1000)
@given(st.data())
def test_a_question_with_bytes_changed(data: st.DataObject) -> None:
    whole = bytearray(query(b"a", b"example", edns=True))
    for at in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=4)):
        whole[at] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    for wire_data in (bytes(whole), cut):
        found = parsed(wire_data)
        oracle = by_oracle(wire_data)
        if oracle is None and found is not None:
            # Options are never looked at here, and dnspython reads them; everything else must agree.
            assert found.payload
        if oracle is not None:
            assert found is not None and oracle.question[0].rdtype == found.qtype


GOOD = query(b"a", b"example")


@pytest.mark.parametrize(
    ("data", "rcode"),
    [
        (b"", None),
        (b"x", None),
        (b"\x12\x34", 1),
        (GOOD[:12], 1),
        (GOOD[:-1], 1),
        (GOOD + b"\0", 1),
        (GOOD[:2] + b"\x81" + GOOD[3:], None),  # a reply
        (GOOD[:2] + b"\x11" + GOOD[3:], 4),  # opcode status
        (GOOD[:2] + b"\x29" + GOOD[3:], 4),  # update
        (GOOD[:4] + b"\0\0" + GOOD[6:], 1),  # no question
        (GOOD[:4] + b"\0\2" + GOOD[6:] + GOOD[12:], 1),  # two
        (GOOD[:12] + b"\xc0\x0c\0\1\0\1", 1),  # a name that refers to itself
        (GOOD[:12] + b"\1a\xc0\x0c\0\1\0\1", 1),
        (GOOD[:12] + b"\x40" + b"a" * 64 + b"\0\0\1\0\1", 1),  # a label of 64 bytes
        (GOOD[:-1] + b"\3", 4),  # class CHAOS
        (query(b"a", qtype=41), 4),  # OPT as a question
        (query(b"a", edns=True)[:-6] + b"\0\1\0\0\0\0", 16),  # EDNS version 1
        (query(b"a", edns=True) + b"\0", 1),
        (query(b"a", edns=True)[:-1], 1),
    ],
)
def test_what_is_refused(data: bytes, rcode: Optional[int]) -> None:
    with pytest.raises(Malformed) as caught:
        parse_question(data)
    if rcode is None:
        assert caught.value.reply == b""
    else:
        reply = dns.message.from_wire(caught.value.reply)
        assert reply.rcode() == rcode and reply.flags & dns.flags.QR and reply.id == int.from_bytes(data[:2], "big")


def test_the_limits_of_names() -> None:
    longest = [b"a" * 63] * 3 + [b"a" * 61]
    assert len(parse_question(query(*longest)).name) == 253
    with pytest.raises(Malformed):
        parse_question(query(*longest[:3], b"a" * 62))
    assert parse_question(query()).name == "" and parse_question(query()).plain


@pytest.mark.parametrize("label", [b"a.b", b"a\0", b"\1", b"a\1b", b"\xff", b" ", b"a*", b"\\", b"\n", b"\x1b[1m"])
def test_other_bytes_never_equal_a_host_name(label: bytes) -> None:
    found = parse_question(query(label, b"example"))
    assert not found.plain and found.name.isprintable() and found.name != "a.b.example"


# dnspython takes the data of these apart, and noise is none.
KNOWN_TYPES = frozenset(range(261)) | frozenset(map(int, dns.rdatatype.RdataType))
RECORDS = st.lists(
    st.tuples(
        st.integers(1, 65000).filter(lambda kind: kind not in KNOWN_TYPES),
        st.integers(0, 2**31 - 1),
        st.binary(max_size=300),
    ),
    max_size=20,
)


@given(
    st.lists(LABEL, max_size=5), st.booleans(), st.integers(0, 65535), RECORDS, st.sampled_from([0, 2, 3, 5]),
    st.one_of(st.none(), st.tuples(st.integers(0, 30), st.text(max_size=300))), st.booleans(),
)  # fmt: skip
def test_a_reply_is_read_as_it_was_meant(
    labels: List[bytes], edns: bool, payload: int, records: "List[tuple[int, int, bytes]]", rcode: int, ede: object,
    stream: bool,
) -> None:  # fmt: skip
    data = query(*labels, edns=edns, payload=payload)
    question = parsed(data)
    if question is None:
        return
    limit = wire.TCP_MOST if stream else udp_limit(question)
    reply = render_reply(question, rcode, [Record(*record) for record in records], limit, ede)  # type: ignore[arg-type]
    assert len(reply) <= limit
    found = dns.message.from_wire(reply, ignore_trailing=False, one_rr_per_rrset=True)
    assert dns.message.from_wire(data).is_response(found) and found.rcode() == rcode
    assert found.flags & dns.flags.RA and not found.flags & dns.flags.AA
    assert reply[12 : 12 + len(question.wire)] == question.wire
    assert found.edns == (0 if edns else -1)
    assert len(found.options) == (1 if edns and ede is not None else 0)
    kept = [(rrset.rdtype, rrset.ttl, rrset[0].to_wire()) for rrset in found.answer]
    assert all(rrset.name == found.question[0].name for rrset in found.answer)
    cut = bool(found.flags & dns.flags.TC)
    assert cut == (len(kept) < len(records)) and not (cut and stream and len(records) < 20)
    assert kept == [(kind, ttl, data) for kind, ttl, data in records][: len(kept)]


def test_the_spelling_comes_back() -> None:
    question = parse_question(query(b"ExAmPle", b"COM"))
    assert question.name == "example.com" and b"ExAmPle" in render_reply(question, 0)


@pytest.mark.parametrize(("payload", "limit"), [(0, 512), (100, 512), (512, 512), (1000, 1000), (4096, 1232)])
def test_how_much_a_datagram_holds(payload: int, limit: int) -> None:
    assert udp_limit(parse_question(query(b"a", edns=True, payload=payload))) == limit
    assert udp_limit(parse_question(query(b"a"))) == 512
