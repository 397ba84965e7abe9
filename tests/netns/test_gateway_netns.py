"""The gateway with the kernel: what it answers is open, what it refuses is not, and nothing else gets out."""

import asyncio
import contextlib
import socket
import threading
import time
from ipaddress import ip_address
from typing import Any, Callable, Dict, Iterator, List, Tuple

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest
from pair import Pair, entered, family_of
from rcc.app.gateway import Gateway
from rcc.app.observe import activity_of
from rcc.core.compile import Facts, compile_ruleset
from rcc.core.dns_message import AAAA, NXDOMAIN, SERVFAIL, A, Record, Reply
from rcc.core.policy import HostRule, InternetRule, Policy, Ports, Where
from rcc.core.render_nft import render_nft
from rcc.system.netns import inode_of
from rcc.system.nft import Nft
from rcc.system.nft_notes import read_notes
from rcc.system.state import Member
from rcc.system.state import Record as Namespace
from test_ruleset_in_kernel import TOKEN, probe, reached

pytestmark = pytest.mark.netns

PORTS = (Ports("tcp", 443, 443), Ports("udp", 7000, 7010))
RULES = (
    HostRule("a.example", False, PORTS, False, Where()),
    HostRule("cdn.example", True, PORTS, False, Where()),
    HostRule("db.example", False, PORTS, True, Where()),
)
POLICY = Policy("test", egress=RULES)


class Log:
    def __init__(self) -> None:
        self.lines: List[Tuple[str, Dict[str, Any]]] = []

    def info(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))

    warning = error = info


class World:
    """A gateway in a thread of its own, whose upstream is a table."""

    def __init__(self, lab: Pair) -> None:
        self.lab = lab
        self.zone: Dict[Tuple[str, int], Reply] = {}
        self.asked: List[Tuple[str, int]] = []
        self.log = Log()
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        self.gateway: Gateway = self.call(self._make())
        self.record = self._record(POLICY, 1)

    async def _make(self) -> Gateway:
        return Gateway(self._ask, self.log)

    async def _ask(self, name: str, qtype: int) -> Reply:
        self.asked.append((name, qtype))
        return self.zone.get((name, qtype), Reply(NXDOMAIN if (name, A) not in self.zone else 0))

    def call(self, job: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(job, self.loop).result(20)

    def do(self, job: Callable[[], Any]) -> Any:
        async def run() -> Any:
            return job()

        return self.call(run())

    def _record(self, policy: Policy, generation: int) -> Namespace:
        netns = inode_of(self.lab.box)
        path = f"/proc/self/fd/{self.lab.box}"
        ident = f"{netns}.{generation}"
        member = (Member("c" * 64, "box", "run"),)
        shared: Any = {"source": "", "notes": (), "published": (), "resolv_conf": "", "hosts": "", "dns_servers": ()}
        return Namespace(
            netns=netns, path=path, members=member, policy=policy, generation=generation, ident=ident, bare=False,
            since=time.time(), **shared,
        )  # fmt: skip

    def load(self, policy: Policy, generation: int) -> None:
        self.record = self._record(policy, generation)
        with entered(self.lab.box):
            ruleset = compile_ruleset(policy, Facts(host_addresses=(ip_address("203.0.113.77"),)), generation)
            Nft().load(render_nft(ruleset, self.record.ident))

    def adopt(self, policy: Policy = POLICY, generation: int = 1) -> None:
        self.load(policy, generation)
        self.call(self.gateway.adopt(self.record))

    def answers(self, name: str, *addresses: str, ttl: int = 60) -> None:
        found = [ip_address(address) for address in addresses]
        for qtype, version in ((A, 4), (AAAA, 6)):
            records = tuple(Record(qtype, ttl, a.packed) for a in found if a.version == version)
            self.zone[(name, qtype)] = Reply(0, records, ttl)

    def ask(self, name: str, kind: str = "A", server: str = "198.51.100.53", **options: Any) -> Any:
        query = dns.message.make_query(name, kind, **options)
        made = self.lab.open_socket(self.lab.box, family_of(server), socket.SOCK_DGRAM)
        made.sendto(query.to_wire(), (server, 53))
        wire, source = made.recvfrom(4096)
        assert source[0] == server
        reply = dns.message.from_wire(wire)
        assert query.is_response(reply)
        return reply

    def close(self) -> None:
        self.do(self.gateway.close)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()


@pytest.fixture
def world(lab: Pair) -> Iterator[World]:
    made = World(lab)
    yield made
    made.close()


def addresses(reply: Any) -> List[str]:
    return [str(record.address) for rrset in reply.answer for record in rrset]


@pytest.mark.parametrize("address", ["198.51.100.7", "2001:db8::7"])
def test_what_it_answers_is_open_for_its_ports(lab: Pair, world: World, address: str) -> None:
    world.adopt()
    world.answers("a.example", address)
    assert not probe(lab, address, "tcp", 443)
    assert addresses(world.ask("a.example", "AAAA" if ":" in address else "A")) == [address]
    for port in (7000, 7005, 7010):
        assert probe(lab, address, "udp", port)
    assert probe(lab, address, "tcp", 443)
    assert not probe(lab, address, "tcp", 80) and not probe(lab, address, "udp", 443)


def test_nothing_is_asked_that_is_not_allowed(lab: Pair, world: World) -> None:
    world.adopt()
    for name in (
        "secret.example",
        "x.a.example",
        "cdn.example",
        "evilcdn.example",
        "a.example.evil.example",
        "7.2.0.192.in-addr.arpa",
    ):
        for kind in ("A", "AAAA", "TXT", "ANY", "HTTPS", "NULL", "PTR", "NS"):
            reply = world.ask(name, kind, use_edns=0)
            assert not reply.answer and reply.rcode() in (dns.rcode.NXDOMAIN, dns.rcode.NOERROR)
    for kind in ("HTTPS", "SVCB", "ANY", "NULL", "DNSKEY"):
        assert world.ask("a.example", kind).rcode() == dns.rcode.NOERROR
    assert world.ask("x.cdn.example", "TXT").rcode() == dns.rcode.NOERROR
    assert world.asked == []
    assert not [frame for frame in lab.arrived() if frame.destination_port in (53, 54)]


def test_the_reason_is_told(world: World) -> None:
    world.adopt()
    reply = world.ask("secret.example", use_edns=0)
    assert reply.rcode() == dns.rcode.NXDOMAIN
    assert "rcc" in str(reply.options[0])


@pytest.mark.parametrize("spelling", ["A.eXample", "a.example.", "A.EXAMPLE"])
def test_spellings_of_an_allowed_name(world: World, spelling: str) -> None:
    world.adopt()
    world.answers("a.example", "198.51.100.7")
    reply = world.ask(spelling)
    assert addresses(reply) == ["198.51.100.7"]
    assert reply.question[0].name.to_text() == spelling.rstrip(".") + ".", "as it was asked for"
    assert world.asked == [("a.example", A)]


CLOSED = ("10.1.2.3", "127.0.0.1", "169.254.169.254", "203.0.113.77", "100.64.0.1", "fe80::1", "::ffff:198.51.100.7",
          "64:ff9b::a00:1", "2002:a00:1::1", "fd12::1", "::1", "0.0.0.0")  # fmt: skip


@pytest.mark.parametrize("address", CLOSED)
def test_addresses_that_a_name_does_not_open(lab: Pair, world: World, address: str, monkeypatch: Any) -> None:
    monkeypatch.setattr("rcc.app.gateway.own_addresses", lambda: (ip_address("203.0.113.77"),))
    world.adopt()
    kind = "AAAA" if ":" in address else "A"
    for name in ("a.example", "x.cdn.example"):
        world.answers(name, address, "198.51.100.9", "2001:db8::9")
        assert address not in addresses(world.ask(name, kind, use_edns=0))
        assert not probe(lab, address, "tcp", 443)
    world.answers("a.example", address)
    world.do(world.gateway.cache.clear)
    reply = world.ask("a.example", kind, use_edns=0)
    assert reply.rcode() == dns.rcode.NOERROR and not reply.answer and "rcc" in str(reply.options[0])


def test_a_private_name_opens_private_addresses(lab: Pair, world: World) -> None:
    world.adopt()
    world.answers("db.example", "10.1.2.3", "169.254.169.254")
    assert addresses(world.ask("db.example")) == ["10.1.2.3"]
    assert probe(lab, "10.1.2.3", "tcp", 443) and not probe(lab, "169.254.169.254", "tcp", 443)


@pytest.mark.parametrize("ttl", [0, 1, 300, 2**31 - 1])
def test_any_time_to_live(lab: Pair, world: World, ttl: int) -> None:
    world.adopt()
    world.answers("a.example", "198.51.100.7", ttl=ttl)
    assert addresses(world.ask("a.example")) == ["198.51.100.7"]
    assert probe(lab, "198.51.100.7", "tcp", 443)


def test_the_internet_profile(lab: Pair, world: World) -> None:
    world.adopt(Policy("internet", egress=(InternetRule((), Where()),)))
    world.answers("any.example", "198.51.100.7", "10.0.0.1")
    assert addresses(world.ask("any.example")) == ["198.51.100.7"]
    assert probe(lab, "198.51.100.7", "tcp", 443) and not probe(lab, "10.0.0.1", "tcp", 443)


def test_ten_thousand_lookups_each_followed_by_a_connection(lab: Pair, world: World) -> None:
    """The address is in the set before the answer leaves: no first packet is refused."""
    # A single port: each element more makes nf_tables copy a whole interval set, at thousands that takes minutes.
    world.adopt(Policy("test", egress=(HostRule("a.example", False, (Ports("udp", 7000, 7000),), False, Where()),)))
    counters = []
    with entered(lab.box):
        counters.append(read_notes().total("denied"))
    asker = lab.open_socket(lab.box, socket.AF_INET, socket.SOCK_DGRAM)
    asker.connect(("198.51.100.53", 53))
    query = dns.message.make_query("a.example", "A").to_wire()
    with entered(lab.box):
        for number in range(10_000):
            address = f"198.{51 + number // 60000}.{number // 250 % 250}.{number % 250 + 1}"
            world.zone[("a.example", A)] = Reply(0, (Record(A, 0, ip_address(address).packed),), 0)
            asker.send(query)
            wire = asker.recv(512)
            assert wire[-4:] == ip_address(address).packed
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
                made.connect((address, 7000))
                made.send(TOKEN)  # EPERM where a rule refuses it
            if number % 500 == 0:
                list(lab.arrived())  # or the recorder's buffer runs over
    with entered(lab.box):
        counters.append(read_notes().total("denied"))
    assert counters[0] == counters[1]


def test_several_messages_in_one_stream(lab: Pair, world: World) -> None:
    world.adopt()
    world.answers("a.example", "198.51.100.7")
    made = lab.open_socket(lab.box, socket.AF_INET, socket.SOCK_STREAM)
    made.connect(("198.51.100.53", 53))
    queries = [dns.message.make_query(name, "A") for name in ("a.example", "secret.example", "a.example", "b.example")]
    data = b"".join(len(q.to_wire()).to_bytes(2, "big") + q.to_wire() for q in queries)
    made.sendall(data[:30])
    made.sendall(data[30:])
    stream = made.makefile("rb")
    for query, rcode in zip(queries, (0, 3, 0, 3)):
        reply = dns.message.from_wire(stream.read(int.from_bytes(stream.read(2), "big")))
        assert query.is_response(reply) and reply.rcode() == rcode
    assert probe(lab, "198.51.100.7", "tcp", 443)


def test_bytes_that_are_no_question(lab: Pair, world: World) -> None:
    world.adopt()
    world.answers("a.example", "198.51.100.7")
    made = lab.open_socket(lab.box, socket.AF_INET, socket.SOCK_DGRAM)
    made.connect(("198.51.100.53", 53))
    good = dns.message.make_query("a.example", "A").to_wire()
    for data in (b"", b"x", b"\0" * 12, b"\xff" * 12, b"\xff" * 3000, good[:-1], good[:20], good + b"\0" * 9):
        with contextlib.suppress(ConnectionError):
            made.send(data)
    assert addresses(world.ask("a.example")) == ["198.51.100.7"]


def test_a_table_that_was_replaced_takes_nothing_from_the_policy_before(lab: Pair, world: World) -> None:
    world.adopt()
    world.answers("a.example", "198.51.100.7")
    world.load(Policy("other"), 2)  # by somebody else: this gateway does not know it yet
    reply = world.ask("a.example")
    assert reply.rcode() == dns.rcode.SERVFAIL and not reply.answer
    assert not probe(lab, "198.51.100.7", "tcp", 443)
    world.call(world.gateway.adopt(world.record))
    assert world.ask("a.example").rcode() == dns.rcode.NXDOMAIN


def test_a_held_namespace_waits(lab: Pair, world: World) -> None:
    world.adopt()
    world.answers("a.example", "198.51.100.7")
    netns = world.record.netns
    world.do(lambda: world.gateway.hold(netns))
    made = lab.open_socket(lab.box, socket.AF_INET, socket.SOCK_DGRAM)
    made.sendto(dns.message.make_query("a.example", "A").to_wire(), ("198.51.100.53", 53))
    made.settimeout(0.3)
    with pytest.raises(OSError):
        made.recv(512)
    world.adopt(POLICY, 2)
    world.do(lambda: world.gateway.release(netns))
    made.settimeout(5)
    assert addresses(dns.message.from_wire(made.recv(512))) == ["198.51.100.7"]
    assert probe(lab, "198.51.100.7", "tcp", 443)


def test_a_failure_upstream_is_told_and_opens_nothing(world: World) -> None:
    world.adopt()
    world.zone[("a.example", A)] = Reply(SERVFAIL, (), 0, "nobody answers")
    reply = world.ask("a.example", use_edns=0)
    assert reply.rcode() == dns.rcode.SERVFAIL and "nobody answers" in str(reply.options[0])


def test_a_taken_port_is_an_error_and_a_dropped_one_is_free(lab: Pair, world: World) -> None:
    from rcc.core.errors import KernelError

    taken = lab.open_socket(lab.box, socket.AF_INET, socket.SOCK_DGRAM)
    taken.bind(("127.0.0.1", 54))
    with pytest.raises(KernelError, match="54"):
        world.adopt()
    taken.close()
    for _ in range(3):
        world.adopt()
        world.do(lambda: world.gateway.drop(world.record.netns))


def test_names_under_a_wildcard_are_bounded(world: World) -> None:
    """Questions carry data out: a burst, then a trickle."""
    world.adopt()
    for number in range(400):
        world.answers(f"n{number}.cdn.example", "198.51.100.7")
    rcodes = [world.ask(f"n{number}.cdn.example").rcode() for number in range(400)]
    assert rcodes[:200] == [0] * 200 and rcodes.count(dns.rcode.REFUSED) > 100
    assert len(world.asked) < 300
    assert world.ask("n0.cdn.example").rcode() == 0, "known names go on"
    long = "x" * 60 + "." + "y" * 60 + ".cdn.example"
    assert world.ask(long).rcode() == dns.rcode.NXDOMAIN


def test_what_was_asked_is_counted(world: World) -> None:
    world.adopt()
    world.answers("a.example", "198.51.100.7")
    for _ in range(3):
        world.ask("a.example")
        world.ask("no\\x1b.example".replace("\\x1b", "x"))
    found = world.do(lambda: world.gateway.tally(world.record.netns).put_into(activity_of(world.record)))
    assert [(row.name, row.times, row.addresses) for row in found.names] == [("a.example", 3, ("198.51.100.7",))]
    assert [(row.name, row.type, row.times) for row in found.refused] == [("nox.example", "A", 3)]
    assert dict(found.queries)["queries"] == 6 and dict(found.queries)["cached"] == 2
    assert len([line for line in world.log.lines if line[0] == "dns_refused"]) == 1


def test_without_the_gateway_the_question_gets_out(lab: Pair) -> None:
    """The twin: with no table in the kernel it is sent where it was meant to go."""
    made = lab.open_socket(lab.box, socket.AF_INET, socket.SOCK_DGRAM)
    made.sendto(dns.message.make_query("secret.example", "A").to_wire(), ("198.51.100.53", 53))
    assert reached(lab, "198.51.100.53", "udp", 53)
