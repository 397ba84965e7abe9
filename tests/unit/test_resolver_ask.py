"""Single questions of any type, as the gateway asks them, against a real DNS server on loopback."""

import asyncio
import os
import socket
import time
from pathlib import Path
from typing import Iterator, List

import dns.message
import pytest
from nameserver import NameServer, add_records, truncated
from rcc.core.dns_message import AAAA, CNAME, MX, NOERROR, NXDOMAIN, SERVFAIL, TXT, A, Record, Reply
from rcc.core.names import Server
from rcc.system import resolver
from rcc.system.resolver import Asker, Config, ask


@pytest.fixture
def server() -> Iterator[NameServer]:
    with NameServer() as running:
        yield running


@pytest.fixture(autouse=True)
def short_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "ROUNDS", (0.3, 0.3))


class Host:
    """The files of a host."""

    def __init__(self, folder: Path, *servers: NameServer) -> None:
        self.resolv_conf = folder / "resolv.conf"
        self.hosts = folder / "hosts"
        self.hosts.write_text("")
        self.use(*servers)

    def use(self, *servers: NameServer) -> None:
        self.resolv_conf.write_text("".join(server.resolv_conf for server in servers))

    def ask(self, *questions: "tuple[str, int]", seconds: float = 10.0) -> List[Reply]:
        async def run() -> List[Reply]:
            asker = Asker(str(self.resolv_conf), str(self.hosts))
            return [await asker.ask(name, kind, seconds) for name, kind in questions]

        return asyncio.run(run())


@pytest.fixture
def host(tmp_path: Path, server: NameServer) -> Host:
    return Host(tmp_path, server)


def test_types(host: Host, server: NameServer) -> None:
    server.add("a.example", "A", "203.0.113.1", ttl=30)
    server.add("a.example", "AAAA", "2001:db8::1")
    server.add("a.example", "TXT", '"hello"')
    server.add("a.example", "MX", "10 mail.a.example.")
    kinds = (A, AAAA, TXT, MX, CNAME)
    four, six, text, mail, none, unknown = host.ask(*(("a.example", kind) for kind in kinds), ("b.example", A))
    assert four == Reply(NOERROR, (Record(A, 30, bytes((203, 0, 113, 1))),), 30)
    assert six.records[0].data == socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    assert text.records[0].data == b"\5hello" and mail.records[0].data == b"\0\x0a\4mail\1a\7example\0"
    assert none.rcode == NOERROR and none.records == () and unknown.rcode == NXDOMAIN


def test_every_letter_is_spelled_at_random(host: Host, server: NameServer) -> None:
    seen: List[str] = []

    def look(query: dns.message.Message, tcp: bool) -> dns.message.Message:
        seen.append(query.question[0].name.to_text())
        return dns.message.make_response(query)

    server.special["abcdefghijklmnop.example"] = look
    host.ask(*[("abcdefghijklmnop.example", A)] * 8)
    assert len(set(seen)) > 4 and {name.lower() for name in seen} == {"abcdefghijklmnop.example."}


def test_a_server_that_does_not_keep_the_case_is_asked_in_lower_case(host: Host, server: NameServer) -> None:
    seen: List[str] = []

    def lower(query: dns.message.Message, tcp: bool) -> bytes:
        seen.append(query.question[0].name.to_text())
        plain = dns.message.make_query(seen[-1].lower(), query.question[0].rdtype, id=query.id)
        response = dns.message.make_response(plain)
        add_records(response, ["abcdefghijklmnop.example. 60 A 203.0.113.1"])
        return response.to_wire()

    server.special["abcdefghijklmnop.example"] = lower
    for reply in host.ask(*[("abcdefghijklmnop.example", A)] * 3):
        assert len(reply.records) == 1
    assert len(seen) == 4 and seen[1:] == ["abcdefghijklmnop.example."] * 3


def test_a_cut_answer_is_asked_for_by_tcp(host: Host, server: NameServer) -> None:
    def large(query: dns.message.Message, tcp: bool) -> dns.message.Message:
        if not tcp:
            return truncated(query)
        response = dns.message.make_response(query)
        add_records(response, [f"a.example. 60 A 203.0.113.{last}" for last in range(50)])
        return response

    server.special["a.example"] = large
    assert len(host.ask(("a.example", A))[0].records) == 50
    assert ("a.example", "A", "tcp") in server.asked


@pytest.mark.parametrize("kind", ["junk", "giant", "other", "silent", "cut", "loop", "empty"])
def test_whatever_comes_it_does_not_raise(host: Host, server: NameServer, kind: str) -> None:
    def hostile(query: dns.message.Message, tcp: bool) -> "dns.message.Message | bytes | None":
        if kind == "junk":
            return query.id.to_bytes(2, "big") + b"\x81\x80\0\1" + os.urandom(100)
        if kind == "giant":
            return query.id.to_bytes(2, "big") + b"\x81\x80\xff\xff\xff\xff\xff\xff\xff\xff" + b"\xc0\x0c" * 20000
        if kind == "other":
            return dns.message.make_response(dns.message.make_query("b.example", "A")).to_wire()
        if kind == "cut":
            return truncated(query)
        response = dns.message.make_response(query)
        if kind == "loop":
            add_records(response, ["a.example. 60 CNAME b.example.", "b.example. 60 CNAME a.example."])
            return response
        return b"" if kind == "empty" else None

    server.special["a.example"] = hostile
    server.add("b.example", "A", "203.0.113.1")
    bad, good = host.ask(("a.example", A), ("b.example", A), seconds=3.0)
    assert bad.rcode == SERVFAIL and bad.error and not bad.records
    assert good.records


def test_the_hosts_file_comes_first_and_is_read_again(host: Host, server: NameServer) -> None:
    server.add("a.example", "A", "203.0.113.1")
    server.add("a.example", "TXT", '"x"')

    async def run() -> List[Reply]:
        asker = Asker(str(host.resolv_conf), str(host.hosts))
        replies = [await asker.ask("a.example", A)]
        host.hosts.write_text("198.51.100.7 other A.Example # x\n")
        replies += [await asker.ask("a.example", kind) for kind in (A, AAAA, TXT)]
        host.hosts.unlink()
        return [*replies, await asker.ask("a.example", A)]

    before, listed, six, text, after = asyncio.run(run())
    assert before == after and before.records[0].data == bytes((203, 0, 113, 1))
    assert [record.data for record in listed.records] == [bytes((198, 51, 100, 7))]
    assert six == Reply(NOERROR, (), resolver.HOSTS_SECONDS), "no other family of a name that is listed"
    assert text.records, "only addresses are listed"


def test_another_network_has_other_servers(host: Host, server: NameServer) -> None:
    with NameServer("127.0.0.2") as other:
        server.add("a.example", "A", "203.0.113.1")
        other.add("a.example", "A", "203.0.113.2")

        async def run() -> List[Reply]:
            asker = Asker(str(host.resolv_conf), "")
            first = await asker.ask("a.example", A)
            host.use(other)
            return [first, await asker.ask("a.example", A)]

        assert [reply.records[0].data[-1] for reply in asyncio.run(run())] == [1, 2]


def test_a_silent_server_is_asked_last_from_then_on(tmp_path: Path, server: NameServer) -> None:
    with NameServer("127.0.0.2") as silent:
        for number in range(5):
            silent.special[f"n{number}.example"] = lambda query, tcp: None
            server.add(f"n{number}.example", "A", "203.0.113.1")
        replies = Host(tmp_path, silent, server).ask(*((f"n{number}.example", A) for number in range(5)))
        assert all(reply.records for reply in replies) and len(silent.asked) == 1


def test_the_deadline_holds(host: Host, server: NameServer) -> None:
    server.special["a.example"] = lambda query, tcp: None
    began = time.monotonic()
    assert host.ask(("a.example", A), seconds=0.1)[0] == Reply(SERVFAIL, error="no answer in time")
    assert time.monotonic() - began < 5


def test_what_is_no_name_is_not_asked(host: Host, server: NameServer) -> None:
    for reply in host.ask(("x" * 64 + ".example", A), ("a..example", A), ("", A)):
        assert reply.rcode == SERVFAIL and "not a name" in reply.error
    assert server.asked == []


def test_a_question_by_a_given_configuration(server: NameServer) -> None:
    server.add("a.example", "A", "203.0.113.1")
    config = Config((Server(server.address, server.port),), hosts="")
    assert asyncio.run(ask("a.example", A, config, time.monotonic() + 5)).records
