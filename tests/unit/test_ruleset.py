"""``evaluate`` rule by rule; that the kernel does the same is shown in tests/netns."""

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from rcc.core.policy import EVERY_PORT, HTTPS, Ports
from rcc.core.ruleset import MARK_BASE, Element, Packet, Ruleset, Verdict, evaluate

OWN, NAME, OTHER = ip_address("10.77.0.2"), ip_address("198.51.100.7"), ip_address("198.51.100.8")
RULES = Ruleset(
    generation=5,
    allowed=(Element(ip_network("198.51.100.7"), HTTPS, 300),),
    former=(Element(ip_network("198.51.100.9"), HTTPS),),
    private=(Element(ip_network("10.1.2.3"), HTTPS),),
    special=(ip_network("10.0.0.0/8"),),
    resolvers=(ip_address("10.77.0.1"),),
    published=(Ports("tcp", 8080, 8081),),
)
REFUSED, UNASKED = Verdict("reject", "denied"), Verdict("drop", "unasked")


def out(to: Any, port: int = 443, protocol: str = "tcp", **rest: Any) -> Verdict:
    return evaluate(RULES, Packet("out", OWN, ip_address(str(to)), protocol, rest.pop("own", 40000), port, **rest))


def into(by: Any, port: int = 443, protocol: str = "tcp", own: int = 40000, **rest: Any) -> Verdict:
    return evaluate(RULES, Packet("in", ip_address(str(by)), OWN, protocol, port, own, **rest))


def test_new_flows_from_inside() -> None:
    assert out(NAME) == Verdict("accept", "allowed")
    assert out("10.1.2.3") == Verdict("accept", "private")
    assert out("10.77.0.1", 53, "udp") == out("10.77.0.1", 53, "tcp") == Verdict("accept", "resolver")
    assert {out(NAME, port) for port in (80, 53, 853)} == {REFUSED}
    assert {out(NAME, 443, protocol) for protocol in ("udp", "sctp", "icmp")} == {REFUSED}
    assert {out(address) for address in (OTHER, "10.1.2.4", "10.77.0.1", "198.51.100.9")} == {REFUSED}
    assert evaluate(RULES._replace(on_denied="drop"), Packet("out", OWN, OTHER, "tcp", 1, 443)).action == "drop"


def test_dns_ports_are_closed_even_where_all_is_open() -> None:
    rules = RULES._replace(internet=EVERY_PORT, allowed=(Element(ip_network("198.51.100.7"), Ports("tcp", 53, 853)),))
    for port, action in ((53, "reject"), (853, "reject"), (54, "accept")):
        assert evaluate(rules, Packet("out", OWN, NAME, "tcp", 1, port)).action == action


def test_new_flows_from_outside() -> None:
    assert into(OTHER, own=8080) == into("10.9.9.9", own=8081) == Verdict("accept", "published")
    assert into(OTHER, own=8082) == into(OTHER, own=8080, protocol="udp") == UNASKED
    assert into(NAME) == into(NAME, 443, "icmp") == UNASKED


@pytest.mark.parametrize("mark", [0, MARK_BASE | 4, MARK_BASE | 6, 5, 0xFFFFFFFF])
def test_flows_of_other_generations_are_judged_again(mark: int) -> None:
    old = {"state": "established", "mark": mark}
    assert out(NAME, **old).action == into(NAME, reply=True, **old).action == "accept"
    assert out("198.51.100.9", **old).rule == into("198.51.100.9", reply=True, **old).rule == "former"
    assert out(OTHER, **old) == REFUSED
    assert into(OTHER, reply=True, **old) == UNASKED
    # Flows that came in: by the container's port, whoever is on the other side.
    assert into(OTHER, own=8080, **old).action == out(OTHER, own=8080, reply=True, **old).action == "accept"
    assert into(NAME, own=8082, **old) == UNASKED
    assert out(NAME, own=8082, reply=True, **old) == REFUSED


def test_flows_of_this_generation_pass_both_ways_whatever_their_address() -> None:
    known = {"state": "established", "mark": RULES.mark}
    for reply in (False, True):
        verdicts = {out(OTHER, 22, reply=reply, **known), into(OTHER, 22, reply=reply, **known)}
        assert verdicts == {Verdict("accept", "admitted before")}
    assert out(OTHER, 22, mark=RULES.mark) == REFUSED  # a mark without the state is no flow


def test_invalid_and_related_packets() -> None:
    assert out(NAME, state="invalid").action == into(NAME, own=8080, state="invalid").action == "drop"
    assert into(OTHER, 0, "icmp", state="related", mark=RULES.mark).action == "accept"
    assert into(OTHER, 0, "icmp", state="related", mark=RULES.mark - 1) == UNASKED
    assert into(OTHER, 21, "tcp", state="related", mark=RULES.mark) == UNASKED  # what a helper expects


@pytest.mark.parametrize(("address", "rule"), [("198.51.100.7", "options"), ("2001:db8::7", "routing header")])
def test_source_routes_never_pass(address: str, rule: str) -> None:
    for state in ("new", "established"):
        assert out(address, options=True, state=state, mark=RULES.mark) == Verdict("drop", rule)


def test_neighbour_discovery_only_from_the_link() -> None:
    for kind, leaves, enters in ((133, True, False), (134, False, True), (135, True, True), (136, True, True),
                                 (137, False, False), (128, False, False), (129, False, False)):  # fmt: skip
        packet = Packet("out", ip_address("fe80::2"), ip_address("ff02::1"), "icmpv6", icmp_type=kind, hop_limit=255)
        assert (evaluate(RULES, packet).action == "accept") is leaves
        assert (evaluate(RULES, packet._replace(direction="in")).action == "accept") is enters
        assert evaluate(RULES, packet._replace(hop_limit=254)).action != "accept"
    listener = Packet("out", ip_address("fe80::2"), ip_address("ff02::16"), "icmpv6", icmp_type=143, hop_limit=1)
    assert evaluate(RULES, listener) == Verdict("drop", "listeners")


def test_loopback_and_forwarding() -> None:
    assert out("127.0.0.1", 1, loopback=True) == into("127.0.0.1", 1, loopback=True) == Verdict("accept", "loopback")
    assert evaluate(RULES, Packet("forward", OWN, NAME, "tcp", 1, 443)) == Verdict("drop", "policy")
