"""What must hold for any policy: no merge opens a lock, comparing agrees with asking, text and data lose nothing."""

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import List, Optional, Tuple

from hypothesis import given, settings
from hypothesis import strategies as st
from rcc.core.errors import ConfigError, RccError
from rcc.core.explain import Target, explain, parse_target
from rcc.core.hostname import canonical_name, parse_host
from rcc.core.layers import merge_profile, resolve_profile
from rcc.core.policy import (
    CidrRule,
    EgressRule,
    HostRule,
    ImageRules,
    InternetRule,
    Limits,
    Network,
    PeersRule,
    Policy,
    Ports,
    Where,
    merge_ports,
)
from rcc.core.policy_json import policy_from_data, policy_to_data
from rcc.core.policy_yaml import parse_layer, read_layer
from rcc.core.render_policy import render_policy
from rcc.core.settings_yaml import read_settings
from rcc.core.sources import PRESET, PROFILE, SETTINGS, Source
from rcc.core.special import touches_special
from rcc.core.within import find_wider, is_within, strictest

# Few names, networks and ports, so that they often meet.
NAMES = ("example.com", "api.example.com", "a.api.example.com", "example.org")
NETWORKS = ("203.0.113.0/24", "203.0.113.0/25", "203.0.113.128/25", "203.0.113.7/32", "198.51.100.0/24", "10.0.0.0/8",
            "10.1.0.0/16", "2001:db8::/32", "2001:db8:1::/48", "fd00::/8")  # fmt: skip
PORTS = (1, 22, 80, 443, 444, 8080, 65535)
ADDRESSES = ("203.0.113.7", "203.0.113.200", "198.51.100.1", "10.1.2.3", "10.2.3.4", "192.168.1.1", "2001:db8:1::5",
             "2001:db8:2::5", "fd00::1", "8.8.8.8")  # fmt: skip
TARGETS = tuple(
    Target(name, network, Ports(protocol, port, port))
    for name, network in (
        *((name, None) for name in (*NAMES, "b.api.example.com")),
        *(("", ip_network(address)) for address in ADDRESSES),
    )
    for protocol in ("tcp", "udp")
    for port in PORTS
)


@st.composite
def spans(draw: st.DrawFn) -> Ports:
    low, high = sorted((draw(st.sampled_from(PORTS)), draw(st.sampled_from(PORTS))))
    return Ports(draw(st.sampled_from(("tcp", "udp"))), low, high)


some_ports = st.lists(spans(), min_size=1, max_size=3, unique=True).map(tuple)


@st.composite
def cidr_rules(draw: st.DrawFn) -> CidrRule:
    network = ip_network(draw(st.sampled_from(NETWORKS)))
    return CidrRule(network, draw(some_ports), touches_special(network) or draw(st.booleans()), Where())


rules: "st.SearchStrategy[EgressRule]" = st.one_of(
    st.builds(HostRule, st.sampled_from(NAMES), st.booleans(), some_ports, st.booleans(), st.just(Where())),
    cidr_rules(),
    st.builds(PeersRule, some_ports, st.just(Where())),
    st.builds(InternetRule, st.one_of(st.just(()), some_ports), st.just(Where())),
)
limits = st.builds(
    Limits,
    memory=st.none() | st.integers(6 << 20, 1 << 40),
    cpus=st.none() | st.integers(10, 10000).map(lambda number: number / 1000),
    pids=st.none() | st.integers(1, 1 << 22),
    nofile=st.none() | st.integers(16, 1 << 20),
    egress_rate=st.none() | st.integers(8000, 10**10),
    egress_quota=st.none() | st.integers(1, 1 << 50),
)
PATTERNS = ("*", "ghcr.io/*", "ghcr.io/acme/*", "ghcr.io/acme/tool", "ghcr.io/acme/t?ol", "docker.io/library/debian")
images = st.builds(ImageRules, st.lists(st.sampled_from(PATTERNS), max_size=3, unique=True).map(tuple), st.booleans())
enforcing = st.builds(
    Policy,
    name=st.just("p"),
    egress=st.lists(rules, max_size=4).map(tuple),
    ingress=st.sampled_from(("none", "published")),
    dns_mode=st.sampled_from(("gateway", "static")),
    dns_refresh=st.integers(10, 86400),
    limits=limits,
    image=images,
    on_denied=st.sampled_from(("reject", "drop")),
    mode=st.just("enforce"),
    origins=st.just(()),
    files=st.just(()),
)


def learning(policy: Policy) -> Policy:
    """The same in the mode learn, as core/layers.py makes it."""
    rules = [rule for rule in policy.egress if not isinstance(rule, InternetRule) or rule.ports]
    return policy._replace(mode="learn", egress=(*rules, InternetRule((), Where())))


policies = st.one_of(enforcing, enforcing.map(learning))


def source(layer: str, name: str, text: "str | bytes", kind: str = PROFILE) -> Source:
    data = text.encode() if isinstance(text, str) else text
    return Source(layer, kind, name, f"/{layer}/{kind}/{name}.yaml", data)


def bare(policy: Policy) -> Policy:
    """Without what a file adds: places and names of files; the same rule only once."""
    egress: List[EgressRule] = []
    for rule in policy.egress:
        placeless = rule._replace(where=Where())
        if placeless not in egress:
            egress.append(placeless)
    return policy._replace(name="p", origins=(), files=(), egress=tuple(egress))


@given(policies)
def test_text_says_all_of_a_policy(policy: Policy) -> None:
    text = render_policy(policy)
    assert bare(merge_profile("p", (source("user", "p", text),))) == bare(policy)


@given(policies)
def test_data_say_all_of_a_policy(policy: Policy) -> None:
    assert policy_from_data(policy_to_data(policy)) == policy


@given(policies)
def test_a_policy_is_within_itself(policy: Policy) -> None:
    assert is_within(policy, policy)
    assert is_within(Policy("closed", limits=policy.limits, image=policy.image), policy)


@given(policies, policies, policies)
def test_within_is_transitive(one: Policy, two: Policy, three: Policy) -> None:
    two, three = widened(one, two), widened(widened(one, two), three)
    if is_within(one, two) and is_within(two, three):
        assert is_within(one, three)


def widened(policy: Policy, by: Policy) -> Policy:
    """``policy`` with the rules of ``by`` too, so that there is something to compare."""
    return policy._replace(egress=by.egress + policy.egress, ingress=by.ingress, limits=Limits(), image=ImageRules())


@given(policies, policies)
def test_what_is_within_never_allows_what_the_wider_does_not(one: Policy, two: Policy) -> None:
    for inner, outer in ((one, two), (one, widened(one, two)), (strictest(one, two), one)):
        if not is_within(inner, outer):
            assert find_wider(inner, outer) is not None
            continue
        for target in TARGETS:
            if explain(inner, target).allowed:
                assert explain(outer, target).allowed, (inner, outer, target)


@given(rules, st.lists(rules, max_size=4))
def test_an_address_is_within_when_asking_for_every_port_says_so(rule: EgressRule, others: List[EgressRule]) -> None:
    """The other direction for single addresses, where asking is exact."""
    if not isinstance(rule, CidrRule) or rule.network.num_addresses > 1:
        return
    inner, outer = Policy("i", (rule._replace(private=False),)), Policy("o", tuple(others))
    cuts = {port for ports in rule.ports for port in (ports.low, ports.high)}
    cuts |= {port for other in others for ports in other.ports for port in (ports.low, ports.high, ports.high + 1)}
    asked = [
        Target("", rule.network, Ports(ports.protocol, port, port))
        for ports in rule.ports
        for port in cuts
        if ports.low <= port <= ports.high
    ]
    assert is_within(inner, outer) == all(explain(outer, target).allowed for target in asked)


@given(policies, policies)
def test_the_strictest_is_within_both(one: Policy, two: Policy) -> None:
    both = strictest(one, two)
    assert is_within(both, one) and is_within(both, two)
    assert is_within(strictest(two, one), one)


@given(st.lists(spans()))
def test_merged_ports_are_the_same_ports(ports: List[Ports]) -> None:
    merged = merge_ports(ports)
    assert list(merged) == sorted(merged)
    for protocol in ("tcp", "udp"):
        for number in (*PORTS, 23, 442, 445, 8081):
            inside = [span.protocol == protocol and span.low <= number <= span.high for span in ports]
            after = [span.protocol == protocol and span.low <= number <= span.high for span in merged]
            assert any(inside) == any(after) and sum(after) <= 1


def try_profile(sources: Tuple[Source, ...], name: str = "p") -> Optional[Policy]:
    try:
        return resolve_profile(name, sources)
    except ConfigError:
        return None


def lock(ceiling: Policy) -> Source:
    """An rcc.yaml with ``ceiling`` as the admin's ceiling."""
    lines = [line for line in render_policy(ceiling).splitlines() if not line.startswith(("version", "on_denied"))]
    body = "".join(f"    {line}\n" for line in lines)
    return source("admin", "", f"version: 1\nlock:\n  ceiling:\n{body}", SETTINGS)


@given(policies, enforcing, st.sampled_from(("vendor", "user")))
def test_no_profile_but_the_admins_gets_past_the_ceiling(policy: Policy, ceiling: Policy, layer: str) -> None:
    found = try_profile((lock(ceiling), source(layer, "p", render_policy(policy))))
    # A ceiling of static DNS bounds the DNS; its wildcards bound those who use the gateway all the same.
    bound = ceiling._replace(dns_mode="gateway")
    if found is not None:
        assert is_within(found._replace(dns_mode="gateway"), bound), find_wider(found, bound)
        assert found.dns_mode == "gateway" or ceiling.dns_mode == "static"
    else:
        assert layer == "user" and not is_within(policy, bound)


@given(policies, enforcing, policies)
def test_no_user_widens_what_admin_and_ceiling_allow(admin: Policy, ceiling: Policy, user: Policy) -> None:
    text = render_policy(user).replace("version: 1", "version: 1\nextends: base\npresets: [x]\n")
    lines = [line for line in render_policy(user).splitlines() if line.startswith(("version", "egress", "  "))]
    preset = "\n".join(lines)
    granted = source("admin", "base", render_policy(admin))
    for name in ("p", "base"):
        own = (source("user", name, text), source("user", "x", preset, PRESET))
        found = try_profile((lock(ceiling), granted, *own), name)
        if found is not None:
            allowed = ceiling._replace(egress=ceiling.egress + admin.egress)
            for rule in found.egress:
                assert is_within(Policy("r", (rule,), dns_mode="gateway"), Policy("a", allowed.egress))


@given(policies, policies)
def test_an_admins_profile_means_the_same_whatever_users_write(admin: Policy, user: Policy) -> None:
    text = "version: 1\nextends: base\npresets: [x]\n"
    vendor = (source("vendor", "base", render_policy(admin)), source("vendor", "x", "version: 1", PRESET))
    preset = "version: 1\negress: [{internet: true}]"
    own = (source("user", "base", render_policy(user)), source("user", "x", preset, PRESET))
    files = (*vendor, source("admin", "strict", text))
    assert resolve_profile("strict", files) == resolve_profile("strict", (*files, *own))


@given(st.binary(max_size=300))
def test_bytes_of_any_kind_give_problems_or_a_layer(data: bytes) -> None:
    for kind in (PROFILE, PRESET):
        reading = read_layer(data, "p.yaml", kind)
        assert all(problem.where.startswith("p.yaml:") for problem in reading.problems)
        try:
            parse_layer(data, "p.yaml", kind)
        except ConfigError as error:
            assert error.problems == reading.problems or len(error.problems) == len(reading.problems)
        else:
            assert not reading.problems
    assert read_settings(data, "rcc.yaml", "user").problems or data


WORDS = (
    "version", "1", "egress", "host", "cidr", "ports", "- ", ": ", "\n", "  ", "[", "]", "{", "}", "&a", "*a", "!!x",
    "<<", "? ", "443", "22:22", "no", "~", "'", '"', "|", ">", "#", "%", "---", "\t", "limits", "memory", "8G",
    "a.example", "lock", "ceiling", "extends", "*.", "\u00e9", "10.0.0.0/8", ",",
)  # fmt: skip


@settings(max_examples=500)
@given(st.lists(st.sampled_from(WORDS), max_size=40).map("".join))
def test_words_of_the_format_in_any_order_give_problems_or_a_layer(text: str) -> None:
    for layer in ("admin", "user"):
        read_settings(text.encode(), "rcc.yaml", layer)
    body = ("version: 1\n" + text).encode()
    reading = read_layer(body, "p.yaml")
    for problem in reading.problems:
        assert problem.message.isprintable() and problem.hint.isprintable()


@given(st.text(max_size=80))
def test_any_text_is_a_host_in_its_one_spelling_or_refused(text: str) -> None:
    try:
        host = parse_host(text)
    except RccError as error:
        assert error.message.isprintable()
        return
    assert canonical_name(host.name) == host.name and len(host.name) <= 253
    assert all(0 < len(label) <= 63 for label in host.name.split("."))


@given(st.text(max_size=60))
def test_any_text_is_a_target_or_refused(text: str) -> None:
    try:
        target = parse_target(text)
    except RccError:
        return
    assert parse_target(str(target)) == target


def networks(draw_bits: int, length: int, version: int) -> Network:
    """The network of this prefix length that the bits fall in."""
    if version == 4:
        return IPv4Network((draw_bits >> 96, length % 33), strict=False)
    return IPv6Network((draw_bits, length), strict=False)


@given(st.integers(0, 2**128 - 1), st.integers(1, 128), st.sampled_from((4, 6)), st.booleans())
def test_no_network_opens_a_special_range_by_accident(bits: int, length: int, version: int, private: bool) -> None:
    network = networks(bits, length, version)
    text = f"version: 1\negress:\n  - cidr: {network}\n    private: {str(private).lower()}\n"
    reading = read_layer(text.encode(), "p.yaml")
    closed = network.prefixlen == 0 or (touches_special(network) and not private)
    assert bool(reading.problems) == closed
