"""What holds for every policy, answer and packet."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from rcc.core.compile import Facts, compile_ruleset
from rcc.core.elements import disjoint
from rcc.core.openings import cut, port_atoms
from rcc.core.policy import CidrRule, EgressRule, HostRule, InternetRule, Policy, Ports, Where, merge_ports
from rcc.core.render_nft import render_nft
from rcc.core.ruleset import Element, Packet, evaluate
from rcc.core.special import is_special, never_by_name

HERE = Where()
EDGES = ("10.0.0.1", "127.0.0.1", "169.254.169.254", "192.168.0.1", "198.51.100.7", "198.51.100.8", "8.8.8.8", "::1",
         "fd00:ec2::254", "fd12::3", "2001:db8::7", "2600::1", "64:ff9b::a00:1", "fe80::1")  # fmt: skip
addresses = st.one_of(
    st.sampled_from([ip_address(text) for text in EDGES]),
    st.integers(0, 2**32 - 1).map(IPv4Address),
    st.integers(0, 2**128 - 1).map(IPv6Address),
)
numbers = st.one_of(st.sampled_from([1, 53, 443, 853, 8000, 65535]), st.integers(1, 65535))
spans = st.builds(
    lambda protocol, one, other: Ports(protocol, min(one, other), max(one, other)),
    st.sampled_from(["tcp", "udp"]),
    numbers,
    numbers,
)
ports = st.lists(spans, min_size=1, max_size=3).map(tuple)
names = st.sampled_from(["a.example", "b.example", "c.example"])
hosts = st.builds(HostRule, names, st.booleans(), ports, st.booleans(), st.just(HERE))
PUBLIC = ("198.51.100.0/24", "8.0.0.0/6", "2001:db8::/32", "2600::/12")
networks = st.sampled_from([ip_network(text) for text in PUBLIC])
cidrs = st.builds(CidrRule, networks, ports, st.just(False), st.just(HERE))
rules = st.one_of(hosts, cidrs, st.builds(InternetRule, ports, st.just(HERE)))
policies = st.builds(
    lambda egress, ingress, mode: Policy("law", egress=tuple(egress), ingress=ingress, dns_mode=mode),
    st.lists(rules, max_size=5),
    st.sampled_from(["none", "published"]),
    st.sampled_from(["gateway", "static"]),
)
answers = st.lists(
    st.tuples(names, st.lists(st.tuples(addresses, st.integers(0, 10**6)), max_size=4).map(tuple)), max_size=4
).map(tuple)
facts = st.builds(
    Facts,
    answers=answers,
    former=answers,
    host_addresses=st.lists(addresses, max_size=2).map(tuple),
    resolvers=st.just(()),
    published=st.lists(spans, max_size=2).map(tuple),
)
packets = st.builds(
    lambda direction, remote, protocol, port, own, state, mark, reply, options: Packet(
        direction,
        *((ip_address("192.0.2.2"), remote) if direction == "out" else (remote, ip_address("192.0.2.2"))),
        protocol,
        *((own, port) if direction == "out" else (port, own)),
        state=state,
        mark=mark,
        reply=reply and state == "established",
        options=options,
    ),
    st.sampled_from(["out", "in"]),
    addresses,
    st.sampled_from(["tcp", "udp", "icmp", "sctp"]),
    numbers,
    numbers,
    st.sampled_from(["new", "established", "related", "invalid"]),
    st.sampled_from([0, 0x72630001, 0x72630002]),
    st.booleans(),
    st.booleans(),
)


def order_free(value: Any) -> Any:
    return tuple(sorted(value, key=repr, reverse=True))


@given(policies, facts)
def test_equal_policies_are_equal_texts(policy: Policy, known: Facts) -> None:
    one = compile_ruleset(policy, known, 1)
    other_policy = policy._replace(egress=order_free(policy.egress))
    other_facts = known._replace(answers=order_free(known.answers), host_addresses=order_free(known.host_addresses))
    other = compile_ruleset(other_policy, other_facts, 1)
    assert one == other and render_nft(one, "x") == render_nft(other, "x")


@given(policies, facts, packets)
def test_special_and_own_addresses_open_only_to_private_names(policy: Policy, known: Facts, packet: Packet) -> None:
    remote = packet.destination
    verdict = evaluate(compile_ruleset(policy, known, 1), packet._replace(direction="out", state="new", mark=0))
    if verdict.action != "accept":
        return
    if is_special(remote) or remote in known.host_addresses:
        named = {name for name, found in known.answers if any(address == remote for address, _ in found)}
        assert any(isinstance(rule, HostRule) and rule.private and rule.name in named for rule in policy.egress)
        assert not never_by_name(remote)
    assert packet.destination_port not in (53, 853) and packet.protocol in ("tcp", "udp")


@given(policies, facts, packets, rules)
def test_a_rule_more_never_closes(policy: Policy, known: Facts, packet: Packet, rule: EgressRule) -> None:
    more = policy._replace(egress=(*policy.egress, rule))
    before = evaluate(compile_ruleset(policy, known, 1), packet)
    after = evaluate(compile_ruleset(more, known, 1), packet)
    assert before.action != "accept" or after.action == "accept"


@given(policies, facts, packets)
def test_the_empty_policy_opens_nothing(policy: Policy, known: Facts, packet: Packet) -> None:
    empty = compile_ruleset(policy._replace(egress=(), ingress="none"), known, 3)
    assert evaluate(empty, packet).action != "accept"


@given(policies, facts, packets)
def test_options_never_pass(policy: Policy, known: Facts, packet: Packet) -> None:
    assert evaluate(compile_ruleset(policy, known, 1), packet._replace(options=True)).action == "drop"


elements = st.lists(
    st.one_of(
        st.builds(Element, st.sampled_from([ip_network(a) for a in ("8.8.8.8", "8.8.4.4", "2600::1")]), spans,
                  st.none()),
        st.builds(Element, st.sampled_from([ip_network(a) for a in ("8.0.0.0/6", "8.8.0.0/16", "2600::/12")]), spans,
                  st.none()),
    ),
    max_size=8,
)  # fmt: skip


@given(elements)
def test_disjoint_elements_admit_the_same(given_elements: "list[Element]") -> None:
    found = disjoint(given_elements)
    assert disjoint(found) == found
    for index, one in enumerate(found):
        for other in found[index + 1 :]:
            apart = one.ports.protocol != other.ports.protocol or one.network.version != other.network.version
            apart = apart or not one.network.overlaps(other.network)  # type: ignore[arg-type]
            assert apart or one.ports.high < other.ports.low or other.ports.high < one.ports.low
    edges = {edge for e in given_elements for edge in (e.ports.low - 1, e.ports.low, e.ports.high, e.ports.high + 1)}
    for address in map(ip_address, ("8.8.8.8", "8.8.4.4", "8.8.1.1", "8.1.1.1", "2600::1", "2600::2")):
        for protocol in ("tcp", "udp"):
            for port in edges:
                assert admits(found, address, protocol, port) == admits(given_elements, address, protocol, port)


def admits(among: Any, address: Any, protocol: str, port: int) -> bool:
    return any(
        e.ports.protocol == protocol and e.ports.low <= port <= e.ports.high and address in e.network for e in among
    )


@given(st.lists(st.builds(HostRule, names, st.booleans(), ports, st.booleans(), st.just(HERE)), max_size=6))
def test_timed_elements_are_equal_or_apart(given_rules: "list[HostRule]") -> None:
    atoms = port_atoms(Policy("law", egress=tuple(given_rules)))
    for index, one in enumerate(atoms):
        for other in atoms[index + 1 :]:
            assert one.protocol != other.protocol or one.high < other.low or other.high < one.low
    for rule in given_rules:
        assert merge_ports(cut(rule.ports, atoms)) == merge_ports(rule.ports)
