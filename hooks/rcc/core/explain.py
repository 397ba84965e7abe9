"""Why a destination is allowed or not, and which line of which file decides."""

from ipaddress import ip_address, ip_network
from typing import List, NamedTuple, Optional, Sequence, Tuple, Union

from rcc.core.errors import EX_USAGE, RccError
from rcc.core.hostname import canonical_name
from rcc.core.policy import CidrRule, EgressRule, HostRule, InternetRule, Network, PeersRule, Policy, Ports, Where
from rcc.core.quantities import parse_ports
from rcc.core.report import shown
from rcc.core.ruleset import CLOSED_PORTS, DNS_PORT
from rcc.core.special import never_by_name, touches_special
from rcc.core.within import covers_name, ports_of

TARGET_HINT = "api.example.com:443, 192.0.2.1:53/udp, [2001:db8::1]:443"


class Target(NamedTuple):
    """A destination: ``network`` of a single address for a literal, else ``name``; one port."""

    name: str
    network: Optional[Network]
    ports: Ports

    def __str__(self) -> str:
        address = self.network.network_address if self.network is not None else None
        host = self.name if address is None else f"[{address}]" if address.version == 6 else str(address)
        return f"{host}:{self.ports}"


class Explanation(NamedTuple):
    """``why``: lines for people, the decisive one first.  ``where``: the line that decides, empty for the default."""

    target: Target
    allowed: bool
    rule: Optional[EgressRule]
    where: Where
    why: Tuple[str, ...]


class TargetError(RccError):
    """What was asked about is no destination."""

    exit_code = EX_USAGE


def parse_target(text: str) -> Target:
    """``host``, ``host:port``, ``host:port/proto``, the same with an address, IPv6 in brackets if a port follows.

    443/tcp where the text does not say.  Raises TargetError.
    """
    host, port = _split(text.strip())
    try:
        ports = parse_ports(port)
        if ports.low != ports.high:
            raise RccError(f"one port, not {port}")
        try:
            network: Optional[Network] = ip_network(ip_address(host))
            name = ""
        except ValueError:
            network, name = None, canonical_name(host)
    except RccError as error:
        raise TargetError(error.message, hint=error.hint or TARGET_HINT) from error
    return Target(name, network, ports)


def _split(text: str) -> Tuple[str, str]:
    head, slash, tail = text.partition("://")
    if slash:
        raise TargetError(f"{shown(text)} is a URL", hint=f"write {tail.partition('/')[0]}")
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise TargetError(f"not a destination: {shown(text)}", hint="[2001:db8::1]:443")
        return host, rest[1:] or "443"
    if text.count(":") > 1:
        return text, "443"  # IPv6 without brackets cannot have a port
    head, colon, tail = text.partition(":")
    if colon:
        return head, tail
    host, slash, protocol = text.partition("/")
    return host, f"443/{protocol}" if slash else "443"


def explain(policy: Policy, target: Union[str, Target]) -> Explanation:
    """What ``policy`` says about ``target``, with nothing looked up.  Raises TargetError for a text that is none."""
    wanted = parse_target(target) if isinstance(target, str) else target
    if wanted.network is not None:
        return _explain_address(policy, wanted, wanted.network)
    return _explain_name(policy, wanted)


def _explain_name(policy: Policy, target: Target) -> Explanation:
    if target.name == "localhost" or target.name.endswith(".localhost"):
        return Explanation(target, True, None, Where(), ("localhost is the container itself, which is open to itself",))
    if target.ports.low in CLOSED_PORTS:
        return _dns(policy, target)
    hosts = [rule for rule in policy.egress if isinstance(rule, HostRule) and covers_name(rule, target.name)]
    named = [rule for rule in hosts if not rule.wildcard or policy.dns_mode == "gateway"]
    for host in sorted((rule for rule in named if _has_port(rule, target)), key=lambda rule: not rule.private):
        ranges = "its public and its private addresses" if host.private else "its public addresses only"
        return Explanation(target, True, host, host.where, (f"{_title(host)} allows it, {ranges}",))
    for opened in _internet(policy, target):
        why = f"{_title(opened)} allows it where the name stands for a public address"
        return Explanation(target, True, opened, opened.where, (why,))
    for rule in hosts:
        if rule.wildcard and _has_port(rule, target):
            why = f"{_title(rule)} names it, but wildcards open nothing with dns.mode: static: name the host itself"
            return Explanation(target, False, rule, rule.where, (why,))
    return _denied(policy, target, hosts, [*_near_names(policy, target), *_peers_note(policy, target)])


def _explain_address(policy: Policy, target: Target, network: Network) -> Explanation:
    if network.is_loopback:
        why = "loopback is the container itself, which is open to itself"
        return Explanation(target, True, None, Where(), (why,))
    if target.ports.low in CLOSED_PORTS:
        return _dns(policy, target)
    cidrs = [rule for rule in policy.egress if isinstance(rule, CidrRule) and _holds(rule, network)]
    special = touches_special(network)
    for rule in sorted((rule for rule in cidrs if _has_port(rule, target)), key=lambda rule: not rule.private):
        if special and not rule.private:
            continue
        words = ", a private or special address opened by private: true" if special else ""
        return Explanation(target, True, rule, rule.where, (f"{_title(rule)} allows it{words}",))
    if special:
        whys = ["the address lies in a private or special range, which stays closed without private: true"]
        if not never_by_name(network.network_address):
            named = [
                rule for rule in policy.egress if isinstance(rule, HostRule) and not rule.wildcard and rule.private
            ]
            whys += _names_note([rule for rule in named if _has_port(rule, target)])
        return Explanation(target, False, None, Where(), tuple(whys))
    for opened in _internet(policy, target):
        why = f"{_title(opened)} allows it: a public address (unless it is the host's own)"
        return Explanation(target, True, opened, opened.where, (why,))
    hosts = [rule for rule in policy.egress if isinstance(rule, HostRule) and not rule.wildcard]
    return _denied(policy, target, cidrs, _names_note([rule for rule in hosts if _has_port(rule, target)]))


def _dns(policy: Policy, target: Target) -> Explanation:
    """Ports of DNS are nobody's destination: whoever reaches a resolver of his choice asks for any name."""
    if target.ports.low == DNS_PORT and policy.dns_mode == "gateway":
        why = "whatever is sent to port 53 of any address is answered by rcc's own gateway, for the policy's names only"
    elif target.ports.low == DNS_PORT:
        why = "port 53 is open towards the container's own resolvers only"
    else:
        why = f"port {target.ports.low} is DNS over TLS or QUIC, which stays closed"
    return Explanation(target, False, None, Where(), (why,))


def _peers_note(policy: Policy, target: Target) -> List[str]:
    peers = [rule for rule in policy.egress if isinstance(rule, PeersRule) and _has_port(rule, target)]
    return [f"peers: true opens it if it names a container on the same network ({rule.where})" for rule in peers[:1]]


def _internet(policy: Policy, target: Target) -> List[InternetRule]:
    return [rule for rule in policy.egress if isinstance(rule, InternetRule) and _has_port(rule, target)]


def _denied(policy: Policy, target: Target, near: Sequence[EgressRule], more: List[str]) -> Explanation:
    """Denied; the first rule that has the destination, but not the port, is named."""
    internet = [rule for rule in policy.egress if isinstance(rule, InternetRule)]
    for rule in (*near, *internet):
        ports = ", ".join(str(ports) for ports in ports_of(rule))
        return Explanation(target, False, rule, rule.where, (f"{_title(rule)} is for other ports: {ports}", *more))
    kind = "name" if target.network is None else "address"
    empty = "the policy allows no destination at all" if not policy.egress else f"no egress entry has this {kind}"
    return Explanation(target, False, None, Where(), (f"{empty} (profile {policy.name})", *more))


def _near_names(policy: Policy, target: Target) -> List[str]:
    """The apex of a wildcard is the usual mistake."""
    return [
        f"{_title(rule)} does not include the name {target.name} itself ({rule.where})"
        for rule in policy.egress
        if isinstance(rule, HostRule) and rule.wildcard and rule.name == target.name
    ]


def _names_note(rules: List[HostRule]) -> List[str]:
    if not rules:
        return []
    names = ", ".join(rule.name for rule in rules[:5]) + (", ..." if len(rules) > 5 else "")
    return [f"it is open nevertheless while one of these names stands for it: {names}"]


def rule_text(rule: EgressRule) -> str:
    """A rule in a line: what, which ports, whether private addresses count."""
    ports = " ".join(str(ports) for ports in rule.ports) or "every port"
    if isinstance(rule, HostRule):
        what = ("*." if rule.wildcard else "") + rule.name
    elif isinstance(rule, CidrRule):
        what = str(rule.network)
    else:
        what = "peers" if isinstance(rule, PeersRule) else "the public internet"
    private = " (private)" if getattr(rule, "private", False) else ""
    return f"{what} {ports}{private}"


def _title(rule: EgressRule) -> str:
    if isinstance(rule, HostRule):
        return f"host: {'*.' if rule.wildcard else ''}{rule.name}"
    if isinstance(rule, CidrRule):
        return f"cidr: {rule.network}"
    return "peers: true" if isinstance(rule, PeersRule) else "internet: true"


def _has_port(rule: EgressRule, target: Target) -> bool:
    wanted = target.ports
    return any(ports.protocol == wanted.protocol and ports.low <= wanted.low <= ports.high for ports in ports_of(rule))


def _holds(rule: CidrRule, network: Network) -> bool:
    return rule.network.version == network.version and network.network_address in rule.network
