"""Profiles and presets: YAML text to a ``Layer``, every problem of the file located (reference: docs/policy.md).

A layer says what its own file says and nothing more; ``core/layers`` puts layers together into a ``Policy``.
"""

import re
from ipaddress import ip_network
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from rcc.core import quantities
from rcc.core.errors import RccError
from rcc.core.hostname import parse_host
from rcc.core.policy import (
    DNS_MODES,
    HTTPS,
    INGRESS,
    MODES,
    ON_DENIED,
    CidrRule,
    EgressRule,
    HostRule,
    InternetRule,
    Network,
    PeersRule,
    Ports,
    Where,
)
from rcc.core.report import Note, Report, shown
from rcc.core.sources import PRESET, PROFILE
from rcc.core.special import touches_special
from rcc.core.yaml_tree import Entries, Items, Node, Scalar, boolean, choice, fields, items, read_tree, scalar

VERSION = "1"
NAME = re.compile(r"[a-z0-9][a-z0-9._-]*", re.ASCII)
NAME_LIMIT = 64
# Words that the label takes for itself (design: `1` is the default profile, `0` is no isolation).
RESERVED_NAMES = ("0", "1", "true", "false", "on", "off", "yes", "no")

PRESET_KEYS = ("version", "description", "presets", "egress")
PROFILE_KEYS = (*PRESET_KEYS, "extends", "mode", "ingress", "dns", "limits", "image", "on_denied")
TARGETS = ("host", "cidr", "peers", "internet")
EGRESS_KEYS = (*TARGETS, "ports", "private")

MEMORY_FLOOR = 6 << 20  # less than this Podman itself refuses (podman-run(1), --memory)
REFRESH = (1, 86400)  # seconds


class Name(NamedTuple):
    """A profile or preset named in a file."""

    name: str
    where: Where


class Setting(NamedTuple):
    """One decided value; ``key`` as in Policy.origins (``ingress``, ``dns.mode``, ``limits.memory``, ...)."""

    key: str
    value: Any
    where: Where


class Layer(NamedTuple):
    """What one profile, preset or ceiling says.  ``egress`` None: it says nothing; empty: nothing is allowed."""

    file: str
    extends: Optional[Name] = None
    presets: Tuple[Name, ...] = ()
    egress: Optional[Tuple[EgressRule, ...]] = None
    settings: Tuple[Setting, ...] = ()


class Reading(NamedTuple):
    """A file read: ``layer`` holds only when there are no problems."""

    layer: Layer
    problems: Tuple[RccError, ...]
    notes: Tuple[Note, ...]


def read_layer(text: bytes, file: str, kind: str = PROFILE) -> Reading:
    """A profile's or preset's text; ``file`` is how messages call it.  Raises nothing for any text."""
    report = Report()
    layer = Layer(file)
    root = read_tree(text, file, report)
    if root is not None or not report.problems:
        layer = _read_root(root, file, kind, report)
    return Reading(layer, report.problems, report.notes)


def parse_layer(text: bytes, file: str, kind: str = PROFILE) -> Layer:
    """The same, for those who need a sound file.  Raises ConfigError with every problem."""
    report = Report()
    root = read_tree(text, file, report)
    report.settle()
    layer = _read_root(root, file, kind, report)
    report.settle()
    return layer


def _read_root(root: Optional[Node], file: str, kind: str, report: Report) -> Layer:
    found = read_versioned(root, PRESET_KEYS if kind == PRESET else PROFILE_KEYS, f"a {kind}", file, report)
    return read_body(found, file, report)


def read_versioned(
    root: Optional[Node], known: Tuple[str, ...], what: str, file: str, report: Report
) -> Dict[str, Node]:
    """The fields of a file's root, whose ``version`` must be ours."""
    if root is None or (isinstance(root, Scalar) and root.empty):
        report.problem(Where(file, 1, 1), f"the file is empty; {what} begins with a version", "write: version: 1")
        return {}
    found = fields(root, known, what, report)
    if isinstance(root, Entries):
        version = found.get("version")
        if version is None and not any(key.text == "version" for key, _ in root.entries):
            report.problem(root.where, "no version", "begin the file with: version: 1")
        elif version is not None and (not isinstance(version, Scalar) or version.text != VERSION):
            report.problem(version.where, "an unknown version", f"this rcc reads version {VERSION}")
    if "description" in found:
        scalar(found["description"], "description", report)
    return found


def read_body(found: Dict[str, Node], file: str, report: Report) -> Layer:
    """The policy keys among ``found``: of a profile, a preset, or an admin's ceiling."""
    extends = read_name(found["extends"], "extends", report) if "extends" in found else None
    presets = read_names(found["presets"], "presets", report) if "presets" in found else ()
    egress = _read_egress(found["egress"], report) if "egress" in found else None
    if egress == () and presets:
        report.problem(
            found["egress"].where,
            "an empty egress list allows nothing, but presets opens hosts",
            "remove one of the two",
        )
    settings: List[Setting] = []
    for key, words in (("ingress", INGRESS), ("on_denied", ON_DENIED), ("mode", MODES)):
        if key in found:
            word = choice(found[key], key, words, report)
            if word is not None:
                settings.append(Setting(key, word, found[key].where))
            if word == "learn":
                _check_learn(found[key].where, egress, report)
    if "dns" in found:
        settings += _read_dns(found["dns"], report)
    if "limits" in found:
        settings += _read_limits(found["limits"], report)
    if "image" in found:
        settings += _read_image(found["image"], report)
    return Layer(file, extends, presets, egress, tuple(settings))


def _check_learn(where: Where, egress: Optional[Tuple[EgressRule, ...]], report: Report) -> None:
    report.note(where, "with mode: learn every public address is open: for finding out what a container needs, no more")
    if egress == ():
        report.problem(where, "mode: learn opens every public address, but egress: [] none", "remove one of the two")


def read_name(node: Node, what: str, report: Report) -> Optional[Name]:
    """A profile's or preset's name."""
    word = scalar(node, what, report)
    if word is None:
        return None
    if not is_name(word.text):
        hint = "lower-case letters, digits, '.', '-' and '_', beginning with a letter or digit"
        report.problem(word.where, f"{what}: {shown(word.text)} is no name", hint)
        return None
    return Name(word.text, word.where)


def is_name(text: str) -> bool:
    """Whether a profile or preset can be called so."""
    return len(text) <= NAME_LIMIT and NAME.fullmatch(text) is not None and text not in RESERVED_NAMES


def read_names(node: Node, what: str, report: Report) -> Tuple[Name, ...]:
    """A list of names, none twice."""
    names: List[Name] = []
    for item in items(node, what, report):
        name = read_name(item, what, report)
        if name is None:
            continue
        if any(name.name == other.name for other in names):
            report.problem(name.where, f"{what}: {name.name} stands twice", "remove one")
        names.append(name)
    return tuple(names)


def _read_egress(node: Node, report: Report) -> Tuple[EgressRule, ...]:
    if not isinstance(node, Items):
        report.problem(node.where, "egress must be a list", "a line for each entry: - host: api.example.com")
        return ()
    rules = []
    for item in node.items:
        if isinstance(item, Scalar):
            report.problem(
                item.where, "an egress entry must say what it is", f"- host: {item.text[:60]}" if item.text else ""
            )
            continue
        rule = _read_rule(item, report)
        if rule is not None:
            rules.append(rule)
    return tuple(rules)


def _read_rule(node: Node, report: Report) -> Optional[EgressRule]:
    found = fields(node, EGRESS_KEYS, "an egress entry", report)
    if not isinstance(node, Entries):
        return None
    targets = [key for key in TARGETS if key in found]
    if len(targets) != 1:
        if any(key.text in TARGETS for key, _ in node.entries) and not targets:
            return None  # its value was missing, which has been told
        named = " and ".join(targets) or "none of them"
        report.problem(node.where, f"an egress entry has exactly one of {', '.join(TARGETS)}; this has {named}")
        return None
    kind = targets[0]
    ports = _read_ports(found["ports"], report) if "ports" in found else None
    private = bool(boolean(found["private"], "private", report)) if "private" in found else False
    if kind in ("peers", "internet"):
        return _read_open(kind, found, ports, report)
    word = scalar(found[kind], kind, report)
    if word is None:
        return None
    try:
        if kind == "host":
            host = parse_host(word.text, private)
            for message in host.notes:
                report.note(word.where, message)
            return HostRule(host.name, host.wildcard, ports or (HTTPS,), private, node.where)
        return CidrRule(_parse_cidr(word.text, private), ports or (HTTPS,), private, node.where)
    except RccError as error:
        report.problem(word.where, error.message, error.hint)
    return None


def _read_open(
    kind: str, found: Dict[str, Node], ports: Optional[Tuple[Ports, ...]], report: Report
) -> Optional[EgressRule]:
    """``peers: true`` and ``internet: true``."""
    where = found[kind].where
    wanted = boolean(found[kind], kind, report)
    if wanted is False:
        report.problem(where, f"{kind}: false opens nothing", "remove the entry; an entry can only allow")
    if "private" in found:
        report.problem(found["private"].where, f"private has no meaning beside {kind}", "remove it")
    if kind == "internet":
        return InternetRule(ports or (), where)
    if "ports" not in found:
        report.problem(where, "peers needs ports", "ports: [5432]; every port is ports: [1-65535/tcp, 1-65535/udp]")
        return None
    return PeersRule(ports or (), where)


def _parse_cidr(text: str, private: bool) -> Network:
    address, slash, length = text.partition("/")
    if (slash and not length.isdigit()) or "%" in text:
        raise RccError(f"not a network: {shown(text)}", hint="an address and the length of its prefix: 203.0.113.0/24")
    try:
        network = ip_network(text, strict=False)
    except ValueError as error:
        raise RccError(
            f"not a network: {shown(text)}",
            hint="such as 203.0.113.0/24, 2001:db8::/32 or one address; names go under host:",
        ) from error
    if str(network.network_address) != address and ip_network(address) != ip_network(network.network_address):
        raise RccError(
            f"{shown(text)} has bits set beyond its prefix", hint=f"write {network}, or {address} for that one"
        )
    if network.prefixlen == 0:
        raise RccError(f"{network} is every address there is", hint="for every public address write: - internet: true")
    if not private and touches_special(network):
        raise RccError(
            f"{network} touches private or special ranges, which stay closed",
            hint="add private: true to the entry if you mean to open them",
        )
    return network


def _read_ports(node: Node, report: Report) -> Optional[Tuple[Ports, ...]]:
    """The ports of an entry, in order, none twice."""
    if isinstance(node, Items) and not node.items:
        report.problem(
            node.where, "an empty list of ports allows nothing", "remove the entry, or ports: for the default"
        )
        return None
    found: List[Ports] = []
    for item in items(node, "ports", report):
        word = scalar(item, "a port", report)
        if word is None:
            continue
        try:
            ports = quantities.parse_ports(word.text)
        except RccError as error:
            report.problem(word.where, error.message, error.hint)
            continue
        for port, what in ((53, "DNS"), (853, "DNS over TLS")):
            if ports.low <= port <= ports.high and ports.low != 1:
                report.note(word.where, f"port {port} is {what}: it stays closed but for rcc's own gateway")
        if ports not in found:
            found.append(ports)
    return tuple(found)


def _read_dns(node: Node, report: Report) -> List[Setting]:
    found = fields(node, ("mode", "refresh"), "dns", report)
    settings = []
    if "mode" in found:
        mode = choice(found["mode"], "dns.mode", DNS_MODES, report)
        if mode is not None:
            settings.append(Setting("dns.mode", mode, found["mode"].where))
        if mode == "static":
            report.note(found["mode"].where, "with dns.mode: static every name can be asked for, allowed or not")
    settings += _quantity(found, "refresh", "dns.refresh", quantities.parse_duration, REFRESH, report)
    return settings


# Key, parser, least and greatest value.
LIMITS: Tuple[Tuple[str, Callable[[str], Any], Tuple[float, float]], ...] = (
    ("memory", quantities.parse_size, (MEMORY_FLOOR, 1 << 50)),
    ("cpus", quantities.parse_cpus, (0.01, 8192)),
    ("pids", quantities.parse_count, (1, 1 << 22)),  # PID_MAX_LIMIT, include/linux/threads.h
    ("nofile", quantities.parse_count, (16, 1 << 20)),  # the usual fs.nr_open
    ("egress_rate", quantities.parse_rate, (8000, 10**13)),
    ("egress_quota", quantities.parse_size, (1, 1 << 60)),
)


def _read_limits(node: Node, report: Report) -> List[Setting]:
    found = fields(node, tuple(key for key, _, _ in LIMITS), "limits", report)
    settings: List[Setting] = []
    for key, parse, bounds in LIMITS:
        value = found.get(key)
        if isinstance(value, Scalar) and value.text == "none":
            settings.append(Setting(f"limits.{key}", None, value.where))
        else:
            settings += _quantity(found, key, f"limits.{key}", parse, bounds, report)
    return settings


def _quantity(
    found: Dict[str, Node],
    key: str,
    setting: str,
    parse: Callable[[str], Any],
    bounds: Tuple[float, float],
    report: Report,
) -> List[Setting]:
    word = scalar(found[key], setting, report) if key in found else None
    if word is None:
        return []
    try:
        value = parse(word.text)
    except RccError as error:
        report.problem(word.where, f"{setting}: {error.message}", error.hint)
        return []
    if not bounds[0] <= value <= bounds[1]:
        way = "little" if value < bounds[0] else "much"
        report.problem(word.where, f"{setting}: {shown(word.text)} is too {way}", "check the unit")
        return []
    return [Setting(setting, value, word.where)]


def _read_image(node: Node, report: Report) -> List[Setting]:
    found = fields(node, ("allow", "require_digest"), "image", report)
    settings = []
    if "allow" in found:
        patterns = [scalar(item, "image.allow", report) for item in items(found["allow"], "image.allow", report)]
        words = [word for word in patterns if word is not None]
        if isinstance(found["allow"], Items) and not found["allow"].items:
            report.problem(
                found["allow"].where, "an empty image.allow would allow every image", "remove it, or name images"
            )
        for word in words:
            _check_pattern(word, report)
        settings.append(Setting("image.allow", tuple(word.text for word in words), found["allow"].where))
    if "require_digest" in found:
        wanted = boolean(found["require_digest"], "image.require_digest", report)
        settings.append(Setting("image.require_digest", bool(wanted), found["require_digest"].where))
    return settings


def _check_pattern(word: Scalar, report: Report) -> None:
    bare, at, _ = word.text.partition("@")
    head, _, tail = bare.rpartition("/")
    if at or ":" in tail:
        hint = f"write {head + '/' if head else ''}{tail.partition(':')[0]}; require_digest: true pins images"
        report.problem(word.where, f"image.allow is for registry/name, without tag or digest: {shown(word.text)}", hint)
    elif not re.fullmatch(r"[A-Za-z0-9._:/*?-]+", word.text):
        report.problem(
            word.where, f"not an image name: {shown(word.text)}", "such as ghcr.io/acme/* or docker.io/library/debian"
        )
    elif "/" not in word.text and word.text != "*":
        report.note(word.where, f"{word.text} names no registry: images are compared by registry/name")
