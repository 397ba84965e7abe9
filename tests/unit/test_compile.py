from ipaddress import ip_address, ip_network
from typing import Any, Iterable, Tuple

import pytest
from rcc.core.compile import LONGEST, SHORTEST, Facts, compile_ruleset, lifetime_of
from rcc.core.elements import apart, disjoint
from rcc.core.policy import (
    EVERY_PORT,
    HTTPS,
    CidrRule,
    EgressRule,
    HostRule,
    InternetRule,
    Limits,
    PeersRule,
    Policy,
    Ports,
    Where,
    merge_ports,
)
from rcc.core.ruleset import Element, Packet, Ruleset, evaluate

HERE = Where("p.yaml", 3, 5)
PUBLIC, PUBLIC6, PRIVATE, OTHER = "198.51.100.7", "2001:db8::7", "10.1.2.3", "198.51.100.8"


def host(name: str, *ports: Ports, private: bool = False, wildcard: bool = False) -> HostRule:
    return HostRule(name, wildcard, ports or (HTTPS,), private, HERE)


def answers(**names: Iterable[str]) -> Tuple[Any, ...]:
    return tuple((f"{name}.example", tuple((ip_address(a), 60) for a in found)) for name, found in names.items())


def compiled(*egress: EgressRule, **facts: Any) -> Ruleset:
    return compile_ruleset(Policy("test", egress=egress), Facts(**facts), 1)


def opens(ruleset: Ruleset, address: str, port: int = 443, protocol: str = "tcp") -> bool:
    remote = ip_address(address)
    packet = Packet("out", ip_address("::" if remote.version == 6 else "0.0.0.0"), remote, protocol, 1, port)
    return evaluate(ruleset, packet).action == "accept"


def test_an_empty_policy_opens_nothing() -> None:
    ruleset = compiled(answers=answers(a=[PUBLIC]))
    assert (ruleset.private, ruleset.allowed, ruleset.internet, ruleset.published) == ((), (), (), ())
    assert not opens(ruleset, PUBLIC)


def test_a_name_opens_what_it_stands_for() -> None:
    ruleset = compiled(host("a.example"), answers=answers(a=[PUBLIC, PUBLIC6], b=["198.51.100.8"]))
    assert opens(ruleset, PUBLIC) and opens(ruleset, PUBLIC6)
    assert not opens(ruleset, PUBLIC, 80) and not opens(ruleset, PUBLIC, 443, "udp") and not opens(ruleset, OTHER)


@pytest.mark.parametrize("address", [PRIVATE, "fd12::3", "169.254.169.254", "127.0.0.1", "::ffff:a00:1"])
def test_a_name_that_answers_with_a_special_address_opens_nothing(address: str) -> None:
    ruleset = compiled(host("a.example"), InternetRule((), HERE), answers=answers(a=[address, PUBLIC]))
    assert not opens(ruleset, address) and opens(ruleset, PUBLIC)


def test_private_names_open_private_addresses_but_no_control_planes() -> None:
    never = ["169.254.169.254", "127.0.0.1", "224.0.0.1", "fe80::1", "fd00:ec2::254", "100.100.100.200"]
    rule = host("a.example", private=True)
    ruleset = compiled(rule, answers=answers(a=[PRIVATE, "fd12::3", PUBLIC, *never]))
    assert opens(ruleset, PRIVATE) and opens(ruleset, "fd12::3") and opens(ruleset, PUBLIC)
    assert not any(opens(ruleset, address) for address in never)


def test_the_hosts_own_public_address_is_special() -> None:
    facts = {"host_addresses": (ip_address(PUBLIC), ip_address(PUBLIC6)), "answers": answers(a=[PUBLIC, PUBLIC6])}
    for closed in (compiled(host("a.example"), InternetRule((), HERE), **facts),
                   compiled(CidrRule(ip_network("198.51.100.0/24"), (HTTPS,), False, HERE), **facts)):  # fmt: skip
        assert not opens(closed, PUBLIC) and not opens(closed, PUBLIC6)
    opened = compiled(host("a.example", private=True), **facts)
    assert opens(opened, PUBLIC) and opens(opened, PUBLIC6)


def test_wildcards_and_peers_open_nothing_here() -> None:
    ruleset = compiled(host("example", wildcard=True), PeersRule((HTTPS,), HERE), answers=(("example", ()),))
    assert ruleset.allowed == ruleset.private == ()


def test_a_literal_network_opens_special_ranges_only_with_private() -> None:
    assert opens(compiled(CidrRule(ip_network("169.254.169.254/32"), (HTTPS,), True, HERE)), "169.254.169.254")
    assert not opens(compiled(CidrRule(ip_network("169.254.169.254/32"), (HTTPS,), False, HERE)), "169.254.169.254")


def test_internet_without_ports_is_every_port_but_those_of_dns() -> None:
    ruleset = compiled(InternetRule((), HERE))
    assert ruleset.internet == EVERY_PORT
    assert opens(ruleset, PUBLIC, 65535, "udp") and opens(ruleset, PUBLIC6, 1)
    assert not opens(ruleset, PUBLIC, 53, "udp") and not opens(ruleset, PUBLIC, 853) and not opens(ruleset, PRIVATE)


def test_the_host_by_its_name_and_port() -> None:
    """Lines of the container's hosts file count only for the host's names and only with the host's addresses."""
    own = (ip_address("192.168.7.7"),)
    rule = host("host.containers.internal", Ports("tcp", 11434, 11434), private=True)
    for address, known in (("192.168.7.7", True), ("10.0.2.2", True), ("169.254.1.2", True), ("192.168.7.8", False),
                           ("169.254.169.254", False), ("198.51.100.7", False), ("127.0.0.1", False)):  # fmt: skip
        lines = (("host.containers.internal", ip_address(address)), ("a.example", ip_address("192.168.7.7")))
        ruleset = compiled(rule, host("a.example", private=True), host_addresses=own, hosts_file=lines)
        assert opens(ruleset, address, 11434) is known, address
        assert not opens(ruleset, "192.168.7.7")
    assert not opens(
        compiled(rule._replace(private=False), hosts_file=(("host.containers.internal", own[0]),), host_addresses=own),
        "192.168.7.7",
        11434,
    )


def test_former_addresses_keep_flows_and_open_none() -> None:
    ruleset = compiled(host("a.example"), former=answers(a=[PUBLIC, PRIVATE], gone=["198.51.100.9"]))
    assert [str(element.network) for element in ruleset.former] == [f"{PUBLIC}/32"]
    assert not opens(ruleset, PUBLIC)
    old = Packet("out", ip_address("10.0.2.100"), ip_address(PUBLIC), "tcp", 1, 443, state="established")
    assert evaluate(ruleset, old).rule == "former"


@pytest.mark.parametrize(
    ("ttl", "refresh", "seconds"),
    [(0, 1, SHORTEST), (30, 300, 750), (900, 300, 900), (86400, 300, LONGEST), (5, 3600, 9000)],
)
def test_lifetimes_outlive_two_refreshes_and_end(ttl: int, refresh: int, seconds: int) -> None:
    assert lifetime_of(ttl, refresh) == seconds


def test_published_ports_need_ingress() -> None:
    facts = Facts(published=(Ports("tcp", 80, 80),))
    assert compile_ruleset(Policy("test"), facts, 1).published == ()
    assert compile_ruleset(Policy("test", ingress="published"), facts, 1).published == facts.published


def test_limits_and_refusal_are_taken_over() -> None:
    policy = Policy("test", limits=Limits(egress_rate=8, egress_quota=9), on_denied="drop", dns_mode="static")
    ruleset = compile_ruleset(policy, Facts(resolvers=(ip_address("10.0.0.2"), ip_address("10.0.0.1"))), 77)
    assert (ruleset.egress_rate, ruleset.egress_quota, ruleset.on_denied) == (8, 9, "drop")
    assert ruleset.generation == 77 and ruleset.mark == 0x7263004D
    assert [str(address) for address in ruleset.resolvers] == ["10.0.0.1", "10.0.0.2"]


def test_the_order_of_rules_and_answers_does_not_matter() -> None:
    rules = [host("a.example"), host("b.example", Ports("udp", 1, 9)), InternetRule((HTTPS,), HERE)]
    known = answers(a=[PUBLIC, PUBLIC6], b=["198.51.100.8"])
    one = compiled(*rules, answers=known)
    assert one == compiled(*rules[::-1], answers=known[::-1]) == compiled(*rules, *rules, answers=known + known)


def element(network: str, low: int, high: int, lifetime: Any = None, protocol: str = "tcp") -> Element:
    return Element(ip_network(network), Ports(protocol, low, high), lifetime)


def test_elements_that_overlap_are_cut() -> None:
    assert disjoint([element("203.0.113.5", 8050, 8200), element("203.0.113.0/24", 8000, 8100)]) == (
        element("203.0.113.0/24", 8000, 8100),
        element("203.0.113.5", 8101, 8200),
    )
    assert disjoint([element("203.0.113.5", 1, 10), element("203.0.113.5", 5, 20)]) == (element("203.0.113.5", 1, 20),)
    assert disjoint([element("203.0.113.5", 80, 80), element("203.0.113.5", 81, 81)]) == (
        element("203.0.113.5", 80, 80),
        element("203.0.113.5", 81, 81),
    )


def test_what_lasts_and_what_runs_out_are_kept_apart() -> None:
    assert apart([element("203.0.113.5", 80, 80, 60), element("203.0.113.5", 80, 80)]) == (
        element("203.0.113.5", 80, 80),
        element("203.0.113.5", 80, 80, 60),
    )
    assert apart([element("203.0.113.5", 80, 80, 60), element("203.0.113.5", 80, 80, 90)]) == (
        element("203.0.113.5", 80, 80, 90),
    )


def test_ports_merge() -> None:
    spans = [Ports("udp", 1, 5), Ports("tcp", 6, 9), Ports("tcp", 1, 5), Ports("tcp", 3, 4), Ports("tcp", 11, 11)]
    assert merge_ports(spans) == (Ports("tcp", 1, 9), Ports("tcp", 11, 11), Ports("udp", 1, 5))
