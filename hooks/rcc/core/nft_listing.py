"""What the kernel lists, against what a ruleset should be.  Input is libnftables' JSON (libnftables-json(5)), parsed.

Compared are chains with hook, priority and policy; of every rule its place, comment, sets, ct mark and verdict; the
definition of every set and the elements that have no lifetime.  Elements with a lifetime come and go by themselves.
"""

import re
from ipaddress import ip_address, summarize_address_range
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from rcc.core.nft_table import (
    QUOTA,
    TABLE,
    TIMED,
    NftRule,
    NftSet,
    nft_chains,
    nft_sets,
)
from rcc.core.notes import COUNTERS, NOTED_SECONDS, NOTED_SIZE
from rcc.core.ruleset import Ruleset
from rcc.core.special import Address

_PROTOCOLS = {6: "tcp", 17: "udp"}
# Sets of what is true of the host and the container's network at a moment.
MOVING = ("special", "resolvers")
_ENDS = ("accept", "drop", "return", "reject", "redirect")
# What tells one rule from another: comment, sets, ct marks, verdict.
_Signature = Tuple[str, Tuple[str, ...], Tuple[int, ...], str]


def differences(listing: Any, ruleset: Ruleset, ident: str, *, same_facts: bool = True) -> Iterator[str]:
    """What is wrong with the listed table, a line each; nothing when it is that of ``ruleset`` and ``ident``.

    Without ``same_facts`` the elements of the sets in MOVING are not compared: the ruleset was made of facts of another
    moment than those that the agent has loaded since.
    ``listing``: the members of ``nftables`` in the answer to ``list table``, protocols as numbers.
    Raises ValueError, TypeError, KeyError, AttributeError or IndexError for what is no such listing.
    """
    found: Dict[str, List[Any]] = {}
    for entry in listing:
        for kind, value in entry.items():
            found.setdefault(kind, []).append(value)
    if [table["name"] for table in found.get("table", ())] != [TABLE] or found["table"][0].get("flags"):
        yield "the table is missing or dormant"
        return
    yield from _compare("counters", sorted(COUNTERS), sorted(counter["name"] for counter in found.get("counter", ())))
    quotas = [] if ruleset.egress_quota is None else [(QUOTA, ruleset.egress_quota)]
    yield from _compare("quota", quotas, [(quota["name"], quota["bytes"]) for quota in found.get("quota", ())])
    yield from _chain_differences(found, ruleset, ident)
    yield from _set_differences(found, ruleset, () if same_facts else MOVING)
    known = {"metainfo", "table", "counter", "quota", "chain", "rule", "set"}
    for kind in sorted(set(found) - known):
        yield f"there is a {kind} that rcc has not made"


def ident_of(listing: Any) -> str:
    """The ident in the answer to ``list chain`` of ABOUT; empty when it holds none.  Raises as ``differences``."""
    for entry in listing:
        if "rule" in entry:
            return str(entry["rule"].get("comment", ""))
    return ""


class Timed(NamedTuple):
    """An address that names have opened, and the seconds that it has left."""

    address: Address
    seconds: int


def timed_elements(listing: Any) -> Iterator[Timed]:
    """The elements of the timed sets of a listed table.  Raises as ``differences``."""
    for entry in listing:
        if entry.get("set", {}).get("name", "").startswith(TIMED):
            for element in entry["set"].get("elem", ()):
                seconds = int(element["elem"].get("expires", 0))
                if seconds > 0:
                    yield Timed(ip_address(element["elem"]["val"]["concat"][0]), seconds)


def _compare(what: str, expected: Any, actual: Any) -> Iterator[str]:
    if expected != actual:
        yield f"{what}: expected {expected}, found {actual}"


def _chain_differences(found: Dict[str, List[Any]], ruleset: Ruleset, ident: str) -> Iterator[str]:
    chains = nft_chains(ruleset, ident)
    expected = {
        chain.name: (chain.type, chain.hook, chain.priority, chain.policy) if chain.hook else ("", "", 0, "")
        for chain in chains
    }
    actual = {
        chain["name"]: (chain.get("type", ""), chain.get("hook", ""), chain.get("prio", 0), chain.get("policy", ""))
        for chain in found.get("chain", ())
    }
    for name in sorted({*expected, *actual}):
        yield from _compare(f"chain {name}", expected.get(name), actual.get(name))
    rules: Dict[str, List[_Signature]] = {}
    for rule in found.get("rule", ()):
        rules.setdefault(rule["chain"], []).append(_listed_signature(rule))
    for chain in chains:
        actual_rules = rules.get(chain.name, [])
        for index, rule in enumerate(chain.rules):
            listed = actual_rules[index] if index < len(actual_rules) else None
            yield from _compare(f"rule {index + 1} of chain {chain.name}", _signature(rule), listed)
        for extra in actual_rules[len(chain.rules) :]:
            yield f"chain {chain.name} has a rule too many: {extra}"


def _signature(rule: NftRule) -> _Signature:
    marks = tuple(int(mark, 16) for mark in re.findall(r"ct mark (?:set )?(0x[0-9a-f]+)", rule.matches))
    verdict = rule.verdict.split()[0] if rule.verdict.startswith(("reject", "redirect")) else rule.verdict
    return rule.comment, rule.sets, marks, verdict


def _listed_signature(rule: Any) -> _Signature:
    sets: List[str] = []
    marks: List[int] = []
    verdict = ""
    for statement in rule["expr"]:
        sets += _references(statement)
        for kind, value in statement.items():
            if kind in _ENDS:
                verdict = kind
            elif kind in ("goto", "jump"):
                verdict = f"{kind} {value['target']}"
            elif kind == "match" and value["left"] == {"ct": {"key": "mark"}}:
                # Anything but equality admits other flows.
                marks.append(value["right"] if value["op"] == "==" else -1)
            elif kind == "mangle":
                marks.append(value["value"])
    return rule.get("comment", ""), tuple(sorted(sets)), tuple(marks), verdict


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if value.startswith("@"):
            yield value[1:]
    elif isinstance(value, dict):
        for part in value.values():
            yield from _references(part)
    elif isinstance(value, list):
        for part in value:
            yield from _references(part)


def _set_differences(found: Dict[str, List[Any]], ruleset: Ruleset, moving: Tuple[str, ...]) -> Iterator[str]:
    expected = {nft_set.name: nft_set for nft_set in nft_sets(ruleset)}
    actual = {listed["name"]: listed for listed in found.get("set", ())}
    yield from _compare("sets", sorted(expected), sorted(actual))
    for name in sorted(set(expected) & set(actual)):
        yield from _compare(f"set {name}", _definition(expected[name]), _listed_definition(actual[name]))
        if expected[name].dynamic or name.startswith(moving):
            continue
        wanted = {element.key for element in expected[name].elements if element.lifetime is None}
        listed = {key for key in map(_static_key, actual[name].get("elem", ())) if key is not None}
        for key in sorted(wanted - listed):
            yield f"set {name} lacks {key}"
        for key in sorted(listed - wanted):
            yield f"set {name} has {key}, which rcc has not put there"


def _definition(nft_set: NftSet) -> Tuple[Any, ...]:
    flags = tuple(flag for flag in nft_set.flags if flag != "dynamic")
    bounds = (NOTED_SIZE, NOTED_SECONDS) if nft_set.dynamic else (None, None)
    return (nft_set.type, flags, *bounds)


def _listed_definition(listed: Any) -> Tuple[Any, ...]:
    kind = listed["type"] if isinstance(listed["type"], str) else " . ".join(listed["type"])
    # nft 1.0.6 does not list `dynamic`; later versions do.
    flags = tuple(sorted(flag for flag in listed.get("flags", ()) if flag != "dynamic"))
    return kind, flags, listed.get("size"), listed.get("timeout")


def _static_key(element: Any) -> Optional[str]:
    """A listed element as ``nft_sets`` writes it, None for one with a lifetime."""
    if isinstance(element, dict) and "elem" in element:
        element = element["elem"]
        if "timeout" in element:
            return None
        element = element["val"]
    if isinstance(element, dict) and "concat" in element:
        address_or_protocol, *rest = element["concat"]
        first = _field(address_or_protocol)
        if len(rest) == 2:
            return f"{first} . {_protocol(rest[0])} . {_field(rest[1])}"
        return f"{_protocol(address_or_protocol)} . {_field(rest[0])}"
    return _field(element)


def _protocol(field: Any) -> str:
    return _PROTOCOLS.get(field, str(field)) if isinstance(field, int) else _field(field)


def _field(field: Any) -> str:
    """An address, port, prefix or range as ``nft_sets`` writes it."""
    if isinstance(field, dict) and "prefix" in field:
        return f"{ip_address(field['prefix']['addr'])}/{field['prefix']['len']}"
    if isinstance(field, dict):
        low, high = field["range"]
        if isinstance(low, int):
            return f"{low}-{high}"
        networks = list(summarize_address_range(ip_address(low), ip_address(high)))
        return str(networks[0]) if len(networks) == 1 else f"{low}-{high}"
    return str(field) if isinstance(field, int) else str(ip_address(field))
