"""What the loaded ruleset lets through, seen from the far end.  Each "does not arrive" has its twin without rules."""

import contextlib
import socket
import struct
from ipaddress import ip_address, ip_network
from typing import Iterable, Optional, Tuple

import pytest
from pair import BOX4, BOX6, WORLD4, WORLD6, Pair, box_address, entered, family_of
from rcc.core.compile import Facts, compile_ruleset
from rcc.core.errors import KernelError
from rcc.core.notes import NOTED_SIZE, Notes, denials
from rcc.core.policy import EVERY_PORT, CidrRule, Policy, Ports, Where
from rcc.core.render_nft import render_nft, render_timed
from rcc.core.ruleset import Element, Ruleset
from rcc.system.nft import Nft
from rcc.system.nft_notes import read_notes

IP_FREEBIND = 15  # <linux/in.h>; IPv6 takes it as well

pytestmark = pytest.mark.netns

NAME4, NAME6 = "198.51.100.7", "2001:db8::7"
OTHER4, OTHER6 = "198.51.100.8", "2001:db8::8"
TOKEN = b"token of the test"
BASE = compile_ruleset(Policy("test"), Facts(), 1)


def element(
    address: str, protocol: str = "tcp", low: int = 443, high: int = 0, lifetime: Optional[int] = 300
) -> Element:
    return Element(ip_network(address), Ports(protocol, low, high or low), lifetime)


def allowing(*elements: Element, generation: int = 1) -> Ruleset:
    return BASE._replace(allowed=elements, generation=generation)


NAMES = allowing(*(element(name, protocol) for name in (NAME4, NAME6) for protocol in ("tcp", "udp")))


def load(lab: Pair, ruleset: Ruleset, ident: str = "test.1") -> None:
    with entered(lab.box):
        nft = Nft()
        nft.load(render_nft(ruleset, ident))
        nft.read_back(ruleset, ident)


def send_udp(lab: Pair, address: str, port: int, payload: bytes = TOKEN) -> socket.socket:
    made = lab.open_socket(lab.box, family_of(address), socket.SOCK_DGRAM)
    with contextlib.suppress(OSError):
        made.connect((address, port))
        made.send(payload)
    return made


def try_to_send(made: socket.socket, payload: bytes = TOKEN) -> None:
    """Send what a rule may drop, which the kernel tells the sender (EPERM)."""
    with contextlib.suppress(OSError):
        made.send(payload)


def send_syn(lab: Pair, address: str, port: int) -> socket.socket:
    made = lab.open_socket(lab.box, family_of(address), socket.SOCK_STREAM)
    made.setblocking(False)
    made.connect_ex((address, port))
    return made


def send_ping(lab: Pair, address: str) -> None:
    six = ":" in address
    protocol = socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP
    made = lab.open_socket(lab.box, family_of(address), socket.SOCK_RAW, protocol)
    body = struct.pack("!BBHHH", 128 if six else 8, 0, 0, 7, 1) + TOKEN
    with contextlib.suppress(OSError):
        made.sendto(body if six else body[:2] + checksum(body) + body[4:], (address, 0))


def checksum(data: bytes) -> bytes:
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)


def reached(lab: Pair, address: str, protocol: str, port: int = 0) -> bool:
    wanted = (str(ip_address(address)), protocol, port)
    return any((f.destination, f.protocol, f.destination_port) == wanted for f in lab.arrived())


def probe(lab: Pair, address: str, protocol: str, port: int) -> bool:
    """Whether a new flow's first packet gets to the world."""
    lab.forget()
    {"udp": send_udp, "tcp": send_syn}[protocol](lab, address, port)
    return reached(lab, address, protocol, port)


CLOSED: Tuple[Tuple[str, str, int], ...] = (
    (OTHER4, "tcp", 443),
    (OTHER6, "udp", 443),
    (NAME4, "tcp", 80),
    (NAME6, "udp", 80),
    (NAME4, "udp", 53),
    (NAME6, "tcp", 853),
    ("10.0.0.1", "tcp", 443),
    ("169.254.169.254", "tcp", 80),
    ("192.168.77.5", "udp", 443),
    ("100.64.0.1", "tcp", 443),
    ("224.0.0.251", "udp", 5353),
    ("fd00:ec2::254", "tcp", 80),
    ("64:ff9b::a00:1", "tcp", 443),
    ("2002:a00:1::1", "udp", 443),
    ("ff05::2", "udp", 443),
)


@pytest.mark.parametrize("rules", [False, True])
@pytest.mark.parametrize(("address", "protocol", "port"), CLOSED)
def test_only_what_is_allowed_leaves(lab: Pair, address: str, protocol: str, port: int, rules: bool) -> None:
    if rules:
        load(lab, NAMES)
    assert probe(lab, address, protocol, port) is not rules
    assert probe(lab, NAME4, "tcp", 443) and probe(lab, NAME6, "udp", 443)


@pytest.mark.parametrize("rules", [False, True])
@pytest.mark.parametrize(("address", "protocol", "port"), CLOSED)
def test_the_internet_is_public_addresses_without_foreign_dns(
    lab: Pair, address: str, protocol: str, port: int, rules: bool
) -> None:
    if rules:
        load(lab, BASE._replace(internet=EVERY_PORT))
    public = address in (NAME4, NAME6, OTHER4, OTHER6) and port not in (53, 853)
    assert probe(lab, address, protocol, port) is (public or not rules)


@pytest.mark.parametrize("rules", [False, True])
@pytest.mark.parametrize("address", [NAME4, NAME6, WORLD4, WORLD6])
def test_no_echo_leaves(lab: Pair, address: str, rules: bool) -> None:
    if rules:
        load(lab, NAMES._replace(internet=EVERY_PORT))
    send_ping(lab, address)
    assert any(TOKEN in frame.payload for frame in lab.arrived()) is not rules


@pytest.mark.parametrize("address", ["10.77.0.53", "fd77::53"])
def test_the_own_resolvers_answer_on_port_53_only(lab: Pair, address: str) -> None:
    load(lab, BASE._replace(resolvers=(ip_address(address),), gateway=False))
    with_permanent_neighbour(lab, address)
    assert probe(lab, address, "udp", 53) and probe(lab, address, "tcp", 53)
    for port in (52, 443, 853):
        assert not probe(lab, address, "tcp", port)
    lab.forget()
    with entered(lab.box):
        Nft().remove()
    assert probe(lab, address, "tcp", 853)


def with_permanent_neighbour(lab: Pair, address: str) -> None:
    from pair import WORLD_MAC, ip

    with entered(lab.box):
        ip(f"neigh replace {address} lladdr {WORLD_MAC} dev eth0 nud permanent")


@pytest.mark.parametrize("address", ["10.1.2.3", "fd12::3", "192.168.255.255", "169.254.169.254"])
def test_private_addresses_open_by_port_when_named(lab: Pair, address: str) -> None:
    load(lab, BASE._replace(private=(element(address, "tcp", 5432),)))
    assert probe(lab, address, "tcp", 5432)
    assert not probe(lab, address, "udp", 5432) and not probe(lab, address, "tcp", 5433)


def test_ranges_have_their_edges(lab: Pair) -> None:
    rules = (CidrRule(ip_network("203.0.113.0/25"), (Ports("tcp", 8000, 8100),), False, Where()),)
    rules += (CidrRule(ip_network("2001:db8:5::/48"), (Ports("udp", 9000, 9001),), False, Where()),)
    load(lab, compile_ruleset(Policy("test", egress=rules), Facts(), 1))
    for address, protocol, port, opens in (
        ("203.0.113.0", "tcp", 8000, True),
        ("203.0.113.127", "tcp", 8100, True),
        ("203.0.113.128", "tcp", 8000, False),
        ("203.0.113.0", "tcp", 7999, False),
        ("203.0.113.0", "tcp", 8101, False),
        ("203.0.113.0", "udp", 8000, False),
        ("2001:db8:5:ffff::", "udp", 9001, True),
        ("2001:db8:6::", "udp", 9001, False),
    ):
        assert probe(lab, address, protocol, port) is opens, (address, protocol, port)


def test_refusals_are_told_at_once_or_not_at_all(lab: Pair) -> None:
    load(lab, NAMES)
    assert send_syn(lab, OTHER4, 443).getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 111  # ECONNREFUSED
    assert send_udp(lab, OTHER4, 443).getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
    assert send_udp(lab, OTHER6, 443).getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
    load(lab, NAMES._replace(on_denied="drop"))
    assert send_syn(lab, OTHER4, 443).getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    assert not reached(lab, OTHER4, "tcp", 443)


@pytest.mark.parametrize("rules", [False, True])
def test_source_routes_stay_even_in_an_open_flow(lab: Pair, rules: bool) -> None:
    if rules:
        load(lab, NAMES)
    listening(lab, lab.world, NAME4, 443)
    flow = send_udp(lab, NAME4, 443, b"before")
    assert reached(lab, NAME4, "udp", 443)
    lsrr = bytes((131, 7, 4)) + socket.inet_aton(OTHER4) + b"\0"  # loose source route (RFC 791)
    flow.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, lsrr)
    try_to_send(flow)
    assert any(TOKEN in frame.payload for frame in lab.arrived()) is not rules
    flow.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, b"")
    flow.send(TOKEN)
    assert any(TOKEN in frame.payload for frame in lab.arrived())


@pytest.mark.parametrize("rules", [False, True])
def test_routing_headers_stay(lab: Pair, rules: bool) -> None:
    if rules:
        load(lab, NAMES)
    # By way of an allowed address to one that is not, with a segment routing header (RFC 8754): anybody may set it.  On
    # the way out the next segment is the packet's destination.
    flow = lab.open_socket(lab.box, socket.AF_INET6, socket.SOCK_DGRAM)
    segments = socket.inet_pton(socket.AF_INET6, OTHER6) + socket.inet_pton(socket.AF_INET6, NAME6)
    flow.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RTHDR, struct.pack("!BBBBBBH", 0, 4, 4, 1, 1, 0, 0) + segments)
    with contextlib.suppress(OSError):
        flow.sendto(TOKEN, (OTHER6, 443))
    arrived = [frame.destination for frame in lab.arrived() if TOKEN in frame.payload]
    assert arrived == ([] if rules else [NAME6])


# Flows from outside.


def listening(lab: Pair, side: int, address: str, port: int, kind: int = socket.SOCK_DGRAM) -> socket.socket:
    made = lab.open_socket(side, family_of(address), kind)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)  # an address of the route, not of an interface
    made.bind((address, port))
    if kind == socket.SOCK_STREAM:
        made.listen()
    return made


def heard(lab: Pair, made: socket.socket) -> Optional[Tuple[str, int]]:
    """Who has sent a datagram that ``made`` got, None when nobody has."""
    lab.settle()
    list(lab.arrived())
    made.setblocking(False)
    try:
        return made.recvfrom(2048)[1][:2]
    except OSError:
        return None


PUBLISHED = (Ports("tcp", 8080, 8080), Ports("udp", 8080, 8080))


@pytest.mark.parametrize("published", [None, False, True])
@pytest.mark.parametrize("remote", [OTHER4, OTHER6])
def test_flows_from_outside_come_in_by_published_ports_only(lab: Pair, remote: str, published: Optional[bool]) -> None:
    if published is not None:
        load(lab, NAMES._replace(published=PUBLISHED if published else ()))
    comes_in = published is not False
    inside = listening(lab, lab.box, box_address(remote), 8080)
    outside = listening(lab, lab.world, remote, 4000)
    outside.sendto(TOKEN, (box_address(remote), 8080))
    assert (heard(lab, inside) == (remote, 4000)) is comes_in
    try:
        inside.sendto(TOKEN, (remote, 4000))
    except OSError:
        assert not comes_in
    assert reached(lab, remote, "udp", 4000) is comes_in
    # The same remote end is no destination for a flow of the container's own.
    assert probe(lab, remote, "udp", 4000) is (published is None)


@pytest.mark.parametrize("rules", [False, True])
@pytest.mark.parametrize("remote", [OTHER4, OTHER6])
def test_a_flow_opened_from_outside_opens_no_way_back(lab: Pair, remote: str, rules: bool) -> None:
    """Threat 26: the forbidden side sends first, then the container answers."""
    if rules:
        load(lab, NAMES)
    inside = listening(lab, lab.box, box_address(remote), 5000)
    listening(lab, lab.world, remote, 443).sendto(TOKEN, (box_address(remote), 5000))
    assert (heard(lab, inside) is not None) is not rules
    try:
        inside.sendto(TOKEN, (remote, 443))
    except OSError:
        assert rules
    assert reached(lab, remote, "udp", 443) is not rules


def test_errors_about_allowed_flows_come_in(lab: Pair) -> None:
    load(lab, NAMES)
    flow = send_udp(lab, NAME4, 443)  # nobody listens there: the world answers with an ICMP error
    lab.settle()
    assert flow.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 111  # ECONNREFUSED


def test_loopback_belongs_to_the_container(lab: Pair) -> None:
    load(lab, BASE)
    for address in ("127.0.0.1", "::1", BOX4, BOX6):
        inside = listening(lab, lab.box, address, 6000)
        send_udp(lab, address, 6000)
        assert inside.recv(100) == TOKEN


# Reloading.


def tcp_flow(lab: Pair, address: str) -> Tuple[socket.socket, socket.socket]:
    server = listening(lab, lab.world, address, 443, socket.SOCK_STREAM)
    client = lab.open_socket(lab.box, family_of(address), socket.SOCK_STREAM)
    client.connect((address, 443))
    accepted = server.accept()[0]
    accepted.settimeout(10)
    lab.open.append(accepted)
    return client, accepted


@pytest.mark.parametrize("address", [NAME4, NAME6])
def test_a_reload_keeps_flows_that_are_still_allowed(lab: Pair, address: str) -> None:
    load(lab, NAMES)
    client, server = tcp_flow(lab, address)
    udp = listening(lab, lab.world, address, 443)
    flow = send_udp(lab, address, 443)
    assert heard(lab, udp)
    load(lab, NAMES._replace(generation=2), "test.2")
    server.send(b"from outside first")  # comes in before anything has left under the new generation
    assert client.recv(100) == b"from outside first"
    client.send(TOKEN)
    assert server.recv(100) == TOKEN
    flow.send(TOKEN)
    assert heard(lab, udp)


@pytest.mark.parametrize("address", [NAME4, NAME6])
@pytest.mark.parametrize("outside_first", [False, True])
def test_a_reload_ends_flows_that_are_no_longer_allowed(lab: Pair, address: str, outside_first: bool) -> None:
    load(lab, NAMES)
    client, server = tcp_flow(lab, address)
    udp = listening(lab, lab.world, address, 443)
    flow = send_udp(lab, address, 443)
    sender = heard(lab, udp)
    assert sender
    load(lab, BASE._replace(generation=2), "test.2")
    if outside_first:
        server.send(TOKEN)
        udp.sendto(TOKEN, sender)
        lab.settle()
        for made in (client, flow):
            made.setblocking(False)
            with pytest.raises(BlockingIOError):
                made.recv(100)
    list(lab.arrived())
    for made in (client, flow):
        try_to_send(made)
    assert not any(TOKEN in frame.payload for frame in lab.arrived())


def test_flows_outlive_their_address_and_former_addresses_survive_a_reload(lab: Pair) -> None:
    load(lab, NAMES)
    client, server = tcp_flow(lab, NAME4)
    gone = NAMES._replace(allowed=tuple(e for e in NAMES.allowed if e.network != ip_network(NAME4)))
    with entered(lab.box):
        Nft().load("flush set inet rcc allowed_names4_1\n")
    assert not probe_keeping(lab, NAME4)
    client.send(TOKEN)
    assert server.recv(100) == TOKEN
    load(lab, gone._replace(generation=2, former=(element(NAME4, lifetime=None),)), "test.2")
    client.send(TOKEN)
    assert server.recv(100) == TOKEN
    assert not probe_keeping(lab, NAME4)
    load(lab, gone._replace(generation=3), "test.3")
    with pytest.raises(OSError):
        for _ in range(2):
            client.send(b"no more")
            lab.settle()


def probe_keeping(lab: Pair, address: str) -> bool:
    """``probe`` for TCP 443 that leaves open flows alone."""
    list(lab.arrived())
    send_syn(lab, address, 443)
    return any(frame.destination == address and frame.flags & 2 for frame in lab.arrived())


def test_elements_are_replaced_in_place(lab: Pair) -> None:
    """Names that move: exact and range sets, twice the same, and after what was known has run out."""
    ranges = tuple(element(name, "tcp", 8000, 8010) for name in (NAME4, NAME6))
    before = allowing(element(NAME4), element(NAME6), *ranges)
    after = allowing(element(OTHER4), element(NAME4, "tcp", 8000, 8010), element(NAME6))
    load(lab, before)
    with entered(lab.box):
        nft = Nft()
        nft.load("flush set inet rcc allowed_names4_1\n")
        for _ in range(2):
            nft.load(render_timed(after))
        nft.read_back(after, "test.1")
    assert probe(lab, OTHER4, "tcp", 443) and probe(lab, NAME4, "tcp", 8010) and probe(lab, NAME6, "tcp", 443)
    assert not probe(lab, NAME4, "tcp", 443), "it ran out and was not renewed"
    assert probe(lab, NAME6, "tcp", 8000), "what is not renewed is left to its lifetime"


# What rcc says about it.


def test_denied_destinations_are_remembered(lab: Pair) -> None:
    load(lab, NAMES)
    for _ in range(3):
        probe(lab, OTHER4, "udp", 4444)
    probe(lab, OTHER6, "tcp", 22)
    with entered(lab.box):
        notes = read_notes()
    assert notes.total("denied") == 4
    found = [(str(d.address), d.protocol, d.port, d.packets) for d in denials(notes)]
    assert sorted(found) == [(OTHER4, "udp", 4444, 3), (OTHER6, "tcp", 22, 1)]
    assert all(0 <= denial.last <= denial.first <= 5 for denial in denials(notes))
    assert not notes.used


def test_used_destinations_are_remembered(lab: Pair) -> None:
    load(lab, NAMES)
    for _ in range(2):
        probe(lab, NAME4, "udp", 443)
    probe(lab, NAME6, "tcp", 443)
    flow = send_udp(lab, NAME4, 443)
    for _ in range(5):
        try_to_send(flow)  # of the same flow
    with entered(lab.box):
        notes = read_notes()
    found = [(str(noted.address), noted.protocol, noted.port) for noted in notes.used]
    assert sorted(found) == [(NAME4, "udp", 443), (NAME6, "tcp", 443)]
    assert {noted.packets for noted in notes.used if noted.protocol == "tcp"} == {1}
    assert not notes.denied and not notes.total("denied")


def test_what_is_noted_goes_on_in_the_next_table(lab: Pair) -> None:
    load(lab, NAMES)
    for address, port in ((OTHER4, 4444), (OTHER6, 22), (NAME4, 443)):
        probe(lab, address, "udp", port)
    with entered(lab.box):
        before = read_notes()
        nft = Nft()
        again = NAMES._replace(generation=2)
        nft.load(render_nft(again, "test.2", before))
        nft.read_back(again, "test.2")
        after = read_notes()
    assert after.totals == before.totals and before.total("denied") == 2
    for kind in ("denied", "denied_since", "used"):
        was, now = getattr(before, kind), getattr(after, kind)
        assert [noted._replace(left=0) for noted in now] == [noted._replace(left=0) for noted in was] != []
        assert all(0 <= one.left - two.left <= 2 for one, two in zip(was, now))
    probe(lab, OTHER4, "udp", 4444)
    with entered(lab.box):
        assert {str(d.address): d.packets for d in denials(read_notes())} == {OTHER4: 2, OTHER6: 1}


def test_a_full_table_of_notes_changes_no_verdict(lab: Pair) -> None:
    load(lab, NAMES)
    with entered(lab.box), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        for number in range(NOTED_SIZE + 100):
            with contextlib.suppress(OSError):
                made.sendto(TOKEN, (f"203.0.{number // 250}.{number % 250 + 1}", 99))
        assert len(read_notes().denied) == len(read_notes().denied_since) == NOTED_SIZE
        assert read_notes().total("denied") == NOTED_SIZE + 100
    assert not probe(lab, OTHER4, "udp", 4444) and probe(lab, NAME4, "udp", 443)
    with entered(lab.box):
        notes = read_notes()
        Nft().load(render_nft(NAMES._replace(generation=2), "test.2", notes))  # in parts, if need be
        assert len(read_notes().denied) == NOTED_SIZE


def test_there_are_no_notes_without_a_table(lab: Pair) -> None:
    with entered(lab.box):
        assert read_notes() == Notes()


def test_quota_ends_what_leaves_and_survives_a_reload(lab: Pair) -> None:
    limited = NAMES._replace(egress_quota=5000)
    load(lab, limited)
    flow = send_udp(lab, NAME4, 443, b"x" * 1000)
    for _ in range(9):
        try_to_send(flow, b"x" * 1000)
    arrived = sum(len(frame.payload) for frame in lab.arrived())
    assert 3000 <= arrived <= 5000
    with entered(lab.box):
        notes = read_notes()
        assert notes.quota_used >= 5000
        Nft().load(render_nft(limited._replace(generation=2), "test.2", notes))
    assert not probe(lab, NAME4, "udp", 443)


def test_rate_is_policed(lab: Pair) -> None:
    load(lab, NAMES._replace(egress_rate=8000))  # a thousand bytes a second, and the burst
    flow = send_udp(lab, NAME4, 443, b"x" * 60000)
    for _ in range(19):
        try_to_send(flow, b"x" * 60000)
    assert 200_000 <= sum(len(frame.payload) for frame in lab.arrived()) <= 300_000


# Whose table it is, and whether it is whole.


def test_present_and_remove(lab: Pair) -> None:
    with entered(lab.box):
        nft = Nft()
        assert nft.present() is None
        nft.load("table inet rcc { chain output { type filter hook output priority 0; }; }\n")
        assert nft.present() == ""
        nft.load(render_nft(NAMES, "4026531840.1"))
        assert nft.present() == "4026531840.1"
        nft.remove()
        nft.remove()
        assert nft.present() is None
        with pytest.raises(KernelError, match="not in the kernel"):
            nft.read_back(NAMES, "4026531840.1")


TAMPERING = (
    "insert rule inet rcc output accept",
    "add rule inet rcc output accept",
    'insert rule inet rcc leaving accept comment "resolver 4"',
    "flush chain inet rcc leaving",
    "flush chain inet rcc refuse",
    "add chain inet rcc output { policy accept; }",
    "add chain inet rcc early { type filter hook output priority -300; }",
    "add set inet rcc more { type ipv4_addr; }",
    "add element inet rcc allowed4 { 198.51.100.9 . tcp . 443 }",
    "add element inet rcc allowed4 { 198.51.100.0/24 . tcp . 443 }",
    "add element inet rcc private6 { fd00::/8 . tcp . 443 }",
    "add element inet rcc former6 { 2001:db8::/32 . tcp . 443 }",
    "add element inet rcc internet { tcp . 1-65535 }",
    "add element inet rcc published { tcp . 22 }",
    "add element inet rcc resolvers4 { 9.9.9.9 }",
    "delete element inet rcc special4 { 10.0.0.0/8 }",
    "flush set inet rcc special6",
    "delete table inet rcc",
    "add table inet rcc { flags dormant; }",
)


@pytest.mark.parametrize("change", TAMPERING)
def test_read_back_sees_every_change(lab: Pair, change: str) -> None:
    load(lab, NAMES)
    with entered(lab.box):
        nft = Nft()
        nft.load(change + "\n")
        with pytest.raises(KernelError):
            nft.read_back(NAMES, "test.1")


@pytest.mark.parametrize(
    ("other", "ident"),
    [
        (NAMES, "test.2"),
        (NAMES._replace(generation=2), "test.1"),
        (NAMES._replace(on_denied="drop"), "test.1"),
        (NAMES._replace(egress_quota=10**9), "test.1"),
        (NAMES._replace(egress_rate=10**6), "test.1"),
        (NAMES._replace(internet=EVERY_PORT), "test.1"),
        (NAMES._replace(published=PUBLISHED), "test.1"),
        (NAMES._replace(resolvers=(ip_address(WORLD4),)), "test.1"),
        (NAMES._replace(special=NAMES.special[1:]), "test.1"),
    ],
)
def test_read_back_tells_rulesets_apart(lab: Pair, other: Ruleset, ident: str) -> None:
    load(lab, NAMES)
    with entered(lab.box), pytest.raises(KernelError):
        Nft().read_back(other, ident)


def test_a_text_that_fails_changes_nothing(lab: Pair) -> None:
    load(lab, NAMES)
    with entered(lab.box):
        nft = Nft()
        with pytest.raises(KernelError):
            nft.load(render_nft(NAMES._replace(generation=9), "test.9") + "\nadd rule inet rcc nowhere accept\n")
        nft.read_back(NAMES, "test.1")


def test_thousands_of_addresses_load(lab: Pair) -> None:
    """More than one netlink message of a rootless caller holds; under `unshare -rn` this takes the parts."""
    addresses: Iterable[str] = (f"2001:db8:{number:x}::1" for number in range(3000))
    many = BASE._replace(allowed=tuple(element(address) for address in addresses))
    load(lab, many)
    assert probe(lab, "2001:db8:bb7::1", "tcp", 443) and not probe(lab, "2001:db8:bb8::1", "tcp", 443)
