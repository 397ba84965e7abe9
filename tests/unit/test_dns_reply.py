"""What upstream says, read by our own code, with dnspython as the oracle."""

import contextlib
from typing import List, Optional, Tuple

import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from nameserver import add_records
from rcc.core import dns_reply
from rcc.core.dns_message import AAAA, CNAME, MX, NOERROR, NS, NXDOMAIN, SERVFAIL, SOA, SRV, TXT, A, Reply
from rcc.core.dns_reply import BadReply, CaseLost, Cut, encode_name, parse_reply, render_query

QUERY = render_query(4660, encode_name("a.example"), A)


def reply_to(query: bytes, *records: str, rcode: int = 0, authority: Tuple[str, ...] = ()) -> bytes:
    response = dns.message.make_response(dns.message.from_wire(query))
    response.set_rcode(rcode)  # type: ignore[arg-type]
    add_records(response, list(authority))
    response.authority, response.answer = response.answer, []
    add_records(response, list(records))
    return response.to_wire()


def read(query: bytes, wire: bytes) -> Optional[Reply]:
    """Whatever comes, only these are raised."""
    with contextlib.suppress(BadReply, CaseLost, Cut):
        return parse_reply(query, wire)
    return None


@pytest.mark.parametrize("name", ["a.example", "x" * 63 + ".example", ".".join(["a"] * 127), "_s._tcp.a-b.example"])
@pytest.mark.parametrize("cases", [0, 0b1010, 2**256 - 1])
def test_a_query_is_what_dnspython_reads(name: str, cases: int) -> None:
    message = dns.message.from_wire(render_query(7, encode_name(name), AAAA, cases))
    assert (message.id, message.flags, message.edns) == (7, 0x0100, -1)
    assert message.question[0].name == dns.name.from_text(name) and message.question[0].rdtype == AAAA
    if cases == 2**256 - 1:
        assert message.question[0].name.to_text(omit_final_dot=True) == name.upper()


@pytest.mark.parametrize("name", ["", ".", "a..b", "a.", "x" * 64, ".".join(["a" * 49] * 6), "\u00e9.example"])
def test_what_is_no_name_is_not_asked(name: str) -> None:
    with pytest.raises(ValueError):
        encode_name(name)


def test_addresses_at_the_end_of_aliases_and_no_others() -> None:
    wire = reply_to(
        QUERY,
        "stray.example. 60 A 203.0.113.66",
        "a.example. 60 CNAME b.example.",
        "B.example. 30 CNAME c.example.",
        "c.example. 90 A 203.0.113.1",
        "c.example. 90 A 203.0.113.2",
        "c.example. 90 AAAA 2001:db8::1",
        authority=("example. 60 NS ns.example.",),
    )
    found = parse_reply(QUERY, wire)
    assert found is not None
    assert [record.data for record in found.records] == [bytes((203, 0, 113, 1)), bytes((203, 0, 113, 2))]
    assert found.rcode == NOERROR and found.ttl == 30


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (MX, "10 mail.a.example."),
        (TXT, '"v=spf1 -all" "more"'),
        (SRV, "1 2 443 a.example."),
        (NS, "ns.a.example."),
        (CNAME, "b.example."),
        (SOA, "ns.a.example. admin.a.example. 1 2 3 4 5"),
        (257, '0 issue "ca.example"'),
    ],
)
def test_other_types_come_without_compression(kind: int, data: str) -> None:
    query = render_query(1, encode_name("a.example"), kind)
    found = parse_reply(query, reply_to(query, f"a.example. 60 {dns.rdatatype.to_text(kind)} {data}"))
    assert found is not None
    (record,) = found.records
    assert (record.type, record.ttl) == (kind, 60)
    oracle = dns.message.from_wire(reply_to(query, f"a.example. 60 {dns.rdatatype.to_text(kind)} {data}"))
    assert record.data == oracle.answer[0][0].to_wire()


def test_how_long_it_holds_that_there_is_nothing() -> None:
    soa = "example. 40 SOA ns.example. admin.example. 1 2 3 4 20"
    assert parse_reply(QUERY, reply_to(QUERY, authority=(soa,))) == Reply(NOERROR, (), 20)
    assert parse_reply(QUERY, reply_to(QUERY, rcode=NXDOMAIN, authority=(soa,))) == Reply(NXDOMAIN, (), 20)
    assert parse_reply(QUERY, reply_to(QUERY, rcode=NXDOMAIN)) == Reply(NXDOMAIN, (), dns_reply.NO_TTL)
    large = "example. 400000 SOA ns.example. admin.example. 1 2 3 4 900000"
    assert parse_reply(QUERY, reply_to(QUERY, authority=(large,))) == Reply(NOERROR, (), dns_reply.TTL_LIMIT)


@pytest.mark.parametrize("rcode", [1, 2, 4, 5, 9])
def test_failures(rcode: int) -> None:
    assert parse_reply(QUERY, reply_to(QUERY, "a.example. 60 A 203.0.113.1", rcode=rcode)) == Reply(rcode)
    bare = QUERY[:2] + bytes((0x81, 0x80 | rcode)) + b"\0" * 8
    assert parse_reply(QUERY, bare) == (Reply(rcode) if rcode in (1, 2, 4, 5) else None)


def test_what_is_no_reply_to_the_question() -> None:
    good = reply_to(QUERY, "a.example. 60 A 203.0.113.1")
    other = render_query(4660, encode_name("b.example"), A)
    other_type = render_query(4660, encode_name("a.example"), AAAA)
    for wire in (
        b"",
        good[:11],
        b"\0\0" + good[2:],
        QUERY,
        reply_to(other, "b.example. 60 A 203.0.113.1"),
        reply_to(other_type, "a.example. 60 AAAA 2001:db8::1"),
        good[:2] + b"\x95" + good[3:],  # another opcode
        good[:-1],
        good[: len(QUERY)],
        good[:4] + b"\0\0" + good[6:],
    ):
        assert parse_reply(QUERY, wire) is None
    with pytest.raises(Cut):
        parse_reply(QUERY, good[:2] + b"\x83" + good[3:20])


def test_the_case_of_the_question_is_looked_at() -> None:
    query = render_query(1, encode_name("a.example"), A, 0b110)
    good = reply_to(query, "a.example. 60 A 203.0.113.1")
    found = parse_reply(query, good)
    assert found is not None and found.records
    with pytest.raises(CaseLost):
        parse_reply(query, good[:12] + good[12:].lower())


@pytest.mark.parametrize(
    "records",
    [
        ["a.example. 60 CNAME a.example."],
        ["a.example. 60 CNAME b.example.", "b.example. 60 CNAME a.example."],
        [f"{'a' if n == 0 else f'n{n}'}.example. 60 CNAME n{n + 1}.example." for n in range(30)],
    ],
)
def test_loops_and_long_ways_are_errors(records: List[str]) -> None:
    with pytest.raises(BadReply):
        parse_reply(QUERY, reply_to(QUERY, *records))


def test_an_answer_for_a_name_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(BadReply):
        parse_reply(QUERY, reply_to(QUERY, "a.example. 60 A 203.0.113.1", rcode=NXDOMAIN))


def test_giants_are_cut() -> None:
    addresses = [f"a.example. 60 A 203.0.{n // 250}.{n % 250}" for n in range(2000)]
    found = parse_reply(QUERY, reply_to(QUERY, *addresses))
    assert found is not None and len(found.records) == dns_reply.RECORDS_LIMIT
    query = render_query(1, encode_name("a.example"), TXT)
    text = " ".join(f'"{"x" * 255}"' for _ in range(20))
    found = parse_reply(query, reply_to(query, *(f'a.example. 60 TXT "{n}" {text}' for n in range(10))))
    assert found is not None and 0 < sum(len(r.data) for r in found.records) <= dns_reply.BYTES_LIMIT


@pytest.mark.parametrize("pointer", [b"\xc0\x1b", b"\xff\xff", b"\xc0", b"\x80a", b"\x40a", b"\x3f"])
def test_names_that_lead_nowhere(pointer: bytes) -> None:
    """0x1b is where the first record begins: it refers to itself."""
    head = QUERY[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + QUERY[12:]
    assert parse_reply(QUERY, head + pointer + b"\0\1\0\1\0\0\0\x3c\0\4\1\2\3\4") is None


def test_long_ways_through_pointers_end() -> None:
    chain = b"".join((0xC000 | at).to_bytes(2, "big") for at in (12, *range(27 + 10, 27 + 10 + 2 * 5000, 2)))
    rdata = chain
    record = b"\0\0\x10\0\1\0\0\0\x3c" + len(rdata).to_bytes(2, "big") + rdata
    last = (0xC000 | min(27 + 10 + len(chain) - 2, 0x3FFF)).to_bytes(2, "big") + b"\0\1\0\1\0\0\0\x3c\0\4\1\2\3\4"
    wire = QUERY[:2] + b"\x81\x80\0\1\0\2\0\0\0\0" + QUERY[12:] + record + last
    assert read(QUERY, wire) is None


def _agrees(query: bytes, wire: bytes) -> None:
    """Where both read it, they read the same addresses."""
    found = read(query, wire)
    try:
        message = dns.message.from_wire(wire)
        chain = message.resolve_chaining()  # type: ignore[attr-defined]
    except (dns.exception.DNSException, ValueError, AttributeError):
        return
    assert found is not None
    oracle = [] if chain.answer is None else [record.to_wire() for record in chain.answer]
    assert sorted(record.data for record in found.records) == sorted(oracle)[: dns_reply.RECORDS_LIMIT]


NAMES = st.sampled_from(["a.example.", "A.example.", "b.example.", "c.example.", "example.", "x.a.example."])
RECORDS = st.one_of(
    st.builds("{} {} A 203.0.113.{}".format, NAMES, st.integers(0, 300), st.integers(0, 255)),
    st.builds("{} {} AAAA 2001:db8::{}".format, NAMES, st.integers(0, 300), st.integers(0, 9)),
    st.builds("{} {} CNAME {}".format, NAMES, st.integers(0, 300), NAMES),
    st.builds("{} 60 TXT x".format, NAMES),
)


@settings(max_examples=400)
@given(st.lists(RECORDS, max_size=8), st.sampled_from([0, 3]), st.sampled_from([A, AAAA, CNAME]))
def test_any_answer_is_read_as_dnspython_reads_it(records: List[str], rcode: int, kind: int) -> None:
    query = render_query(9, encode_name("a.example"), kind)
    # Two aliases for one name are against the rules: here the first one counts, with dnspython the last.
    owners = [record.split()[0].lower() for record in records if " CNAME " in record]
    assume(len(owners) == len(set(owners)))
    _agrees(query, reply_to(query, *records, rcode=rcode))


@settings(max_examples=1000)
@given(st.data())
def test_an_answer_with_bytes_changed(data: st.DataObject) -> None:
    wire = bytearray(
        reply_to(QUERY, "a.example. 60 CNAME b.example.", "b.example. 60 A 203.0.113.1", "b.example. 9 A 203.0.113.2")
    )
    for at in data.draw(st.lists(st.integers(12, len(wire) - 1), min_size=1, max_size=4)):
        wire[at] = data.draw(st.integers(0, 255))
    read(QUERY, bytes(wire))
    read(QUERY, bytes(wire[: data.draw(st.integers(0, len(wire)))]))


@settings(max_examples=1000)
@given(st.binary(max_size=200), st.integers(0, 3), st.integers(0, 400), st.integers(0, 400))
def test_any_bytes_after_the_question(tail: bytes, rcode: int, answers: int, authority: int) -> None:
    counts = answers.to_bytes(2, "big") + authority.to_bytes(2, "big") + b"\0\0"
    found = read(QUERY, QUERY[:2] + bytes((0x81, 0x80 | rcode)) + b"\0\1" + counts + QUERY[12:] + tail)
    assert found is None or found.rcode in (NOERROR, NXDOMAIN, SERVFAIL, 1)


@settings(max_examples=500)
@given(st.binary(max_size=300))
def test_any_bytes(wire: bytes) -> None:
    read(QUERY, wire)
