"""Which addresses a name opens: the policy and an answer, to elements of the container's sets.

Ports are cut into *atoms*: spans that no rule of the policy cuts any further.  Two elements are then the same or have
nothing in common, so each can be added and refreshed without a look at the others (nf_tables' interval sets take no
overlaps: net/netfilter/nft_set_pipapo.c).
"""

from typing import Dict, FrozenSet, Iterable, List, NamedTuple, Tuple

from rcc.core.policy import HostRule, InternetRule, PeersRule, Policy, Ports
from rcc.core.ruleset import Element
from rcc.core.special import Address, address_network, is_special, never_by_name

# Seconds that an address stays open after an answer in gateway mode.  The program connects at once, but resolvers and
# programs keep an answer for a while beyond its TTL, and a TTL of 0 is common.
LEAST = 60
GRACE = 15
LONGEST = 3600
PEER_SECONDS = 30  # a peer's address is given to another container soon after it has ended

TimedElement = Tuple[str, Element]  # "allowed" or "private", and an element with a lifetime


class Opened(NamedTuple):
    """``admitted``: the addresses that may be told, in order; ``elements``: what has to be open before they are."""

    admitted: Tuple[Address, ...] = ()
    elements: Tuple[TimedElement, ...] = ()


def port_atoms(policy: Policy) -> Tuple[Ports, ...]:
    """The spans between all edges of the ports of host and peer rules, sorted, no two of them overlapping."""
    spans = [span for rule in policy.egress if isinstance(rule, (HostRule, PeersRule)) for span in rule.ports]
    found: List[Ports] = []
    for protocol in sorted({span.protocol for span in spans}):
        mine = [span for span in spans if span.protocol == protocol]
        edges = sorted({edge for span in mine for edge in (span.low, span.high + 1)})
        for low, end in zip(edges, edges[1:]):
            if any(span.low <= low and end - 1 <= span.high for span in mine):
                found.append(Ports(protocol, low, end - 1))
    return tuple(found)


def cut(ports: Iterable[Ports], atoms: Iterable[Ports]) -> Tuple[Ports, ...]:
    """The atoms that lie in ``ports``."""
    spans = tuple(ports)
    return tuple(
        atom
        for atom in atoms
        if any(span.protocol == atom.protocol and span.low <= atom.low and atom.high <= span.high for span in spans)
    )


def seconds_open(ttl: int) -> int:
    """How long an address with this TTL stays open after the answer."""
    return max(LEAST, min(max(ttl, 0), LONGEST)) + GRACE


def wants_names(policy: Policy) -> bool:
    """Whether the container's questions have to be answered for it to work: the policy has names, and no other way."""
    named = any(isinstance(rule, (HostRule, PeersRule, InternetRule)) for rule in policy.egress)
    return policy.dns_mode == "gateway" and named


class Openings:
    """What names open under one policy; ``host_addresses`` are the host's own, which count as private."""

    def __init__(self, policy: Policy, host_addresses: Iterable[Address]) -> None:
        atoms = port_atoms(policy)
        self._own: FrozenSet[Address] = frozenset(host_addresses)
        self._exact: Dict[str, Tuple[HostRule, ...]] = {}
        self._under: Dict[str, Tuple[HostRule, ...]] = {}
        self._above: "set[str]" = set()
        self._internet = any(isinstance(rule, InternetRule) for rule in policy.egress)
        peers = [span for rule in policy.egress if isinstance(rule, PeersRule) for span in rule.ports]
        self._peers = cut(peers, atoms)
        for rule in policy.egress:
            if isinstance(rule, HostRule):
                table = self._under if rule.wildcard else self._exact
                table[rule.name] = (*table.get(rule.name, ()), rule._replace(ports=cut(rule.ports, atoms)))
                if rule.wildcard:
                    self._above.add(rule.name)
                self._above.update(_suffixes(rule.name))

    @property
    def wants_gateway(self) -> bool:
        """Whether any name can be allowed at all."""
        return bool(self._exact or self._under or self._peers or self._internet)

    @property
    def has_peers(self) -> bool:
        """Whether the policy has a rule for peers."""
        return bool(self._peers)

    @property
    def internet(self) -> bool:
        """Whether every public address is open, and so every name may be asked for."""
        return self._internet

    def exactly(self, name: str) -> bool:
        """Whether a rule gives ``name`` in full."""
        return name in self._exact

    def wildcard_of(self, name: str) -> str:
        """The longest suffix of a wildcard rule that ``name`` lies under, empty for none."""
        return next((suffix for suffix in _suffixes(name) if suffix in self._under), "")

    def rules_for(self, name: str) -> Tuple[HostRule, ...]:
        """The rules that name ``name`` (lower case, no trailing dot), their ports cut into atoms."""
        found = list(self._exact.get(name, ()))
        for suffix in _suffixes(name):
            found.extend(self._under.get(suffix, ()))
        return tuple(found)

    def may_ask(self, name: str) -> bool:
        """Whether ``name`` may be asked for upstream."""
        return self._internet or bool(self.rules_for(name))

    def is_above(self, name: str) -> bool:
        """Whether a name that may be asked for lies below ``name``: denying it would deny those (RFC 8020)."""
        return name in self._above or not name

    def open(self, name: str, addresses: Iterable[Address], ttl: int) -> Opened:
        """What an answer for ``name`` opens.  Addresses that no rule opens are not admitted."""
        rules = self.rules_for(name)
        seconds = seconds_open(ttl)
        admitted: List[Address] = []
        elements: Dict[TimedElement, None] = {}
        for address in addresses:
            special = address in self._own or is_special(address)
            if special and never_by_name(address):
                continue
            opening = [rule for rule in rules if rule.private or not special]
            if not opening and not (self._internet and not special):
                continue
            admitted.append(address)
            kind = "private" if special else "allowed"
            for rule in opening:
                for atom in rule.ports:
                    elements[(kind, element_of(address, atom, seconds))] = None
        return Opened(tuple(dict.fromkeys(admitted)), tuple(elements))

    def open_peer(self, addresses: Iterable[Address], ttl: int) -> Opened:
        """What another container's addresses open."""
        if not self._peers:
            return Opened()
        admitted = tuple(address for address in dict.fromkeys(addresses) if address not in self._own)
        admitted = tuple(address for address in admitted if not is_special(address) or not never_by_name(address))
        seconds = min(seconds_open(ttl), PEER_SECONDS)
        elements = [("private", element_of(address, atom, seconds)) for address in admitted for atom in self._peers]
        return Opened(admitted, tuple(elements))


def element_of(address: Address, ports: Ports, lifetime: int) -> Element:
    """One address and one span of ports for ``lifetime`` seconds."""
    return Element(address_network(address), ports, lifetime)


def _suffixes(name: str) -> Iterable[str]:
    """The names above ``name``, longest first, without the root."""
    while "." in name:
        name = name.partition(".")[2]
        yield name
