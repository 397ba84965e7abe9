"""A policy and the facts of the moment, to a ruleset.  Pure: who asked the DNS, and when, is the caller's affair."""

from ipaddress import IPv4Address, IPv4Network, IPv6Network, collapse_addresses, ip_address
from typing import Dict, Iterable, List, NamedTuple, Optional, Set, Tuple

from rcc.core.elements import apart, disjoint
from rcc.core.openings import PEER_SECONDS, cut, port_atoms
from rcc.core.policy import EVERY_PORT, CidrRule, HostRule, InternetRule, Network, PeersRule, Policy, Ports, merge_ports
from rcc.core.ruleset import Element, Ruleset
from rcc.core.special import SPECIAL4, SPECIAL6, Address, address_network, is_special, never_by_name

# Names that engines write into a container's /etc/hosts for the host itself (Podman's libpod, Docker Desktop).
HOST_NAMES = ("host.containers.internal", "host.docker.internal")
# Where the user-mode networks put the host: slirp4netns(1) (allow_host_loopback), pasta(1) --map-guest-addr in Podman
# 5.3.
GATEWAYS_TO_HOST = (ip_address("10.0.2.2"), ip_address("169.254.1.2"))

# Seconds.  An address stays for its TTL, but at least for two refreshes and a half, so that a refresh that comes late
# or fails once does not cut a name that has not changed; and at most for LONGEST, which bounds what is left of a name
# when nobody refreshes it any more.
LONGEST = 3600
SHORTEST = 10


HostsFile = Tuple[Tuple[str, Address], ...]


class Facts(NamedTuple):
    """What the policy meets on this host at this moment.

    answers: a name and what it stands for, addresses with their TTL in seconds; former: the same for what names stood
    for before and no longer do (a reload keeps their flows).  host_addresses: every address of the host itself.
    resolvers: of the container's /etc/resolv.conf.  published: container ports that may be reached from outside.
    hosts_file: pairs from the container's /etc/hosts, which the container itself may write: see
    ``host_addresses_in``.  peers: addresses of other containers that this one has asked for and that are theirs still
    (app/neighbours.py); only a reload has any.
    """

    answers: Tuple[Tuple[str, Tuple[Tuple[Address, int], ...]], ...] = ()
    former: Tuple[Tuple[str, Tuple[Tuple[Address, int], ...]], ...] = ()
    host_addresses: Tuple[Address, ...] = ()
    resolvers: Tuple[Address, ...] = ()
    published: Tuple[Ports, ...] = ()
    hosts_file: HostsFile = ()
    peers: Tuple[Address, ...] = ()


def compile_ruleset(policy: Policy, facts: Facts, generation: int) -> Ruleset:
    """The ruleset of ``policy`` under ``facts``.

    A name opens an address of a special range, or of the host itself, only with ``private: true`` and only where
    ``never_by_name`` lets it; a name without an answer opens nothing.  Wildcards open nothing here: their names are not
    known before they are asked for.

    With a gateway ``facts.answers`` and ``facts.peers`` hold what is open already when a ruleset takes the place of
    another (app/reload.py); addresses are added as names are asked for (core/openings.py).
    """
    own = frozenset(facts.host_addresses)
    answers = _by_name(facts.answers)
    answers.update(_host_answers(facts.hosts_file, own))
    former = _by_name(facts.former)
    private: List[Element] = []
    allowed: List[Element] = []
    kept: List[Element] = []
    internet: Set[Ports] = set()
    atoms = port_atoms(policy)
    gateway = policy.dns_mode == "gateway"
    for rule in policy.egress:
        if isinstance(rule, HostRule) and not rule.wildcard:
            for address, ttl in answers.get(rule.name, ()):
                target = _target(rule, address, own, private, allowed)
                if target is not None:
                    lifetime = None if ttl is None else lifetime_of(ttl, policy.dns_refresh)
                    ports = rule.ports if ttl is None else cut(rule.ports, atoms)
                    target.extend(Element(address_network(address), span, lifetime) for span in ports)
            for address, _ in former.get(rule.name, ()):
                if _target(rule, address, own, kept, kept) is not None:
                    kept.extend(Element(address_network(address), ports) for ports in rule.ports)
        elif isinstance(rule, CidrRule):
            target = private if rule.private else allowed
            target.extend(Element(rule.network, ports) for ports in rule.ports)
        elif isinstance(rule, PeersRule):
            for address in facts.peers:
                if address not in own and not never_by_name(address):
                    spans = cut(rule.ports, atoms)
                    private.extend(Element(address_network(address), span, PEER_SECONDS) for span in spans)
                    kept.extend(Element(address_network(address), ports) for ports in rule.ports)
        elif isinstance(rule, InternetRule):
            internet.update(rule.ports or EVERY_PORT)
    return Ruleset(
        generation=generation,
        private=apart(private),
        special=_special(facts.host_addresses),
        allowed=apart(allowed),
        former=disjoint(kept),
        internet=merge_ports(internet),
        resolvers=() if gateway else _addresses(facts.resolvers),
        gateway=gateway,
        published=merge_ports(facts.published) if policy.ingress == "published" else (),
        on_denied=policy.on_denied,
        egress_rate=policy.limits.egress_rate,
        egress_quota=policy.limits.egress_quota,
    )


def _addresses(addresses: Iterable[Address]) -> Tuple[Address, ...]:
    return tuple(sorted(set(addresses), key=lambda address: (address.version, int(address))))


def lifetime_of(ttl: int, refresh: int) -> int:
    """Seconds that an address with this TTL stays open when it is refreshed every ``refresh`` seconds."""
    return max(SHORTEST, refresh * 5 // 2, min(ttl, LONGEST))


_Answers = Dict[str, Tuple[Tuple[Address, Optional[int]], ...]]


def _by_name(answers: Tuple[Tuple[str, Tuple[Tuple[Address, int], ...]], ...]) -> _Answers:
    found: _Answers = {}
    for name, addresses in answers:
        found[name] = found.get(name, ()) + addresses
    return found


def host_addresses_in(hosts_file: HostsFile, own: "frozenset[Address]") -> Dict[str, Tuple[Address, ...]]:
    """What the container's /etc/hosts says about the host itself.

    The container can write that file, and it is read again when another container joins the namespace or the policy is
    loaded anew.  So it only chooses among addresses that are the host's: any other line opens nothing.
    """
    found: Dict[str, Tuple[Address, ...]] = {}
    for name, address in hosts_file:
        if name in HOST_NAMES and (address in own or address in GATEWAYS_TO_HOST):
            found[name] = (*found.get(name, ()), address)
    return found


def _host_answers(hosts_file: HostsFile, own: "frozenset[Address]") -> _Answers:
    found = host_addresses_in(hosts_file, own)
    return {name: tuple((address, None) for address in addresses) for name, addresses in found.items()}


def _target(
    rule: HostRule, address: Address, own: "frozenset[Address]", private: List[Element], allowed: List[Element]
) -> Optional[List[Element]]:
    """The list that an address which ``rule.name`` stands for belongs in, None when the rule does not open it."""
    if address not in own and not is_special(address):
        return allowed
    if rule.private and not never_by_name(address):
        return private
    return None


def _special(own: Iterable[Address]) -> Tuple[Network, ...]:
    found4 = [IPv4Network(address) for address in own if isinstance(address, IPv4Address)]
    found6 = [IPv6Network(address) for address in own if not isinstance(address, IPv4Address)]
    return (*collapse_addresses((*SPECIAL4, *found4)), *collapse_addresses((*SPECIAL6, *found6)))
