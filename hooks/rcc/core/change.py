"""Changes of a running container's policy: `rcc allow` and `rcc deny`, kept beside its profile.

What is allowed is put through the same layers and locks as a line in the user's own file (core/layers.py); what is
denied is taken out of what comes of it.
"""

from ipaddress import ip_address
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Tuple

from rcc.core.errors import RccError
from rcc.core.policy import CidrRule, EgressRule, HostRule, InternetRule, Policy, Ports

ALLOW, DENY = "allow", "deny"
CHANGES_LIMIT = 200


class Change(NamedTuple):
    """One `rcc allow` or `rcc deny`.

    ``target``: a name, ``*.name`` or an address.  ``ports``: empty to deny all of them.  ``until``: CLOCK_BOOTTIME in
    seconds, None for as long as the namespace lives.
    """

    verb: str
    target: str
    ports: Tuple[Ports, ...] = ()
    private: bool = False
    until: Optional[float] = None

    @property
    def is_address(self) -> bool:
        """Whether the target is an address."""
        return ":" in self.target or self.target.rpartition(".")[2].isdigit()

    def __str__(self) -> str:
        target = f"[{self.target}]" if ":" in self.target else self.target
        return " ".join([self.verb, target, *map(str, self.ports)])


def live(changes: Iterable[Change], now: float) -> Tuple[Change, ...]:
    """Those that hold at the moment ``now`` (CLOCK_BOOTTIME)."""
    return tuple(change for change in changes if change.until is None or change.until > now)


def with_change(changes: Iterable[Change], change: Change) -> Tuple[Change, ...]:
    """``changes`` and one more, which comes after them: what it makes pointless is left out.

    Raises RccError for more than CHANGES_LIMIT.
    """
    every = change.verb == DENY and not change.ports
    kept = [known for known in changes if known.target != change.target or not (every or known.ports == change.ports)]
    if len(kept) >= CHANGES_LIMIT:
        raise RccError(
            f"this container has {CHANGES_LIMIT} changes already", hint="write them into its profile, then rcc reload"
        )
    return (*kept, change)


def profile_text(profile: str, changes: Iterable[Change]) -> bytes:
    """A profile that extends ``profile`` by what ``changes`` allow."""
    lines = ["version: 1", f"extends: {profile}"]
    allowed = [line for change in changes if change.verb == ALLOW for line in yaml_lines(change)]
    return "\n".join([*lines, *(["egress:", *allowed] if allowed else [])]).encode("ascii") + b"\n"


def yaml_lines(change: Change) -> List[str]:
    """The entry of ``egress`` that allows the same for good."""
    key = "cidr" if change.is_address else "host"
    lines = [f'  - {key}: "{change.target}"', f"    ports: [{', '.join(map(str, change.ports))}]"]
    return lines + (["    private: true"] if change.private else [])


def changed(policy: Policy, merged: Policy, changes: Iterable[Change]) -> Policy:
    """``policy`` with ``changes`` made to it one after the other.

    merged: what came of ``profile_text``; the rules that are allowed are taken from there, with their places.
    Raises RccError for a denial that cannot be made alone: nothing of it would hold.
    """
    rules: Tuple[EgressRule, ...] = policy.egress
    for change in changes:
        if change.verb == DENY:
            rules = tuple(rule for old in rules for rule in _less(old, change))
        else:
            rules = (*rules, *(rule for rule in merged.egress if _is_of(rule, change) and rule not in rules))
    return merged._replace(egress=rules)


def _is_of(rule: EgressRule, change: Change) -> bool:
    if isinstance(rule, HostRule):
        name = f"*.{rule.name}" if rule.wildcard else rule.name
        return (name, rule.ports, rule.private) == (change.target, change.ports, change.private)
    if isinstance(rule, CidrRule):
        address = str(rule.network.network_address)
        return (address, rule.ports, rule.private) == (change.target, change.ports, change.private)
    return False


def _less(rule: EgressRule, change: Change) -> Iterable[EgressRule]:
    """What is left of a rule."""
    if isinstance(rule, InternetRule):
        raise RccError(
            f"internet: true opens every public address, so {change.target} cannot be denied alone ({rule.where})",
            hint="change the profile, then rcc reload",
        )
    if isinstance(rule, HostRule) and not change.is_address:
        name = f"*.{rule.name}" if rule.wildcard else rule.name
        if name == change.target:
            return _with_ports(rule, change)
        if rule.wildcard and change.target.endswith(f".{rule.name}"):
            raise RccError(
                f"*.{rule.name} allows {change.target} with all other names under it ({rule.where})",
                hint=f"deny '*.{rule.name}', then allow what is needed",
            )
        below = change.target.startswith("*.") and f".{rule.name}".endswith(change.target[1:])
        return _with_ports(rule, change) if below else (rule,)
    if isinstance(rule, CidrRule) and change.is_address:
        if str(rule.network.network_address) == change.target and rule.network.num_addresses == 1:
            return _with_ports(rule, change)
        if _holds(rule, change.target):
            raise RccError(
                f"cidr: {rule.network} allows {change.target} with all other addresses in it ({rule.where})",
                hint="change the profile, then rcc reload",
            )
    return (rule,)


def _holds(rule: CidrRule, address: str) -> bool:
    target = ip_address(address)
    return target.version == rule.network.version and target in rule.network


def _with_ports(rule: Any, change: Change) -> Iterable[EgressRule]:
    left = tuple(span for ports in rule.ports for span in _ports_less(ports, change.ports))
    return (rule._replace(ports=left),) if left and change.ports else ()


def _ports_less(span: Ports, gone: Iterable[Ports]) -> Iterable[Ports]:
    spans = [span]
    for hole in gone:
        rest: List[Ports] = []
        for one in spans:
            if one.protocol != hole.protocol or one.high < hole.low or hole.high < one.low:
                rest.append(one)
                continue
            if one.low < hole.low:
                rest.append(one._replace(high=hole.low - 1))
            if hole.high < one.high:
                rest.append(one._replace(low=hole.high + 1))
        spans = rest
    return spans


def change_to_data(change: Change) -> Dict[str, Any]:
    """A change as JSON-able data; ``change_from_data`` is its inverse."""
    return {**change._asdict(), "ports": [list(ports) for ports in change.ports]}


def change_from_data(data: Any) -> Change:
    """The change that ``data`` stands for.  Raises KeyError, TypeError or ValueError for what is none."""
    until = data["until"]
    ports = tuple(Ports(str(protocol), int(low), int(high)) for protocol, low, high in data["ports"])
    return Change(
        str(data["verb"]), str(data["target"]), ports, bool(data["private"]), None if until is None else float(until)
    )
