"""What a container has done, as the smallest policy that would have allowed it."""

from ipaddress import ip_address
from typing import Dict, Iterable, List, Set, Tuple

from rcc.core.activity import Activity, Destination
from rcc.core.compile import HOST_NAMES
from rcc.core.errors import RccError
from rcc.core.hostname import parse_host, shared_suffix
from rcc.core.policy import HTTPS, CidrRule, EgressRule, HostRule, PeersRule, Ports, Where, merge_ports
from rcc.core.render_policy import render_rule
from rcc.core.ruleset import CLOSED_PORTS
from rcc.core.special import address_network, is_special, never_by_name
from rcc.core.suggest import refusals

# So many names under one suffix, on the same ports, are taken for a wildcard.
MANY = 6


class _Found:
    """Ports by name and by address."""

    def __init__(self) -> None:
        self.names: Dict[Tuple[str, bool], Set[Ports]] = {}  # name, private
        self.addresses: Dict[str, Set[Ports]] = {}
        self.peers: Set[Ports] = set()


def learned_rules(activity: Activity) -> Tuple[EgressRule, ...]:
    """The rules for all that was used, sorted: names first."""
    found = _Found()
    peers = {asked.name for asked in activity.names if asked.peer}
    for one in activity.used:
        if one.port not in CLOSED_PORTS and one.protocol in ("tcp", "udp"):
            _add(found, one, peers, activity.host)
    rules: List[EgressRule] = list(_host_rules(found.names))
    for address, ports in sorted(found.addresses.items()):
        network = address_network(ip_address(address))
        rules.append(CidrRule(network, merge_ports(ports), is_special(ip_address(address)), Where()))
    if found.peers:
        rules.append(PeersRule(merge_ports(found.peers), Where()))
    return tuple(rules)


def _add(found: _Found, one: Destination, peers: Set[str], host: Tuple[str, ...]) -> None:
    ports = Ports(one.protocol, one.port, one.port)
    address = ip_address(one.address)
    if any(name in peers for name in one.names):
        found.peers.add(ports)
        return
    private = is_special(address) or one.address in host
    names = [HOST_NAMES[0]] if one.address in host else [name for name in one.names if _is_host(name, private)]
    if names and not (never_by_name(address) and one.address not in host):
        for name in names:
            found.names.setdefault((name, private), set()).add(ports)
    else:
        found.addresses.setdefault(one.address, set()).add(ports)


def _host_rules(names: Dict[Tuple[str, bool], Set[Ports]]) -> Iterable[HostRule]:
    """Rules for names; those of many siblings become one for all of them."""
    families: Dict[Tuple[str, Tuple[Ports, ...]], List[str]] = {}
    for (name, private), ports in names.items():
        if not private:
            families.setdefault((name.partition(".")[2], merge_ports(ports)), []).append(name)
    many = {key: members for key, members in families.items() if len(members) >= MANY}
    wild = {key: members for key, members in many.items() if _may_be_wild(key[0])}
    covered = {name for members in wild.values() for name in members}
    rules = [HostRule(suffix, True, ports, False, Where()) for suffix, ports in wild]
    for (name, private), ports in names.items():
        if private or name not in covered:
            rules.append(HostRule(name, False, merge_ports(ports), private, Where()))
    return sorted(rules, key=lambda rule: (rule.name.split(".")[::-1], rule.wildcard, rule.private))


def _is_host(name: str, private: bool) -> bool:
    """Whether a policy may name it."""
    try:
        parse_host(name, private)
    except RccError:
        return False
    return True


def _may_be_wild(suffix: str) -> bool:
    """Whether names under ``suffix`` are one owner's, as far as is known."""
    return _is_host(f"*.{suffix}", False) and not shared_suffix(suffix)


def render_learned(activity: Activity, span: str, *, refused: bool = False) -> str:
    """A profile as text, for `rcc check`.

    span: when it was seen, for people.  refused: also what was refused, as entries; it is told in comments otherwise.
    """
    rules = learned_rules(activity)
    wanted = [refusal for refusal in refusals(activity) if refusal.line]
    asked = {rule.name for rule in rules if isinstance(rule, HostRule)}
    idle = sorted(
        row.name
        for row in activity.names
        if row.name not in asked and not row.peer and not any(_covers(rule, row.name) for rule in rules)
    )
    lines = [
        f"# Learned from the container {_comment(activity.title)}, {span}.",
        f"# It ran with the profile {activity.profile}{' in the mode learn' if activity.mode == 'learn' else ''}.",
        "# Read it before you use it: what a container did is not what it should do.",
        "version: 1",
    ]
    entries = [line for rule in rules for line in _entry(rule)]
    if refused:
        entries += [f"  {refusal.line}" for refusal in wanted]
    lines += ["egress:", *entries] if entries else ["egress: []"]
    if wanted and not refused:
        lines += ["", "# Refused meanwhile, and not in the above:"]
        lines += [f"#  {refusal.line}  # {refusal.times} times" for refusal in wanted]
    if idle:
        lines += ["", "# Asked for, and never connected to:"]
        lines += [f"#   {_comment(name)}" for name in idle]
    return "\n".join(lines) + "\n"


def _entry(rule: EgressRule) -> List[str]:
    lines = render_rule(rule)
    if not isinstance(rule, PeersRule) and rule.ports == (HTTPS,):
        lines = [line for line in lines if "ports:" not in line]
    return lines


def _covers(rule: EgressRule, name: str) -> bool:
    return isinstance(rule, HostRule) and rule.wildcard and name.endswith(f".{rule.name}")


def _comment(text: str) -> str:
    """``text`` without what could end a comment."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:300]
