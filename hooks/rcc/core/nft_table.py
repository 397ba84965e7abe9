"""A ruleset as nf_tables' own objects: sets, chains and rules of ``table inet rcc``, in nft's words (nft(8)).

``render_nft`` writes them as text, ``nft_listing`` compares them with what the kernel lists.  Sets and chains are the
same for every policy, only elements differ; so the agent never needs to add a rule.
"""

import re
from typing import Iterable, List, NamedTuple, Optional, Tuple

from rcc.core.notes import DENIED, DENIED_SINCE, NOTED, RECEIVED, SENT, USED
from rcc.core.policy import Network, Ports
from rcc.core.ruleset import (
    CLOSED_PORTS,
    DNS_PORT,
    GATEWAY_PORT,
    MLD,
    ND_HOP_LIMIT,
    ND_IN,
    ND_OUT,
    Element,
    Ruleset,
)

FAMILY = "inet"
TABLE = "rcc"
ABOUT = "about"  # the chain whose only rule carries the ident as its comment; nothing jumps there
QUOTA = "egress_quota"
# Packets are judged before they are cut into segments, so one can be larger than any MTU: up to 64 KiB without BIG TCP.
LEAST_BURST = 256 * 1024  # bytes

# The sets that open an address, by the beginning of their names.  The others are small, and the table is not complete
# without them.
DESTINATIONS = ("private", "allowed", "former")
# Those whose elements run out; their names end with the generation.
TIMED = ("private_names", "private_name_ranges", "allowed_names", "allowed_name_ranges")

NAT_PRIORITY = -105  # just before dstnat (-100, netfilter_ipv4.h)

_ADDRESS = {4: "ipv4_addr", 6: "ipv6_addr"}
_KEY = "{} . inet_proto . inet_service"


class NftElement(NamedTuple):
    """``key`` as nft reads it; ``lifetime`` in seconds or None."""

    key: str
    lifetime: Optional[int] = None


class NftSet(NamedTuple):
    """A named set; ``dynamic``: filled by the kernel from packets."""

    name: str
    type: str
    flags: Tuple[str, ...] = ()
    elements: Tuple[NftElement, ...] = ()
    dynamic: bool = False


class NftRule(NamedTuple):
    """``matches`` and ``verdict`` as nft reads them; ``comment`` names the rule, once per chain."""

    comment: str
    matches: str
    verdict: str

    @property
    def sets(self) -> Tuple[str, ...]:
        """The named sets that it refers to, sorted."""
        return tuple(sorted(re.findall(r"@(\w+)", f"{self.matches} {self.verdict}")))


class NftChain(NamedTuple):
    """``hook`` empty: not a base chain."""

    name: str
    hook: str
    rules: Tuple[NftRule, ...]
    type: str = "filter"
    priority: int = 0
    policy: str = "drop"


def nft_sets(ruleset: Ruleset) -> Tuple[NftSet, ...]:
    """All sets with their elements, in a fixed order.

    Lasting elements are in interval sets.  Timed ones are apart from them, because they come and go by themselves and
    must never overlap anything: in hash sets by address and port, or by port range (``..._name_ranges``), and in sets
    of their generation's own, so that nobody adds to them by an older policy.
    Concatenated ranges need kernel 5.6, nft 0.9.4.
    """
    sets: List[NftSet] = []
    for version in (4, 6):
        key = _KEY.format(_ADDRESS[version])
        for name, elements in (("private", ruleset.private), ("allowed", ruleset.allowed)):
            mine = [element for element in elements if element.network.version == version]
            lasting = [element for element in mine if element.lifetime is None]
            sets.append(NftSet(f"{name}{version}", key, ("interval",), _nft_elements(lasting)))
            for timed, flags in ((f"{name}_names", ("timeout",)), (f"{name}_name_ranges", ("interval", "timeout"))):
                some = [e for e in mine if e.lifetime is not None and timed_set(name, e) == timed]
                sets.append(NftSet(_timed_name(timed, version, ruleset), key, flags, _nft_elements(some)))
        former = [element for element in ruleset.former if element.network.version == version]
        sets.append(NftSet(f"former{version}", key, ("interval",), _nft_elements(former)))
        special = [NftElement(_network_key(network)) for network in ruleset.special if network.version == version]
        sets.append(NftSet(f"special{version}", _ADDRESS[version], ("interval",), tuple(special)))
        resolvers = [NftElement(str(address)) for address in ruleset.resolvers if address.version == version]
        sets.append(NftSet(f"resolvers{version}", _ADDRESS[version], (), tuple(resolvers)))
        for noted in NOTED:
            sets.append(NftSet(f"{noted}{version}", key, ("dynamic", "timeout"), (), dynamic=True))
    for name, spans in (("internet", ruleset.internet), ("published", ruleset.published)):
        keys = tuple(NftElement(_ports_key(span)) for span in spans)
        sets.append(NftSet(name, "inet_proto . inet_service", ("interval",), keys))
    return tuple(sets)


def timed_set(kind: str, element: Element) -> str:
    """The kind of set that a timed element of ``kind`` (allowed, private) belongs into, a word of TIMED."""
    return f"{kind}_names" if element.ports.low == element.ports.high else f"{kind}_name_ranges"


def timed_set_name(kind: str, element: Element, generation: int) -> str:
    """The set that a timed element of ``kind`` belongs into under the policy of this generation."""
    return f"{timed_set(kind, element)}{element.network.version}_{generation}"


def _timed_name(timed: str, version: int, ruleset: Ruleset) -> str:
    return f"{timed}{version}_{ruleset.generation}"


def nft_chains(ruleset: Ruleset, ident: str) -> Tuple[NftChain, ...]:
    """All chains, each after those that it goes to; the order of rules is that of ``ruleset.evaluate``."""
    mark = f"{ruleset.mark:#x}"
    admit = NftChain("admit", "", (NftRule("admitted", f"ct mark set {mark}", "accept"),))
    return (
        NftChain(ABOUT, "", (NftRule(ident, "", "return"),)),
        admit,
        NftChain("refuse", "", _refuse_rules(ruleset.on_denied)),
        NftChain("unasked", "", (NftRule("unasked", 'counter name "unasked"', "drop"),)),
        NftChain("malformed", "", (NftRule("malformed", 'counter name "malformed"', "drop"),)),
        NftChain("use", "", (*_note_rules("used", "update", USED), NftRule("admit", "", "goto admit"))),
        NftChain("leaving", "", _judge_rules(ruleset, "daddr", "dport", "use", "refuse")),
        NftChain("answered", "", _judge_rules(ruleset, "saddr", "sport", "admit", "unasked")),
        NftChain("answering", "", _published_rules("sport", "refuse")),
        NftChain("entering", "", _published_rules("dport", "unasked")),
        # Before others' nat chains: the first one that decides is the one that counts.
        NftChain("to_gateway", "output", tuple(_redirect_rules(ruleset)), "nat", NAT_PRIORITY, "accept"),
        NftChain("bound", "postrouting", _bound_rules(), policy="accept"),
        NftChain(
            "output",
            "output",
            (
                NftRule("loopback", 'oif "lo"', "accept"),
                *_malformed_rules(),
                *_gateway_rules(ruleset),
                *_budget_rules(ruleset),
                *_known_rules(mark, SENT),
                _nd_rule(ND_OUT),
                NftRule("listeners", f"icmpv6 type {_one_of(MLD)}", "drop"),
                NftRule("answering", "ct state established ct direction reply", "goto answering"),
                NftRule("leaving", "", "goto leaving"),
            ),
        ),
        NftChain(
            "input",
            "input",
            (
                NftRule("loopback", 'iif "lo"', "accept"),
                *_malformed_rules(),
                *_known_rules(mark, RECEIVED),
                _nd_rule(ND_IN),
                NftRule("answered", "ct state established ct direction reply", "goto answered"),
                NftRule("entering", "", "goto entering"),
            ),
        ),
        NftChain("forward", "forward", ()),
    )


def _redirect_rules(ruleset: Ruleset) -> Iterable[NftRule]:
    if ruleset.gateway:
        yield NftRule("gateway", f"meta l4proto {{ tcp, udp }} th dport {DNS_PORT}", f"redirect to :{GATEWAY_PORT}")


def _gateway_rules(ruleset: Ruleset) -> Iterable[NftRule]:
    # The packet that nat has just redirected still has the interface that it was going to leave by.
    if ruleset.gateway:
        transport = f"meta l4proto {{ tcp, udp }} th dport {GATEWAY_PORT}"
        yield NftRule("gateway 4", f"ip daddr 127.0.0.1 {transport}", "accept")
        yield NftRule("gateway 6", f"ip6 daddr ::1 {transport}", "accept")


def _bound_rules() -> Tuple[NftRule, ...]:
    # What is redirected is routed anew, and a socket bound to a device stays with it (ip_route_me_harder in
    # net/netfilter/core.c and ipv4/netfilter.c): the question would leave by that device, addressed to the loopback.
    return (
        NftRule("loopback elsewhere 4", 'oif != "lo" ip daddr 127.0.0.0/8', "goto malformed"),
        NftRule("loopback elsewhere 6", 'oif != "lo" ip6 daddr ::1', "goto malformed"),
    )


def _malformed_rules() -> Tuple[NftRule, ...]:
    # Anybody can send these: setsockopt IP_OPTIONS, IPV6_RTHDR.  The length tells of options that no parser knows, too.
    return (
        NftRule("options", "ip hdrlength > 5", "goto malformed"),
        NftRule("routing header", "exthdr rt exists", "goto malformed"),
    )


def _budget_rules(ruleset: Ruleset) -> Iterable[NftRule]:
    if ruleset.egress_quota is not None:
        yield NftRule("quota", f'quota name "{QUOTA}"', "drop")
    if ruleset.egress_rate is not None:
        rate = max(ruleset.egress_rate // 8, 1)
        yield NftRule("rate", f"limit rate over {rate} bytes/second burst {max(rate // 10, LEAST_BURST)} bytes", "drop")


def _known_rules(mark: str, counter: str) -> Tuple[NftRule, ...]:
    return (
        NftRule("admitted before", f'ct state established ct mark {mark} counter name "{counter}"', "accept"),
        NftRule("invalid", "ct state invalid", "goto malformed"),
        # Only errors: what a conntrack helper expects is related too, and inherits the mark.
        NftRule("error of a flow", f"ct state related ct mark {mark} meta l4proto {{ icmp, ipv6-icmp }}", "accept"),
    )


def _nd_rule(types: Iterable[int]) -> NftRule:
    return NftRule("neighbours", f"ip6 hoplimit {ND_HOP_LIMIT} icmpv6 type {_one_of(types)}", "accept")


def _judge_rules(ruleset: Ruleset, address: str, port: str, admit: str, otherwise: str) -> Tuple[NftRule, ...]:
    """By the remote end: ``daddr``/``dport`` of what leaves, ``saddr``/``sport`` of what comes back."""
    transport = "meta l4proto { tcp, udp }"
    rules: List[NftRule] = []

    def add(comment: str, matches: str, verdict: str) -> None:
        rules.append(NftRule(comment, matches, verdict))

    families = (("ip", 4), ("ip6", 6))
    for family, version in families:
        match = f"{family} {address} @resolvers{version} {transport} th {port} {DNS_PORT}"
        add(f"resolver {version}", match, f"goto {admit}")
    add("dns elsewhere", f"{transport} th {port} {_one_of(CLOSED_PORTS)}", f"goto {otherwise}")
    for family, version in families:
        key = f"{family} {address} . meta l4proto . th {port}"
        add(f"former {version}", f"ct state established {key} @former{version}", f"goto {admit}")
    for kind in ("private", "special", "allowed"):
        for family, version in families:
            if kind == "special":
                add(f"special {version}", f"{family} {address} @special{version}", f"goto {otherwise}")
                continue
            key = f"{family} {address} . meta l4proto . th {port}"
            add(f"{kind} {version}", f"{key} @{kind}{version}", f"goto {admit}")
            for timed in (f"{kind}_names", f"{kind}_name_ranges"):
                add(f"{timed} {version}", f"{key} @{_timed_name(timed, version, ruleset)}", f"goto {admit}")
    add("internet", f"meta l4proto . th {port} @internet", f"goto {admit}")
    add("otherwise", "", f"goto {otherwise}")
    return tuple(rules)


def _published_rules(port: str, otherwise: str) -> Tuple[NftRule, ...]:
    return (
        NftRule("published", f"meta l4proto . th {port} @published", "goto admit"),
        NftRule("otherwise", "", f"goto {otherwise}"),
    )


def _refuse_rules(on_denied: str) -> Tuple[NftRule, ...]:
    rules = [
        NftRule("count", 'counter name "denied"', ""),
        *_note_rules("since", "add", DENIED_SINCE),  # what is there already keeps its time
        *_note_rules("note", "update", DENIED),
    ]
    if on_denied == "reject":
        rules.append(NftRule("reset", "meta l4proto tcp", "reject with tcp reset"))
        rules.append(NftRule("reject", "", "reject with icmpx admin-prohibited"))
    else:
        rules.append(NftRule("drop", "", "drop"))
    return tuple(rules)


def _note_rules(comment: str, verb: str, noted: str) -> Iterable[NftRule]:
    """Remember the destination of what leaves in the dynamic sets ``noted``."""
    counter = "" if verb == "add" else " counter"
    for family, version in (("ip", 4), ("ip6", 6)):
        key = f"{family} daddr . meta l4proto . th dport{counter}"
        note = f"meta l4proto {{ tcp, udp }} {verb} @{noted}{version} {{ {key} }}"
        yield NftRule(f"{comment} {version}", note, "")


def _one_of(numbers: Iterable[int]) -> str:
    return "{ " + ", ".join(str(number) for number in numbers) + " }"


def _nft_elements(elements: Iterable[Element]) -> Tuple[NftElement, ...]:
    found = []
    for network, ports, lifetime in elements:
        found.append(NftElement(f"{_network_key(network)} . {_ports_key(ports)}", lifetime))
    return tuple(found)


def _network_key(network: Network) -> str:
    return str(network.network_address if network.prefixlen == network.max_prefixlen else network)


def _ports_key(ports: Ports) -> str:
    span = str(ports.low) if ports.low == ports.high else f"{ports.low}-{ports.high}"
    return f"{ports.protocol} . {span}"
