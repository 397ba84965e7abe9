"""The gateway on loopback, without a namespace: real listeners, a real upstream, sets that only take notes."""

import asyncio
import socket
import threading
import time
from ipaddress import ip_address
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import dns.flags
import dns.message
import dns.rcode
import pytest
from nameserver import NameServer, eventually
from rcc.app import dns_desk, dns_tcp
from rcc.app import gateway as gateway_module
from rcc.app.gateway import Gateway
from rcc.app.neighbours import Local
from rcc.core.activity import Activity
from rcc.core.errors import KernelError
from rcc.core.policy import HTTPS, HostRule, PeersRule, Policy, Where
from rcc.system.dns_sockets import Opened
from rcc.system.resolver import Asker
from rcc.system.set_elements import Outdated
from rcc.system.state import Member, Record

RULES = (
    HostRule("a.example", False, (HTTPS,), False, Where()),
    HostRule("b.example", False, (HTTPS,), False, Where()),
    HostRule("cdn.example", True, (HTTPS,), False, Where()),
)
POLICY = Policy("test", egress=RULES)


class Log:
    def __init__(self) -> None:
        self.lines: List[Tuple[str, Dict[str, Any]]] = []

    def info(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))

    warning = error = info

    def count(self, event: str) -> int:
        return len([line for line in self.lines if line[0] == event])


class Sets:
    """Notes what is put; ``trouble`` is raised instead."""

    def __init__(self) -> None:
        self.put_in: List[Tuple[int, Any]] = []
        self.flushed: List[int] = []
        self.trouble: Optional[KernelError] = None
        self.closed = False

    def put(self, generation: int, elements: Any) -> None:
        assert not self.closed
        if self.trouble is not None:
            raise self.trouble
        self.put_in.append((generation, tuple(elements)))

    def flush(self, generation: int) -> None:
        self.flushed.append(generation)

    def close(self) -> None:
        self.closed = True

    def addresses(self) -> List[str]:
        return [str(element.network.network_address) for _, some in self.put_in for _, element in some]


def pair_of_listeners() -> Tuple[socket.socket, socket.socket]:
    """UDP and TCP on one port, whichever is free for both."""
    while True:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        udp.bind(("127.0.0.1", 0))
        try:
            tcp.bind(udp.getsockname())
        except OSError:
            udp.close()
            tcp.close()
            continue
        tcp.listen()
        return udp, tcp


class World:
    """A gateway in a thread of its own; every namespace is a set of listeners on loopback."""

    def __init__(self, upstream: NameServer, folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.upstream = upstream
        resolv_conf = folder / "resolv.conf"
        resolv_conf.write_text(upstream.resolv_conf)
        self.sets: Dict[int, Sets] = {}
        self.ports: Dict[int, int] = {}
        self.refuse: Optional[KernelError] = None
        self.tries = 0
        self.stale = 0
        self.whos: List[Tuple[Record, int, str]] = []
        self.locals: Dict[str, Local] = {}
        self.log = Log()
        self.clients: List[socket.socket] = []
        monkeypatch.setattr(gateway_module, "open_gateway", self._open)
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

        async def make() -> Gateway:
            return Gateway(
                Asker(str(resolv_conf), "").ask,
                self.log,
                local=lambda record, name: self.locals.get(name),
                stale=self._stale,
                who=self._who,
            )

        self.gateway = self.call(make())

    def _stale(self) -> None:
        self.stale += 1

    def activity(self, netns: int) -> Activity:
        nothing = Activity((), netns, "", "", 0, 0.0)
        found: Activity = self.do(lambda: self.gateway.tally(netns).put_into(nothing))
        return found

    def counts(self, netns: int) -> Dict[str, int]:
        return dict(self.activity(netns).queries)

    def _who(self, record: Record, port: int, protocol: str) -> str:
        self.whos.append((record, port, protocol))
        return "curl"

    def _open(self, path: str, netns: int, inherited: Dict[str, Any]) -> Opened:
        self.tries += 1
        if self.refuse is not None:
            raise self.refuse
        udp, tcp = pair_of_listeners()
        self.ports[netns] = udp.getsockname()[1]
        self.sets[netns] = Sets()
        return Opened(inherited or {"udp4": udp, "tcp4": tcp}, self.sets[netns])  # type: ignore[arg-type]

    def call(self, job: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(job, self.loop).result(20)

    def do(self, job: Callable[..., Any], *arguments: Any) -> Any:
        async def run() -> Any:
            return job(*arguments)

        return self.call(run())

    def adopt(self, policy: Policy = POLICY, netns: int = 1, generation: int = 1) -> None:
        member = (Member("c" * 64, "box", "run"),)
        ident = f"{netns}.{generation}"
        record = Record(netns, "/x", member, policy, "", (), generation, ident, (), "", "", (), False, 0.0)
        self.call(self.gateway.adopt(record))

    def client(self, netns: int = 1, kind: int = socket.SOCK_DGRAM) -> socket.socket:
        made = socket.socket(socket.AF_INET, kind)
        made.settimeout(10)
        made.connect(("127.0.0.1", self.ports[netns]))
        self.clients.append(made)
        return made

    def ask(self, name: str, kind: str = "A", netns: int = 1, **options: Any) -> Any:
        query = dns.message.make_query(name, kind, **options)
        client = self.client(netns)
        client.send(query.to_wire())
        reply = dns.message.from_wire(client.recv(4096))
        assert query.is_response(reply)
        return reply

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.do(self.gateway.close)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        pending = asyncio.all_tasks(self.loop)
        if pending:
            self.loop.run_until_complete(asyncio.wait(pending, timeout=10))
        self.loop.close()


@pytest.fixture
def upstream() -> Iterator[NameServer]:
    with NameServer() as running:
        running.add("a.example", "A", "198.51.100.7")
        yield running


@pytest.fixture
def world(upstream: NameServer, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World(upstream, tmp_path, monkeypatch)
    yield made
    made.close()


def addresses(reply: Any) -> List[str]:
    return [str(record.address) for rrset in reply.answer for record in rrset]


def silent(query: Any, tcp: bool) -> None:
    return None


def test_an_answer_is_flat_and_its_addresses_are_put_first(world: World, upstream: NameServer) -> None:
    upstream.zone["a.example", "A"] = [
        "a.example. 60 CNAME edge.example.",
        "edge.example. 20 A 198.51.100.7",
        "stray.example. 60 A 203.0.113.66",
        "edge.example. 20 A 10.0.0.1",
    ]
    world.adopt()
    reply = world.ask("A.Example", use_edns=0)
    assert addresses(reply) == ["198.51.100.7"] == world.sets[1].addresses()
    assert [rrset.name.to_text() for rrset in reply.answer] == ["A.Example."] and reply.answer[0].ttl <= 20
    assert not reply.authority and not reply.additional
    assert world.log.count("dns_filtered") == 1


def test_a_cached_answer_is_put_once(world: World, upstream: NameServer) -> None:
    world.adopt()
    for _ in range(5):
        assert addresses(world.ask("a.example")) == ["198.51.100.7"]
    assert len(world.sets[1].put_in) == 1 and len(upstream.asked) == 1
    world.adopt(netns=2)
    world.ask("a.example", netns=2)
    assert len(world.sets[2].put_in) == 1 and len(upstream.asked) == 1, "another namespace, the same upstream answer"


def raw(world: World, query: bytes) -> bytes:
    client = world.client()
    client.send(query)
    return client.recv(4096)


def test_an_answer_that_is_given_again_is_the_same_but_for_its_id_and_its_age(
    world: World, upstream: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.zone["a.example", "A"] = ["a.example. 300 A 198.51.100.7", "a.example. 300 A 198.51.100.8"]
    world.adopt()
    base, clock = time.monotonic(), [0.0]
    world.gateway.cache.clock = lambda: base + clock[0]
    query = dns.message.make_query("A.exaMple", "A", use_edns=0)
    raw(world, query.to_wire())  # from upstream
    first = dns.message.from_wire(raw(world, query.to_wire()))
    calls = []
    parse = dns_desk.dns.parse_question
    monkeypatch.setattr(dns_desk.dns, "parse_question", lambda data: calls.append(data) or parse(data))
    query.id ^= 0x5555
    clock[0] = 20.0
    second = dns.message.from_wire(raw(world, query.to_wire()))
    assert calls == [], "it was not looked at anew"
    assert second.id == query.id and second.question == first.question and addresses(first) == addresses(second)
    assert (first.answer[0].ttl, second.answer[0].ttl) == (300, 280)
    assert second.answer[0].name.to_text() == "A.exaMple."
    assert world.counts(1)["queries"] == 3 and world.counts(1)["cached"] == 2
    (row,) = world.activity(1).names
    assert row.times == 3
    for other in (dns.message.make_query("a.example", "A", use_edns=0), dns.message.make_query("A.exaMple", "A")):
        raw(world, other.to_wire())
    assert len(calls) == 2, "another spelling or limit is another question"


@pytest.mark.parametrize("change", ["policy", "flush", "hold", "ended", "time"])
def test_an_answer_is_not_given_again_after(world: World, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    world.adopt()
    base, clock = time.monotonic(), [0.0]
    world.gateway.cache.clock = lambda: base + clock[0]
    query = dns.message.make_query("a.example", "A").to_wire()
    desk = world.gateway._boxes[1].desk
    assert world.do(lambda: bool(dns.message.from_wire(raw_of(desk, query)).answer)) is False, "upstream is asked"
    eventually(lambda: world.gateway.cache.peek("a.example", 1))
    assert world.do(lambda: bool(dns.message.from_wire(raw_of(desk, query)).answer))
    if change == "policy":
        world.adopt(Policy("other"), generation=2)
        expected = dns.rcode.NXDOMAIN
    elif change == "flush":
        world.sets[1].trouble = KernelError("no")
        world.do(desk.flush)
        expected = dns.rcode.SERVFAIL
    elif change == "hold":
        world.do(desk.hold)
        expected = None
    elif change == "ended":
        world.sets[1].trouble = KernelError("no")
        clock[0] = 46.0  # open for 75 seconds, told for 60: half a minute at least has to be left
        expected = dns.rcode.SERVFAIL
    else:
        clock[0] = 61.0
        expected = None
    reply = world.do(raw_of, desk, query)
    assert (None if reply == NOTHING else dns.message.from_wire(reply).rcode()) == expected


TASKS: List[Any] = []
NOTHING = dns.message.make_query("nothing.example", "A").to_wire()


def raw_of(desk: Any, query: bytes) -> bytes:
    """The reply that is there at once, else NOTHING."""
    reply = desk.by_datagram(query, 4000)
    if isinstance(reply, bytes):
        return reply
    TASKS.append(asyncio.ensure_future(reply))
    return NOTHING


def test_what_is_remembered_of_answers_is_bounded(world: World) -> None:
    world.adopt()
    world.ask("a.example")
    desk = world.gateway._boxes[1].desk
    for number in range(1 << 10):  # spellings
        spelled = "".join(["aA"[number & 1], ".", *mixed(number >> 1)])
        world.do(raw_of, desk, dns.message.make_query(spelled, "A").to_wire())
    assert 0 < len(desk._again) <= dns_desk.AGAIN_LIMIT


def mixed(number: int) -> List[str]:
    return [c.upper() if number >> at & 1 else c for at, c in enumerate("example")]


def test_with_little_time_left_it_is_put_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.adopt()
    world.ask("a.example")
    world.gateway.cache.clock = lambda: time.monotonic() + 50
    world.ask("a.example")
    assert len(world.sets[1].put_in) == 2


def test_what_cannot_be_put_is_not_told(world: World) -> None:
    world.adopt()
    world.sets[1].trouble = Outdated("no such set")
    for _ in range(3):
        reply = world.ask("a.example", use_edns=0)
        assert reply.rcode() == dns.rcode.SERVFAIL and not reply.answer and "rcc" in str(reply.options[0])
    assert world.log.count("not_opened") == 1 and world.stale == 3
    world.sets[1].trouble = None
    assert addresses(world.ask("a.example")) == ["198.51.100.7"]


def test_another_policy_counts_at_once(world: World, upstream: NameServer) -> None:
    world.adopt()
    world.ask("a.example")
    world.adopt(Policy("other", egress=RULES[1:]), generation=2)
    assert world.ask("a.example").rcode() == dns.rcode.NXDOMAIN
    world.adopt(POLICY, generation=3)
    world.ask("a.example")
    assert [generation for generation, _ in world.sets[1].put_in] == [1, 3]


def test_a_policy_that_changes_while_upstream_is_asked(world: World, upstream: NameServer) -> None:
    gate = threading.Event()

    def slow(query: Any, tcp: bool) -> Any:
        gate.wait(10)
        reply = dns.message.make_response(query)
        reply.answer.append(dns.rrset.from_text("b.example.", 60, "IN", "A", "198.51.100.8"))
        return reply

    upstream.special["b.example"] = slow
    world.adopt()
    client = world.client()
    client.send(dns.message.make_query("b.example", "A").to_wire())
    eventually(lambda: upstream.asked)
    world.adopt(Policy("other", egress=RULES[:1]), generation=2)
    gate.set()
    assert dns.message.from_wire(client.recv(512)).rcode() == dns.rcode.NXDOMAIN
    assert world.sets[1].put_in == []


def test_questions_wait_while_held(world: World) -> None:
    world.adopt()
    world.ask("a.example")
    for _ in range(2):
        world.do(world.gateway.hold, 1)
    client = world.client()
    for name in ("a.example", "secret.example"):  # cached, and refused
        client.send(dns.message.make_query(name, "A").to_wire())
    client.settimeout(0.3)
    with pytest.raises(socket.timeout):
        client.recv(512)
    world.do(world.gateway.release, 1)
    with pytest.raises(socket.timeout):
        client.recv(512)
    world.adopt(Policy("other"), generation=2)
    world.do(world.gateway.release, 1)
    client.settimeout(10)
    rcodes = [dns.message.from_wire(client.recv(512)).rcode() for _ in range(2)]
    assert rcodes == [dns.rcode.NXDOMAIN] * 2 and len(world.sets[1].put_in) == 1
    world.do(world.gateway.release, 1)
    world.do(world.gateway.release, 99)


def test_a_hold_that_is_never_released_ends_in_failure(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns_desk, "HELD_SECONDS", 0.2)
    world.adopt()
    world.do(world.gateway.hold, 1)
    assert world.ask("a.example").rcode() == dns.rcode.SERVFAIL
    assert world.sets[1].put_in == []


def test_peers_are_opened_before_they_are_told(world: World, upstream: NameServer) -> None:
    world.locals["db"] = Local((ip_address("10.89.0.3"), ip_address("fd00::3")), True)
    world.adopt(Policy("peers", egress=(PeersRule((HTTPS,), Where()),)))
    assert addresses(world.ask("db")) == ["10.89.0.3"] and addresses(world.ask("db", "AAAA")) == ["fd00::3"]
    assert world.sets[1].addresses() == ["10.89.0.3", "fd00::3"]
    assert not world.ask("db", "TXT").answer and world.ask("web").rcode() == dns.rcode.NXDOMAIN
    world.sets[1].trouble = KernelError("no")
    assert world.ask("db").rcode() == dns.rcode.SERVFAIL
    assert upstream.asked == []


def test_the_host_itself_is_told_without_opening(world: World, upstream: NameServer) -> None:
    world.locals["host.containers.internal"] = Local((ip_address("10.88.0.1"),), False)
    world.adopt()
    assert addresses(world.ask("host.containers.internal")) == ["10.88.0.1"]
    assert world.sets[1].put_in == [] and upstream.asked == []


def test_one_silent_name_does_not_hold_up_the_others(world: World, upstream: NameServer) -> None:
    upstream.special["b.example"] = silent
    world.adopt()
    slow = world.client()
    slow.send(dns.message.make_query("b.example", "A").to_wire())
    assert addresses(world.ask("a.example")) == ["198.51.100.7"]


def test_so_many_wait_and_no_more(world: World, upstream: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns_desk, "WAITING", 20)
    names = tuple(HostRule(f"n{number}.example", False, (HTTPS,), False, Where()) for number in range(60))
    for rule in names:
        upstream.special[rule.name] = silent
    world.adopt(Policy("many", egress=(*names, *RULES)))
    world.adopt(netns=2)
    flood = world.client()
    for rule in names:
        flood.send(dns.message.make_query(rule.name, "A").to_wire())
    for _ in range(40):
        assert dns.message.from_wire(flood.recv(512)).rcode() == dns.rcode.SERVFAIL
    assert addresses(world.ask("a.example", netns=2)) == ["198.51.100.7"], "another container is not touched"
    assert world.ask("secret.example").rcode() == dns.rcode.NXDOMAIN, "nor what needs no upstream"
    assert world.counts(1)["failed"] == 40


def test_new_names_under_a_wildcard_are_bounded_and_known_ones_go_on(
    world: World, upstream: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rcc.core.dns_filter.WILD_RATE", 0.0)
    world.adopt()
    for number in range(220):
        upstream.add(f"n{number}.cdn.example", "A", "198.51.100.9", ttl=0)
    rcodes = [world.ask(f"n{number}.cdn.example", use_edns=0).rcode() for number in range(220)]
    assert rcodes[:200] == [dns.rcode.NOERROR] * 200 and dns.rcode.REFUSED in rcodes
    asked = len(upstream.asked)
    assert addresses(world.ask("n0.cdn.example")) == ["198.51.100.9"], "what was said lately serves again"
    assert len(upstream.asked) <= asked + 1
    assert addresses(world.ask("a.example")) == ["198.51.100.7"]
    world.adopt(netns=2)
    assert world.ask("n219.cdn.example", netns=2).rcode() == dns.rcode.NOERROR, "each container has its own"


def test_failures_upstream(world: World, upstream: NameServer) -> None:
    def refused(query: Any, tcp: bool) -> Any:
        reply = dns.message.make_response(query)
        reply.set_rcode(dns.rcode.REFUSED)
        return reply

    upstream.special["b.example"] = refused
    world.adopt()
    reply = world.ask("b.example", use_edns=0)
    assert reply.rcode() == dns.rcode.SERVFAIL and "REFUSED" in str(reply.options[0])
    upstream.special.pop("b.example")
    assert world.ask("b.example", "TXT").rcode() == dns.rcode.NXDOMAIN


@pytest.mark.parametrize("kind", ["MX", "TXT", "SRV", "CAA", "NS", "SOA", "CNAME"])
def test_other_types_are_passed_on_and_open_nothing(world: World, upstream: NameServer, kind: str) -> None:
    data = {
        "MX": "10 mail.example.", "TXT": '"x"', "SRV": "1 2 3 s.example.", "CAA": '0 issue "ca.example"',
        "NS": "ns.example.", "SOA": "ns.example. x.example. 1 2 3 4 5", "CNAME": "edge.example.",
    }[kind]  # fmt: skip
    upstream.add("b.example", kind, data)
    world.adopt()
    reply = world.ask("b.example", kind)
    assert [record.to_text() for rrset in reply.answer for record in rrset] == [data]
    assert world.sets[1].put_in == [] and world.ask("x.cdn.example", kind).answer == []


def test_large_answers_by_datagram_and_by_stream(world: World, upstream: NameServer) -> None:
    upstream.zone["a.example", "A"] = [f"a.example. 60 A 198.51.100.{last}" for last in range(1, 60)]
    world.adopt()
    small, large = world.ask("a.example"), world.ask("a.example", use_edns=0, payload=4096)
    assert small.flags & dns.flags.TC and len(small.to_wire()) <= 512 and 20 < len(addresses(small)) < 59
    assert not large.flags & dns.flags.TC and len(addresses(large)) == 59
    client = world.client(kind=socket.SOCK_STREAM)
    send(client, dns.message.make_query("a.example", "A").to_wire())
    assert len(addresses(receive(client))) == 59


def send(client: socket.socket, *messages: bytes) -> None:
    client.sendall(b"".join(len(message).to_bytes(2, "big") + message for message in messages))


def receive(client: socket.socket) -> Any:
    data = b""
    while len(data) < 2 or len(data) < 2 + int.from_bytes(data[:2], "big"):
        part = client.recv(1 if len(data) < 2 else 2 + int.from_bytes(data[:2], "big") - len(data))
        assert part, "it has hung up"
        data += part
    return dns.message.from_wire(data[2:])


def test_a_stream_does_not_wait_for_its_slowest_question(world: World, upstream: NameServer) -> None:
    upstream.special["b.example"] = silent
    world.adopt()
    client = world.client(kind=socket.SOCK_STREAM)
    queries = [dns.message.make_query(name, "A") for name in ("b.example", "a.example", "secret.example")]
    send(client, *(query.to_wire() for query in queries))
    replies = {receive(client).id for _ in range(2)}
    assert replies == {query.id for query in queries[1:]}


def test_a_stream_byte_by_byte_and_half_closed(world: World) -> None:
    world.adopt()
    client = world.client(kind=socket.SOCK_STREAM)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    wire = dns.message.make_query("a.example", "A").to_wire()
    for byte in len(wire).to_bytes(2, "big") + wire:
        client.send(bytes((byte,)))
    client.shutdown(socket.SHUT_WR)
    assert addresses(receive(client)) == ["198.51.100.7"]
    assert client.recv(1) == b""


def test_a_stream_of_a_thousand_messages(world: World) -> None:
    world.adopt()
    world.ask("a.example")
    client = world.client(kind=socket.SOCK_STREAM)
    queries = [dns.message.make_query("a.example", "A") for _ in range(1000)]
    sender = threading.Thread(target=send, args=(client, *(query.to_wire() for query in queries)))
    sender.start()
    assert {receive(client).id for _ in queries} == {query.id for query in queries}
    sender.join(10)


def test_who_does_not_read_or_write_is_hung_up_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns_tcp, "IDLE", 0.3)
    world.adopt()
    world.ask("a.example")
    idle = world.client(kind=socket.SOCK_STREAM)
    half = world.client(kind=socket.SOCK_STREAM)
    half.send(b"\0\x20abc")
    junk = world.client(kind=socket.SOCK_STREAM)
    send(junk, b"")
    for client in (idle, half, junk):
        assert client.recv(1) == b""


def test_so_many_connections_and_no_more(world: World) -> None:
    world.adopt()
    clients = [world.client(kind=socket.SOCK_STREAM) for _ in range(dns_tcp.CONNECTIONS)]
    for client in clients:
        send(client, dns.message.make_query("a.example", "A").to_wire())
        receive(client)
    assert world.client(kind=socket.SOCK_STREAM).recv(1) == b""
    clients[0].close()
    time.sleep(0.1)
    again = world.client(kind=socket.SOCK_STREAM)
    send(again, dns.message.make_query("a.example", "A").to_wire())
    assert receive(again).rcode() == dns.rcode.NOERROR


def test_refusals_are_told_once_and_counted(world: World) -> None:
    world.adopt()
    for _ in range(3):
        world.ask("secret.example")
    world.ask("secret.example", "TXT")
    world.ask("1.2.3.4.in-addr.arpa", "PTR")
    odd = world.client()
    odd.send(b"\0\1\1\0\0\1\0\0\0\0\0\0\4\x1b[1m\7example\0\0\1\0\1")
    assert odd.recv(512)[3] & 15 == dns.rcode.NXDOMAIN
    rows = {(row.name, row.type): (row.times, row.process) for row in world.activity(1).refused}
    assert rows == {
        ("secret.example", "A"): (3, "curl"),
        ("secret.example", "TXT"): (1, "curl"),
        ("\\027\\0911m.example", "A"): (1, "curl"),
    }
    assert world.counts(1) == {"queries": 6, "cached": 0, "refused": 6, "failed": 0, "throttled": 0}
    assert world.log.count("dns_refused") == 3 and len(world.whos) == 3 and world.whos[0][2] == "udp"


def test_a_flood_of_refusals_fills_neither_log_nor_memory(world: World) -> None:
    world.adopt()
    client = world.client()
    for number in range(3000):
        client.send(dns.message.make_query(f"n{number}.example", "A").to_wire())
        client.recv(512)
    assert len(world.activity(1).refused) == 1024 and world.counts(1)["refused"] == 3000
    assert world.log.count("dns_refused") < 50 and len(world.whos) < 30


def test_one_that_floods_does_not_stop_another(world: World) -> None:
    world.adopt()
    world.adopt(netns=2)
    stopped = threading.Event()

    def flood() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
            made.connect(("127.0.0.1", world.ports[1]))
            wire = dns.message.make_query("secret.example", "A").to_wire()
            while not stopped.is_set():
                for _ in range(50):
                    made.send(wire)

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        for _ in range(50):
            assert addresses(world.ask("a.example", netns=2)) == ["198.51.100.7"]
    finally:
        stopped.set()
        thread.join(10)


def test_what_cannot_be_opened_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_module, "RETRY", 0.05)
    world.refuse = KernelError("taken")
    with pytest.raises(KernelError):
        world.adopt()
    eventually(lambda: world.tries >= 3)
    assert world.log.count("gateway_closed") == 1 and not world.do(world.gateway.serves, 1)
    world.refuse = None
    eventually(lambda: world.do(world.gateway.serves, 1))
    assert addresses(world.ask("a.example")) == ["198.51.100.7"]
    assert world.log.count("gateway_open") == 1


def test_what_is_dropped_is_not_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_module, "RETRY", 0.05)
    world.refuse = KernelError("gone")
    with pytest.raises(KernelError):
        world.adopt()
    world.do(world.gateway.drop, 1)
    tries = world.tries
    world.refuse = None
    time.sleep(0.3)
    assert world.tries == tries and not world.do(world.gateway.serves, 1)


def test_dropping_while_it_opens(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    opens = world._open

    def slow(path: str, netns: int, inherited: Dict[str, Any]) -> Opened:
        gate.wait(10)
        return opens(path, netns, inherited)

    monkeypatch.setattr(gateway_module, "open_gateway", slow)
    thread = threading.Thread(target=world.adopt)
    thread.start()
    eventually(lambda: world.gateway._wanted)
    world.do(world.gateway.drop, 1)
    gate.set()
    thread.join(10)
    assert not world.do(world.gateway.serves, 1) and world.sets[1].closed


def test_dropped_while_upstream_is_asked(world: World, upstream: NameServer) -> None:
    gate = threading.Event()

    def slow(query: Any, tcp: bool) -> Any:
        gate.wait(10)
        return dns.message.make_response(query)

    upstream.special["b.example"] = slow
    world.adopt()
    world.client().send(dns.message.make_query("b.example", "A").to_wire())
    eventually(lambda: upstream.asked)
    world.do(world.gateway.drop, 1)
    gate.set()
    assert world.sets[1].closed and not world.counts(1)["queries"]
    world.adopt()
    assert addresses(world.ask("a.example")) == ["198.51.100.7"]


def test_static_mode_is_not_served(world: World) -> None:
    world.adopt()
    world.adopt(Policy("static", dns_mode="static"), generation=2)
    assert not world.do(world.gateway.serves, 1) and world.sets[1].closed


def test_listeners_are_handed_over(world: World) -> None:
    world.adopt()
    world.adopt(netns=2)
    given = [(netns, label, made.dup()) for netns, label, made in world.do(world.gateway.sockets)]
    assert sorted((netns, label) for netns, label, _ in given) == [(1, "tcp4"), (1, "udp4"), (2, "tcp4"), (2, "udp4")]
    port = world.ports[1]
    world.do(world.gateway.close)
    waiting = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    world.clients.append(waiting)
    waiting.settimeout(10)
    waiting.sendto(dns.message.make_query("secret.example", "A").to_wire(), ("127.0.0.1", port))

    async def make() -> Gateway:
        return Gateway(world.gateway.cache._ask, world.log, inherited=given)

    world.gateway = world.call(make())
    world.adopt()
    assert dns.message.from_wire(waiting.recv(512)).rcode() == dns.rcode.NXDOMAIN, "asked while nobody served"
    world.do(world.gateway.forget_inherited)
    assert [made.fileno() >= 0 for _, _, made in given] == [True, True, False, False]


def test_the_hosts_own_addresses_are_looked_at_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_module, "OWN_SECONDS", 0.05)
    world.adopt()
    assert addresses(world.ask("a.example")) == ["198.51.100.7"]
    monkeypatch.setattr(gateway_module, "own_addresses", lambda: (ip_address("198.51.100.7"),))
    eventually(lambda: not addresses(world.ask("a.example")))


def test_after_a_sleep_everything_is_closed(world: World, upstream: NameServer) -> None:
    world.adopt()
    world.ask("a.example")
    world.do(world.gateway.forget)
    assert world.sets[1].flushed == [1]
    world.ask("a.example")
    assert len(world.sets[1].put_in) == 2 and len(upstream.asked) == 2
