"""``evaluate`` against the kernel: the same verdicts for random rulesets and packets, from fixed seeds."""

import contextlib
import random
import socket
from ipaddress import ip_address, ip_network
from typing import List, Optional, Tuple

import pytest
from pair import Pair, box_address, entered, family_of
from rcc.core.compile import Facts, compile_ruleset
from rcc.core.elements import apart, disjoint
from rcc.core.policy import EVERY_PORT, Policy, Ports, merge_ports
from rcc.core.render_nft import render_nft
from rcc.core.ruleset import Element, Packet, Ruleset, evaluate
from rcc.system.nft import Nft

pytestmark = pytest.mark.netns

ROUNDS = 60
IP_FREEBIND = 15  # <linux/in.h>
REMOTES = (
    "198.51.100.7", "198.51.100.8", "203.0.113.200", "8.8.4.4", "10.1.2.3", "192.168.5.5", "169.254.169.254",
    "100.64.1.1", "2001:db8::7", "2001:db8::8", "2600::1", "fd12::3", "fd00:ec2::254",
    "64:ff9b::a00:1", "2002:a01:203::1",
)  # fmt: skip
NETWORKS = ("198.51.100.0/24", "203.0.113.128/25", "10.0.0.0/8", "8.0.0.0/6", "2001:db8::/32", "fd00::/8", "2600::/12")
PORTS = (53, 443, 853, 8000, 8005, 9000)
SPANS = (Ports("tcp", 443, 443), Ports("udp", 443, 443), Ports("tcp", 8000, 8004), Ports("udp", 8000, 9000),
         Ports("tcp", 1, 1000), Ports("udp", 53, 53), Ports("tcp", 853, 853), Ports("tcp", 8005, 8005))  # fmt: skip
ATOMS = SPANS[:4]  # apart from each other, as the spans of timed elements are
SPECIAL = compile_ruleset(Policy("test"), Facts(host_addresses=(ip_address("203.0.113.200"),)), 1).special


def random_elements(draw: random.Random, most: int) -> Tuple[Element, ...]:
    found: List[Element] = []
    for _ in range(draw.randint(0, most)):
        ports = draw.choice(SPANS)
        if draw.random() < 0.6:
            lifetime = draw.choice((None, 300, 900)) if ports in ATOMS else None
            found.append(Element(ip_network(draw.choice(REMOTES)), ports, lifetime))
        else:
            found.append(Element(ip_network(draw.choice(NETWORKS)), ports))
    return apart(found)


def random_ruleset(draw: random.Random, generation: int) -> Ruleset:
    return Ruleset(
        generation=generation,
        private=random_elements(draw, 3),
        special=SPECIAL,
        allowed=random_elements(draw, 6),
        former=disjoint(e._replace(lifetime=None) for e in random_elements(draw, 1)),
        internet=draw.choice(((), (), EVERY_PORT, (Ports("tcp", 443, 443), Ports("udp", 8000, 8005)))),
        resolvers=tuple(sorted(map(ip_address, draw.sample(REMOTES[:8], draw.randint(0, 2))))),
        published=merge_ports(draw.sample(SPANS, draw.randint(0, 3))),
        on_denied=draw.choice(("reject", "drop")),
    )


class Kernel:
    """The box under one ruleset after another; each method sends one packet and says whether it passed."""

    def __init__(self, lab: Pair) -> None:
        self.lab = lab
        self.count = 0

    def load(self, ruleset: Ruleset) -> None:
        with entered(self.lab.box):
            nft = Nft()
            nft.load(render_nft(ruleset, f"test.{ruleset.generation}"))
            nft.read_back(ruleset, f"test.{ruleset.generation}")

    def bound(self, side: int, address: str, port: int) -> socket.socket:
        made = self.lab.open_socket(side, family_of(address), socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        made.bind((address, port))
        made.setblocking(False)
        return made

    def leaves(self, by: socket.socket, address: str, port: int) -> bool:
        self.count += 1
        token = f"packet {self.count}.".encode()
        list(self.lab.arrived())
        with contextlib.suppress(OSError):
            by.sendto(token, (address, port))
        return any(token in frame.payload for frame in self.lab.arrived())

    def syn_leaves(self, address: str, port: int) -> bool:
        list(self.lab.arrived())
        made = self.lab.open_socket(self.lab.box, family_of(address), socket.SOCK_STREAM)
        made.setblocking(False)
        made.connect_ex((address, port))
        wanted = (address, port, "tcp")
        return any((f.destination, f.destination_port, f.protocol) == wanted for f in self.lab.arrived())

    def enters(self, by: socket.socket, into: socket.socket, address: str, port: int) -> bool:
        self.count += 1
        token = f"packet {self.count}.".encode()
        by.sendto(token, (address, port))
        self.lab.settle()
        with contextlib.suppress(OSError):
            while True:
                if into.recv(2048) == token:
                    return True
        return False


def agree(ruleset: Ruleset, packet: Packet, passed: bool) -> None:
    verdict = evaluate(ruleset, packet)
    assert (verdict.action == "accept") is passed, f"{verdict} for {packet}, the kernel: {passed}, under {ruleset}"


def packet(
    direction: str, remote: str, remote_port: int, own_port: int, protocol: str = "udp", **rest: object
) -> Packet:
    ends = (ip_address(box_address(remote)), own_port), (ip_address(remote), remote_port)
    (source, source_port), (destination, port) = ends if direction == "out" else ends[::-1]
    return Packet(direction, source, destination, protocol, source_port, port, **rest)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_new_flows(lab: Pair, seed: int) -> None:
    draw, kernel = random.Random(seed), Kernel(lab)
    ruleset = random_ruleset(draw, draw.randint(1, 0xFFFF))
    kernel.load(ruleset)
    for _ in range(6):
        remote, port, own = draw.choice(REMOTES), draw.choice(PORTS), draw.choice((443, 8003, 30000))
        own += draw.randint(0, 1)
        udp = kernel.bound(lab.box, box_address(remote), own)
        agree(ruleset, packet("out", remote, port, own), kernel.leaves(udp, remote, port))
        agree(ruleset, packet("out", remote, port, 0, "tcp"), kernel.syn_leaves(remote, port))
        udp.close()
        own = draw.choice((443, 53, 8003, 9000, 9001))
        inside = kernel.bound(lab.box, box_address(remote), own)
        outside = kernel.bound(lab.world, remote, draw.randint(20000, 60000))
        passed = kernel.enters(outside, inside, box_address(remote), own)
        agree(ruleset, packet("in", remote, outside.getsockname()[1], own), passed)
        inside.close()


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_flows_after_a_reload(lab: Pair, seed: int) -> None:
    """A flow of either side, admitted under one ruleset, whose next packet comes under another."""
    draw, kernel = random.Random(1000 + seed), Kernel(lab)
    before = random_ruleset(draw, 2 * seed + 1)
    after = random_ruleset(draw, 2 * seed + draw.randint(1, 2))  # sometimes the same generation: no reload
    if after.generation == before.generation:
        after = before
    for number in range(4):
        flow = open_flow(draw, kernel, before, 40000 + number)
        if flow is None:
            continue
        inside, outside, remote, by_container = flow
        own, port = inside.getsockname()[1], outside.getsockname()[1]
        kernel.load(after)
        known = {"state": "established", "mark": before.mark}
        if draw.random() < 0.5:
            sent = packet("out", remote, port, own, reply=not by_container, **known)
            agree(after, sent, kernel.leaves(inside, remote, port))
        else:
            sent = packet("in", remote, port, own, reply=by_container, **known)
            agree(after, sent, kernel.enters(outside, inside, box_address(remote), own))


def open_flow(
    draw: random.Random, kernel: Kernel, ruleset: Ruleset, free_port: int
) -> "Optional[Tuple[socket.socket, socket.socket, str, bool]]":
    """A UDP flow that ``ruleset`` admits, with an answer seen; None when none was found."""
    kernel.load(ruleset)
    for _ in range(40):
        remote, by_container = draw.choice(REMOTES), draw.random() < 0.6
        own, port = (free_port, draw.choice(PORTS)) if by_container else (draw.choice(PORTS), free_port)
        sent = packet("out" if by_container else "in", remote, port, own)
        if evaluate(ruleset, sent).action != "accept":
            continue
        inside = kernel.bound(kernel.lab.box, box_address(remote), own)
        outside = kernel.bound(kernel.lab.world, remote, port)
        if by_container:
            assert kernel.leaves(inside, remote, port)
            assert kernel.enters(outside, inside, box_address(remote), own)
        else:
            assert kernel.enters(outside, inside, box_address(remote), own)
            assert kernel.leaves(inside, remote, port)
        return inside, outside, remote, by_container
    return None
