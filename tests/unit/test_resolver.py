"""The resolver against a real DNS server on loopback."""

import asyncio
import socket
import time
from pathlib import Path
from typing import Iterator, List, Sequence

import dns.message
import dns.rcode
import pytest
from nameserver import NameServer, add_records, truncated
from rcc.core.names import Answer, Answers, Server, Upstream, parse_listed, parse_upstream
from rcc.system import resolver
from rcc.system.resolver import Config, load_config, resolve_now

LONG = 20.0  # seconds; no test waits that long unless it fails


@pytest.fixture
def server() -> Iterator[NameServer]:
    with NameServer() as running:
        yield running


@pytest.fixture
def silent() -> Iterator[Server]:
    """A server that takes questions and never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        yield Server(*bound.getsockname())


@pytest.fixture
def closed() -> Server:
    """A server that is not there: the kernel says so at once."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        return Server(*bound.getsockname())


@pytest.fixture(autouse=True)
def short_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "ROUNDS", (0.3, 0.6, 1.2))


def at(*servers: Server, hosts: str = "", tcp: bool = False) -> Config:
    return Config(servers, tcp, hosts)


def here(server: NameServer) -> Server:
    return Server(server.address, server.port)


def ask(server: NameServer, *names: str, seconds: float = LONG) -> Answers:
    return resolve_now(names, seconds, at(here(server)))


def test_both_families_and_their_ttl(server: NameServer) -> None:
    server.add("a.example", "A", "203.0.113.1", "203.0.113.2", ttl=30)
    server.add("a.example", "AAAA", "2001:db8::1", ttl=90)
    (answer,) = ask(server, "a.example")
    assert sorted(answer.addresses) == [("2001:db8::1", 90), ("203.0.113.1", 30), ("203.0.113.2", 30)]
    assert answer.error == ""


def test_one_family_is_enough(server: NameServer) -> None:
    server.add("a.example", "A", "203.0.113.1")
    assert ask(server, "a.example") == (Answer("a.example", (("203.0.113.1", 60),)),)


def test_aliases_are_followed_from_the_question_and_bound_the_ttl(server: NameServer) -> None:
    server.zone["a.example", "A"] = [
        "b.example. 20 CNAME c.example.",
        "c.example. 300 A 203.0.113.3",
        "a.example. 100 CNAME b.example.",
    ]
    assert ask(server, "a.example")[0].addresses == (("203.0.113.3", 20),)


def test_addresses_off_the_chain_do_not_count(server: NameServer) -> None:
    stray = ["evil.example. 60 A 203.0.113.66", "x.a.example. 60 A 203.0.113.67"]
    server.zone["a.example", "A"] = [*stray, "a.example. 60 CNAME b.example.", "b.example. 60 A 203.0.113.3"]
    server.zone["nothing.example", "A"] = stray
    found, nothing = ask(server, "a.example", "nothing.example")
    assert found.addresses == (("203.0.113.3", 60),)
    assert nothing == Answer("nothing.example", (), "the name has no addresses")


def test_addresses_in_other_sections_do_not_count(server: NameServer) -> None:
    def beside(query: dns.message.Message, tcp: bool) -> dns.message.Message:
        reply = dns.message.make_response(query)
        add_records(reply, ["a.example. 60 A 203.0.113.66"])
        reply.additional, reply.answer = reply.answer, []
        return reply

    server.special["a.example"] = beside
    assert ask(server, "a.example")[0].addresses == ()


def test_a_loop_of_aliases_is_an_error(server: NameServer) -> None:
    server.zone["a.example", "A"] = ["a.example. 60 CNAME b.example.", "b.example. 60 CNAME a.example."]
    (answer,) = ask(server, "a.example")
    assert answer.addresses == () and "makes no sense" in answer.error


def test_an_unknown_name_is_told(server: NameServer) -> None:
    assert ask(server, "no.example") == (Answer("no.example", (), "no such name"),)


def test_a_cut_answer_is_asked_for_by_tcp(server: NameServer) -> None:
    addresses = [f"203.0.113.{last}" for last in range(50)]

    def large(query: dns.message.Message, tcp: bool) -> dns.message.Message:
        if not tcp:
            return truncated(query)
        reply = dns.message.make_response(query)
        if query.question[0].rdtype == dns.rdatatype.A:
            add_records(reply, [f"a.example. 60 A {address}" for address in addresses])
        return reply

    server.special["a.example"] = large
    assert sorted(ask(server, "a.example")[0].addresses) == sorted((address, 60) for address in addresses)
    assert ("a.example", "A", "tcp") in server.asked


def test_a_cut_answer_that_ends_in_mid_record_is_asked_for_by_tcp(server: NameServer) -> None:
    def cut(query: dns.message.Message, tcp: bool) -> "dns.message.Message | bytes":
        reply = dns.message.make_response(query)
        add_records(reply, ["a.example. 60 A 203.0.113.1"] if query.question[0].rdtype == dns.rdatatype.A else [])
        return reply if tcp else truncated(query).to_wire()[:-3]

    server.special["a.example"] = cut
    assert ask(server, "a.example")[0].addresses == (("203.0.113.1", 60),)


def test_with_use_vc_udp_is_never_used(server: NameServer) -> None:
    server.add("a.example", "A", "203.0.113.1")
    assert resolve_now(["a.example"], LONG, at(here(server), tcp=True))[0].addresses
    assert {how for _, _, how in server.asked} == {"tcp"}


def test_more_addresses_than_any_honest_name_has_are_cut(server: NameServer) -> None:
    server.add("a.example", "A", *(f"203.0.113.{last}" for last in range(200)))
    assert len(resolve_now(["a.example"], LONG, at(here(server), tcp=True))[0].addresses) == resolver.ADDRESSES_LIMIT


@pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED", "NOTIMP", "FORMERR"])
def test_the_next_server_is_asked_when_one_refuses(server: NameServer, rcode: str) -> None:
    def refuse(query: dns.message.Message, tcp: bool) -> dns.message.Message:
        reply = dns.message.make_response(query)
        reply.set_rcode(dns.rcode.from_text(rcode))
        return reply

    with NameServer("127.0.0.2") as first:
        first.special["a.example"] = refuse
        server.add("a.example", "A", "203.0.113.1")
        assert resolve_now(["a.example"], LONG, at(here(first), here(server)))[0].addresses == (("203.0.113.1", 60),)
        assert first.asked
        (answer,) = resolve_now(["a.example"], LONG, at(here(first)))
        assert answer == Answer("a.example", (), f"127.0.0.2 answers {rcode}")


def test_the_next_server_is_asked_when_one_is_not_there(server: NameServer, silent: Server, closed: Server) -> None:
    server.add("a.example", "A", "203.0.113.1")
    for dead in (silent, closed):
        assert resolve_now(["a.example"], LONG, at(dead, here(server)))[0].addresses == (("203.0.113.1", 60),)


def test_servers_that_are_gone_are_an_error_at_once(closed: Server) -> None:
    assert resolve_now(["a.example"], LONG, at(closed)) == (Answer("a.example", (), "127.0.0.1: Connection refused"),)


def test_a_silent_name_does_not_hold_up_the_others(server: NameServer) -> None:
    names = [f"n{number}.example" for number in range(150)]
    dead = [f"dead{number}.example" for number in range(100)]
    for name in names:
        server.add(name, "A", "203.0.113.1")
    for name in dead:
        server.special[name] = lambda query, tcp: None
    answers = {answer.name: answer for answer in ask(server, *dead, *names, seconds=5.0)}
    assert [name for name in names if not answers[name].addresses] == []
    assert {bool(answers[name].error) for name in dead} == {True}


def test_the_deadline_holds(silent: Server) -> None:
    before = time.monotonic()
    answers = resolve_now(["a.example", "b.example"], 0.2, at(silent))
    assert answers == (Answer("a.example", (), "no answer in time"), Answer("b.example", (), "no answer in time"))
    assert time.monotonic() - before < LONG


def test_a_family_without_an_answer_leaves_the_other(server: NameServer) -> None:
    def four_only(query: dns.message.Message, tcp: bool) -> "dns.message.Message | None":
        if query.question[0].rdtype != dns.rdatatype.A:
            return None
        reply = dns.message.make_response(query)
        add_records(reply, ["a.example. 60 A 203.0.113.1"])
        return reply

    server.special["a.example"] = four_only
    assert ask(server, "a.example", seconds=1.0) == (Answer("a.example", (("203.0.113.1", 60),), "no answer in time"),)


def test_a_doubled_name_is_asked_once(server: NameServer) -> None:
    server.add("a.example", "A", "203.0.113.1")
    assert len(ask(server, "a.example", "a.example")) == 1
    assert sorted(server.asked) == [("a.example", "A", "udp"), ("a.example", "AAAA", "udp")]


def _other_id(query: dns.message.Message) -> List[bytes]:
    reply = dns.message.make_response(query)
    reply.id ^= 1
    return [reply.to_wire()]


def _other_question(query: dns.message.Message) -> List[bytes]:
    other = dns.message.make_query("evil.example", "A")
    other.id = query.id
    return [dns.message.make_response(other).to_wire()]


def _the_query_itself(query: dns.message.Message) -> List[bytes]:
    return [query.to_wire()]


def _junk(query: dns.message.Message) -> List[bytes]:
    head = query.id.to_bytes(2, "big") + b"\x81\x80"
    return [b"", b"\0", head, head + b"\xff" * 8, head + b"\0\1\0\1\0\0\0\0" + b"\xc0\x0c" * 40, b"\xff" * 600]


@pytest.mark.parametrize("strays", [_other_id, _other_question, _the_query_itself, _junk])
def test_what_is_no_answer_is_passed_over(strays: "object") -> None:
    assert callable(strays)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))

        async def serve() -> Answers:
            loop, config = asyncio.get_running_loop(), at(Server(*bound.getsockname()))
            asking = asyncio.ensure_future(
                resolver.resolve(["a.example"], config=config, deadline=time.monotonic() + LONG)
            )
            for _ in range(2):
                wire, peer = await loop.run_in_executor(None, bound.recvfrom, 65535)
                query = dns.message.from_wire(wire)
                reply = dns.message.make_response(query)
                if query.question[0].rdtype == dns.rdatatype.A:
                    add_records(reply, ["a.example. 60 A 203.0.113.1"])
                for datagram in (*strays(query), reply.to_wire()):
                    bound.sendto(datagram, peer)
            return await asking

        assert asyncio.run(serve()) == (Answer("a.example", (("203.0.113.1", 60),)),)


def test_a_stranger_cannot_answer(server: NameServer) -> None:
    """Datagrams from another port than the server's never arrive: the socket is connected."""
    ports: List[int] = []

    def forged(query: dns.message.Message, tcp: bool) -> dns.message.Message:
        reply = dns.message.make_response(query)
        add_records(reply, ["a.example. 60 A 203.0.113.66"])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind(("127.0.0.1", 0))
            with open("/proc/net/udp", encoding="ascii") as table:
                for line in list(table)[1:]:
                    _, local, remote = line.split()[:3]
                    if int(remote.partition(":")[2], 16) == server.port:
                        ports.append(int(local.partition(":")[2], 16))
                        stranger.sendto(reply.to_wire(), ("127.0.0.1", ports[-1]))
        true = dns.message.make_response(query)
        add_records(true, ["a.example. 60 A 203.0.113.1"] if query.question[0].rdtype == dns.rdatatype.A else [])
        return true

    server.special["a.example"] = forged
    assert ask(server, "a.example")[0].addresses == (("203.0.113.1", 60),)
    assert ports, "the forger found no port to send to, so nothing was shown"


def test_the_hosts_file_comes_first(server: NameServer, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("# comment a.example\n198.51.100.7 other A.Example # a\n2001:db8::7 a.example\nbad a.example\n")
    server.add("a.example", "A", "203.0.113.1")
    server.add("b.example", "A", "203.0.113.2")
    answers = resolve_now(["a.example", "b.example"], LONG, at(here(server), hosts=str(hosts)))
    assert answers[0].addresses == (("198.51.100.7", 300), ("2001:db8::7", 300))
    assert answers[1].addresses == (("203.0.113.2", 60),)
    assert not [name for name, _, _ in server.asked if name == "a.example"]
    missing = resolve_now(["a.example"], LONG, at(here(server), hosts=str(tmp_path / "none")))
    assert missing[0].addresses == (("203.0.113.1", 60),)


def test_a_name_that_cannot_be_asked_for_is_an_error(server: NameServer) -> None:
    first, second, good = ask(server, "x" * 64 + ".example", "a..example", "no.example")
    assert "not a name" in first.error and "not a name" in second.error and good.error == "no such name"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [("127.0.0.1", 53)]),
        ("search x\nnameserver 192.0.2.1\nnameserver 192.0.2.1\n", [("192.0.2.1", 53)]),
        ("nameserver bad\nnameserver 2001:db8::1 # x\n", [("2001:db8::1", 53)]),
        ("nameserver fe80::1%eth0", [("fe80::1%eth0", 53)]),
        ("nameserver [192.0.2.1]:5353\nnameserver [2001:db8::1]:70000\nnameserver [::1", [("192.0.2.1", 5353)]),
        ("#nameserver 192.0.2.9\n;nameserver 192.0.2.9\n nameserver 192.0.2.1", [("192.0.2.1", 53)]),
        ("\n".join(f"nameserver 192.0.2.{last}" for last in range(9)), [(f"192.0.2.{last}", 53) for last in range(3)]),
    ],
)
def test_resolv_conf(text: str, expected: "Sequence[tuple[str, int]]") -> None:
    assert parse_upstream(text) == Upstream(tuple(Server(*pair) for pair in expected))


def test_resolv_conf_use_vc() -> None:
    assert parse_upstream("options ndots:1 use-vc\n").tcp


def test_hosts_lines_without_a_usable_address_count_for_nothing() -> None:
    assert parse_listed(["fe80::1%eth0 a.example", "x a.example", "", "192.0.2.1"], ["a.example"]) == {}


def test_without_a_resolv_conf_there_is_the_local_server(tmp_path: Path) -> None:
    assert load_config(str(tmp_path / "none"), "") == at(Server("127.0.0.1", 53))
