"""Policies and settings to plain data (dict, list, str, int, float, bool, None) and back.

For state files, the hook's cache and ``--json``: ``policy_from_data(policy_to_data(policy)) == policy``.  Whoever calls
serialises.  On the start path of every labelled container, so nothing is imported that is not needed.
"""

from ipaddress import ip_network
from typing import Any, Dict, List, Tuple

from rcc.core.errors import RccError
from rcc.core.policy import (
    DNS_MODES,
    INGRESS,
    MODES,
    ON_DENIED,
    PROTOCOLS,
    CidrRule,
    EgressRule,
    HostRule,
    ImageRules,
    InternetRule,
    Limits,
    PeersRule,
    Policy,
    Ports,
    Where,
)

_COUNT = (int,)
_NUMBER = (int, float)
_LIMIT_TYPES = {key: _NUMBER if key == "cpus" else _COUNT for key in Limits._fields}


def policy_to_data(policy: Policy) -> Dict[str, Any]:
    """``policy`` as plain data; limits that are not set are left out."""
    return {
        "name": policy.name,
        "egress": [rule_to_data(rule) for rule in policy.egress],
        "ingress": policy.ingress,
        "dns": {"mode": policy.dns_mode, "refresh": policy.dns_refresh},
        "limits": {key: value for key, value in zip(Limits._fields, policy.limits) if value is not None},
        "image": {"allow": list(policy.image.allow), "require_digest": policy.image.require_digest},
        "on_denied": policy.on_denied,
        "mode": policy.mode,
        "origins": [[key, list(where)] for key, where in policy.origins],
        "files": list(policy.files),
    }


def rule_to_data(rule: EgressRule) -> Dict[str, Any]:
    """One egress rule, its kind by its first key: host (wildcards with ``*.``), cidr, peers or internet."""
    data: Dict[str, Any]
    if isinstance(rule, HostRule):
        data = {"host": f"*.{rule.name}" if rule.wildcard else rule.name}
    elif isinstance(rule, CidrRule):
        data = {"cidr": str(rule.network)}
    else:
        data = {"peers" if isinstance(rule, PeersRule) else "internet": True}
    data["ports"] = [str(ports) for ports in rule.ports]
    if isinstance(rule, (HostRule, CidrRule)):
        data["private"] = rule.private
    data["where"] = list(rule.where)
    return data


def policy_from_data(data: Any) -> Policy:
    """The policy that ``policy_to_data`` gave as ``data``.  Raises RccError for anything else."""
    try:
        dns = _typed(data["dns"], dict)
        limits = _typed(data["limits"], dict)
        image = _typed(data["image"], dict)
        return Policy(
            name=_typed(data["name"], str),
            egress=tuple(rule_from_data(rule) for rule in _typed(data["egress"], list)),
            ingress=_word(data["ingress"], INGRESS),
            dns_mode=_word(dns["mode"], DNS_MODES),
            dns_refresh=_positive(dns["refresh"], _COUNT),
            limits=Limits(**{key: _positive(value, _LIMIT_TYPES[key]) for key, value in limits.items()}),
            image=ImageRules(_texts(image["allow"]), _typed(image["require_digest"], bool)),
            on_denied=_word(data["on_denied"], ON_DENIED),
            mode=_word(data["mode"], MODES),
            origins=tuple((_typed(key, str), _where(where)) for key, where in _typed(data["origins"], list)),
            files=_texts(data["files"]),
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise RccError("stored data is no policy of this rcc", hint="remove the file that it comes from") from error


def rule_from_data(data: Any) -> EgressRule:
    """The rule that ``rule_to_data`` gave.  Raises KeyError, TypeError or ValueError for anything else."""
    ports = tuple(ports_from_text(text) for text in _texts(data["ports"]))
    where = _where(data["where"])
    if "internet" in data:
        return InternetRule(ports, where)
    if not ports:
        raise ValueError("a rule without ports")
    if "host" in data:
        text = _typed(data["host"], str)
        wildcard = text.startswith("*.")
        name = text[2:] if wildcard else text
        if not name or "*" in name or name != name.lower() or not name.isascii() or name.startswith("."):
            raise ValueError(name)
        return HostRule(name, wildcard, ports, _typed(data["private"], bool), where)
    if "cidr" in data:
        return CidrRule(ip_network(_typed(data["cidr"], str)), ports, _typed(data["private"], bool), where)
    if data["peers"] is not True:
        raise ValueError(data["peers"])
    return PeersRule(ports, where)


def ports_from_text(text: str) -> Ports:
    """What ``str(Ports)`` gave.  Raises ValueError for anything else."""
    span, _, protocol = text.partition("/")
    low, _, high = span.partition("-")
    ports = Ports(protocol, int(low), int(high or low))
    if protocol not in PROTOCOLS or not 1 <= ports.low <= ports.high <= 65535 or str(ports) != text:
        raise ValueError(text)
    return ports


def _where(data: Any) -> Where:
    file, line, column = data
    return Where(_typed(file, str), _typed(line, int), _typed(column, int))


def _typed(value: Any, kind: type) -> Any:
    """``value`` if it is of exactly this type: a bool is no int here."""
    if type(value) is not kind:
        raise TypeError(value)
    return value


def _word(value: Any, words: Tuple[str, ...]) -> str:
    if value not in words:
        raise ValueError(value)
    return str(value)


def _positive(value: Any, kinds: Tuple[type, ...]) -> Any:
    if type(value) not in kinds or not 0 < value < float("inf"):
        raise ValueError(value)
    return value


def _texts(value: Any) -> Tuple[str, ...]:
    texts: List[str] = [_typed(text, str) for text in _typed(value, list)]
    return tuple(texts)
