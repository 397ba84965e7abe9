"""Comparing policies: is one no wider than another, and what do both allow.

Used for what an image may ask for, for namespaces that containers share, and for the admin's ceiling.  Everything errs
towards "wider" and "not allowed": a rule that cannot be compared is not within, and not in common.
"""

from fnmatch import fnmatchcase
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from typing import Any, Iterable, List, NamedTuple, Optional, Tuple

from rcc.core.policy import (
    EVERY_PORT,
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
    merge_ports,
)
from rcc.core.special import touches_special

NO_IMAGE = "none/"  # names never end in a slash (distribution/reference, reference grammar)


class Wider(NamedTuple):
    """What goes beyond another policy: ``key`` as in Policy.origins, or ``egress`` and the ``rule``."""

    key: str
    rule: Optional[EgressRule] = None


def is_within(inner: Policy, outer: Policy) -> bool:
    """Whether ``inner`` allows nothing that ``outer`` does not.  ``dns_refresh`` and ``on_denied`` play no part."""
    return find_wider(inner, outer) is None


def find_wider(inner: Policy, outer: Policy) -> Optional[Wider]:
    """What makes ``inner`` wider than ``outer``, None when nothing does."""
    allowed = _opening(outer)
    for rule in _opening(inner):
        if not is_rule_within(rule, allowed):
            return Wider("egress", rule)
    if inner.ingress == "published" and outer.ingress != "published":
        return Wider("ingress")
    if inner.dns_mode != outer.dns_mode and outer.dns_mode == "gateway":
        return Wider("dns.mode")  # static leaves every question to the container's own resolver
    for key, one, other in zip(Limits._fields, inner.limits, outer.limits):
        if other is not None and (one is None or one > other):
            return Wider(f"limits.{key}")
    if outer.image.require_digest and not inner.image.require_digest:
        return Wider("image.require_digest")
    if not are_images_within(inner.image.allow, outer.image.allow):
        return Wider("image.allow")
    return None


def _opening(policy: Policy) -> Tuple[EgressRule, ...]:
    """The rules that open anything: in static mode wildcards and peers do not."""
    if policy.dns_mode != "static":
        return policy.egress
    return tuple(
        rule
        for rule in policy.egress
        if not isinstance(rule, PeersRule) and not (isinstance(rule, HostRule) and rule.wildcard)
    )


def is_rule_within(rule: EgressRule, outer: Iterable[EgressRule]) -> bool:
    """Whether ``outer``, all rules taken together, allows everything that ``rule`` does."""
    rules = tuple(outer)
    if isinstance(rule, CidrRule):
        return all(_is_network_within(rule, span, rules) for span in rule.ports)
    covering = [other for other in rules if _covers(other, rule)]
    allowed = merge_ports([span for other in covering for span in ports_of(other)])
    return all(_is_span_within(span, allowed) for span in ports_of(rule))


def ports_of(rule: EgressRule) -> Tuple[Ports, ...]:
    """The ports of ``rule``; those of an internet rule without ports are written out."""
    if isinstance(rule, InternetRule) and not rule.ports:
        return EVERY_PORT
    return rule.ports


def covers_name(rule: HostRule, name: str) -> bool:
    """Whether the host rule is for ``name`` (lower case, A-labels, no trailing dot)."""
    return name.endswith("." + rule.name) if rule.wildcard else name == rule.name


def are_images_within(inner: Tuple[str, ...], outer: Tuple[str, ...]) -> bool:
    """Whether every image name that a pattern of ``inner`` matches is matched by one of ``outer`` (empty: any)."""
    if not outer:
        return True
    return bool(inner) and all(any(_is_pattern_within(one, other) for other in outer) for one in inner)


def strictest(one: Policy, other: Policy) -> Policy:
    """The stricter of two policies, or, where each is stricter in something, a policy of what both allow."""
    if is_within(one, other):
        return one
    if is_within(other, one):
        return other
    return Policy(
        name=f"{one.name}+{other.name}",
        egress=common_rules(_opening(one), _opening(other)),
        ingress="published" if one.ingress == other.ingress == "published" else "none",
        dns_mode="static" if one.dns_mode == other.dns_mode == "static" else "gateway",
        dns_refresh=min(one.dns_refresh, other.dns_refresh),
        limits=least_limits(one.limits, other.limits),
        image=_common_images(one.image, other.image),
        on_denied="drop" if "drop" in (one.on_denied, other.on_denied) else "reject",
        mode="learn" if one.mode == other.mode == "learn" else "enforce",
        origins=tuple(sorted({**dict(other.origins), **dict(one.origins)}.items())),
        files=tuple(dict.fromkeys(one.files + other.files)),
    )


def common_rules(ones: Iterable[EgressRule], others: Iterable[EgressRule]) -> Tuple[EgressRule, ...]:
    """What both lists allow, as rules at the places of the first; a name and a network have nothing sure in common."""
    others = tuple(others)
    found: List[EgressRule] = []
    for one in ones:
        if is_rule_within(one, others):
            found.append(one)
            continue
        for other in others:
            rule = _common_rule(one, other)
            if rule is not None and rule not in found:
                found.append(rule)
    return tuple(found)


def _common_rule(one: EgressRule, other: EgressRule) -> Optional[EgressRule]:
    ports = tuple(
        Ports(a.protocol, max(a.low, b.low), min(a.high, b.high))
        for a in ports_of(one)
        for b in ports_of(other)
        if a.protocol == b.protocol and max(a.low, b.low) <= min(a.high, b.high)
    )
    if not ports:
        return None
    narrow = _narrower(one, other)
    return None if narrow is None else narrow._replace(ports=ports, where=one.where)


def _narrower(one: EgressRule, other: EgressRule) -> Optional[EgressRule]:
    """The destinations that both rules are for; ports and place are the caller's to set."""
    if isinstance(one, InternetRule) and isinstance(other, (HostRule, CidrRule)):
        one, other = other, one
    if isinstance(one, InternetRule) and isinstance(other, InternetRule):
        return one
    if isinstance(one, PeersRule) and isinstance(other, PeersRule):
        return one
    if isinstance(one, HostRule) and isinstance(other, HostRule):
        private = one.private and other.private
        if _is_host_within(one, other):
            return one._replace(private=private)
        return other._replace(private=private) if _is_host_within(other, one) else None
    if isinstance(one, CidrRule) and isinstance(other, CidrRule):
        if one.network.version != other.network.version or not one.network.overlaps(other.network):
            return None
        private = one.private and other.private
        narrow = one if one.network.prefixlen >= other.network.prefixlen else other
        return _closed_unless_public(narrow._replace(private=private))
    if isinstance(one, HostRule) and isinstance(other, InternetRule):
        return one._replace(private=False)
    if isinstance(one, CidrRule) and isinstance(other, InternetRule):
        return _closed_unless_public(one._replace(private=False))
    return None


def _closed_unless_public(rule: CidrRule) -> Optional[CidrRule]:
    return None if not rule.private and touches_special(rule.network) else rule


def _covers(outer: EgressRule, inner: EgressRule) -> bool:
    """Whether ``outer`` is for every destination that ``inner``, no network, is for."""
    if isinstance(inner, HostRule):
        if isinstance(outer, HostRule):
            return _is_host_within(inner, outer) and (outer.private or not inner.private)
        return isinstance(outer, InternetRule) and not inner.private
    return type(outer) is type(inner) and isinstance(inner, (InternetRule, PeersRule))


def _is_host_within(inner: HostRule, outer: HostRule) -> bool:
    if inner.wildcard:
        return outer.wildcard and (inner.name == outer.name or covers_name(outer, inner.name))
    return covers_name(outer, inner.name)


def _is_network_within(inner: CidrRule, span: Ports, rules: Tuple[EgressRule, ...]) -> bool:
    """Whether ``rules`` cover the network on all ports of ``span``; several networks may do so together, port by port.

    ``private`` counts for public networks too: the host's own addresses are closed without it.
    """
    fitting = [
        (rule, ports)
        for rule in rules
        if isinstance(rule, (CidrRule, InternetRule))
        and (not inner.private or (isinstance(rule, CidrRule) and rule.private))
        for ports in ports_of(rule)
        if ports.protocol == span.protocol and ports.low <= span.high and span.low <= ports.high
    ]
    # Between two neighbouring cuts the same rules apply to every port.
    cuts = sorted({span.low, *(p.low for _, p in fitting), *(p.high + 1 for _, p in fitting)})
    return all(
        _is_network_covered(inner, [rule for rule, ports in fitting if ports.low <= low <= ports.high])
        for low in cuts
        if span.low <= low <= span.high
    )


def _is_network_covered(inner: CidrRule, rules: "List[EgressRule]") -> bool:
    if any(isinstance(rule, InternetRule) for rule in rules):
        return True
    wanted = inner.network
    networks: Iterable[Network]
    if isinstance(wanted, IPv4Network):
        networks = collapse_addresses(_networks4(rules))
    else:
        networks = collapse_addresses(_networks6(rules))
    return any(network.prefixlen <= wanted.prefixlen and wanted.network_address in network for network in networks)


def _networks4(rules: "List[EgressRule]") -> List[IPv4Network]:
    return [r.network for r in rules if isinstance(r, CidrRule) and isinstance(r.network, IPv4Network)]


def _networks6(rules: "List[EgressRule]") -> List[IPv6Network]:
    return [r.network for r in rules if isinstance(r, CidrRule) and isinstance(r.network, IPv6Network)]


def _is_span_within(span: Ports, merged: Tuple[Ports, ...]) -> bool:
    return any(
        span.protocol == other.protocol and other.low <= span.low and span.high <= other.high for other in merged
    )


def _is_pattern_within(inner: str, outer: str) -> bool:
    """Sound because ``*`` is then the only wildcard of ``outer``, and nothing else of it can match one of ``inner``."""
    return inner in (outer, NO_IMAGE) or ("[" not in inner + outer and "?" not in outer and fnmatchcase(inner, outer))


def _common_images(one: ImageRules, other: ImageRules) -> ImageRules:
    digest = one.require_digest or other.require_digest
    if not one.allow or not other.allow:
        return ImageRules(one.allow or other.allow, digest)
    both = [a for a in one.allow if are_images_within((a,), other.allow)]
    both += [b for b in other.allow if b not in both and are_images_within((b,), one.allow)]
    # An empty tuple would mean any image; a pattern that no image name can match means none.
    return ImageRules(tuple(both) or (NO_IMAGE,), digest)


def least_limits(one: Limits, other: Limits) -> Limits:
    """The lower of each limit."""
    pairs: Iterable[Tuple[Any, Any]] = zip(one, other)
    return Limits(*(a if b is None or (a is not None and a <= b) else b for a, b in pairs))
