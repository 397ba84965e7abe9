"""A policy as the text of a profile that means the same with nothing inherited, to read and to start from."""

from typing import Callable, Dict, Iterable, List

from rcc.core.policy import CidrRule, EgressRule, HostRule, InternetRule, Limits, Policy
from rcc.core.quantities import render_duration, render_rate, render_size

_RENDER: Dict[str, Callable[[int], str]] = {
    "memory": render_size,
    "egress_quota": render_size,
    "egress_rate": render_rate,
}


def render_policy(policy: Policy) -> str:
    """The YAML of ``policy``.  Read again it gives the same policy but for its name and the places of its lines."""
    lines = ["version: 1"]
    rules: Iterable[EgressRule] = policy.egress
    if policy.mode == "learn":
        lines.append("mode: learn")
        rules = [rule for rule in rules if not isinstance(rule, InternetRule) or rule.ports]
    egress = [line for rule in rules for line in render_rule(rule)]
    if egress:
        lines += ["egress:", *egress]
    elif policy.mode != "learn":
        lines.append("egress: []")
    lines.append(f"ingress: {policy.ingress}")
    lines.append(f"dns: {{mode: {policy.dns_mode}, refresh: {render_duration(policy.dns_refresh)}}}")
    limits = [f"{key}: {_number(key, value)}" for key, value in zip(Limits._fields, policy.limits) if value is not None]
    if limits:
        lines.append(f"limits: {{{', '.join(limits)}}}")
    image: List[str] = []
    if policy.image.allow:
        image.append(f"allow: [{', '.join(_quoted(pattern) for pattern in policy.image.allow)}]")
    if policy.image.require_digest:
        image.append("require_digest: true")
    if image:
        lines.append(f"image: {{{', '.join(image)}}}")
    lines.append(f"on_denied: {policy.on_denied}")
    return "\n".join(lines) + "\n"


def render_rule(rule: EgressRule) -> List[str]:
    """One entry of ``egress``, a line each."""
    if isinstance(rule, HostRule):
        head = "host: " + (_quoted(f"*.{rule.name}") if rule.wildcard else _quoted(rule.name))
    elif isinstance(rule, CidrRule):
        head = f"cidr: {_quoted(str(rule.network))}"
    else:
        head = "internet: true" if isinstance(rule, InternetRule) else "peers: true"
    lines = [f"  - {head}"]
    if rule.ports:
        lines.append(f"    ports: [{', '.join(str(ports) for ports in rule.ports)}]")
    if isinstance(rule, (HostRule, CidrRule)) and rule.private:
        lines.append("    private: true")
    return lines


def _quoted(text: str) -> str:
    return f'"{text}"'


def _number(key: str, value: float) -> str:
    if key == "cpus":
        return f"{value:.3f}".rstrip("0").rstrip(".")
    return _RENDER.get(key, str)(int(value))
