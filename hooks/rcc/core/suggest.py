"""The line of YAML that would allow what was refused; for those who then decide whether it should be allowed.

Lines are entries of a profile's ``egress`` in YAML's flow style, one line each, as `rcc check` takes them.
"""

from ipaddress import ip_address
from typing import Iterable, List, NamedTuple, Tuple

from rcc.core.activity import Activity, Destination, RefusedName
from rcc.core.compile import HOST_NAMES
from rcc.core.errors import RccError
from rcc.core.hostname import parse_host
from rcc.core.ruleset import CLOSED_PORTS
from rcc.core.special import Address, is_metadata, is_special, never_by_name

NEVER = "DNS goes by rcc's gateway; nothing opens this port"


class Refusal(NamedTuple):
    """One thing that was refused.

    kind: ``name`` or ``address``.  what: the name and record type, or address, port and protocol.  names: what the
    address was asked for by.  line: what would allow it, empty where nothing does, and then ``why`` says why; it may
    also add a word to the line.  Times in wall seconds.
    """

    kind: str
    what: str
    times: int
    first: float
    last: float
    process: str = ""
    names: Tuple[str, ...] = ()
    line: str = ""
    why: str = ""


def refusals(activity: Activity) -> Tuple[Refusal, ...]:
    """All that was refused, the last one first; the record types of one name together."""
    found = [*_names(activity.refused), *(_address(one, activity.host) for one in activity.denied)]
    return tuple(sorted(found, key=lambda refusal: (-refusal.last, refusal.what)))


def _names(rows: Iterable[RefusedName]) -> Iterable[Refusal]:
    by_name: "dict[str, List[RefusedName]]" = {}
    for row in rows:
        by_name.setdefault(row.name, []).append(row)
    for name, some in by_name.items():
        line, why = suggest_name(name)
        process = next((row.process for row in some if row.process), "")
        yield Refusal(
            "name", f"{name} {' '.join(sorted({row.type for row in some}))}", sum(row.times for row in some),
            min(row.first for row in some), max(row.last for row in some), process, (), line, why,
        )  # fmt: skip


def suggest_name(name: str) -> Tuple[str, str]:
    """The line that allows a name, and a word about it."""
    try:
        parse_host(name)
        return f"- host: {name}", ""
    except RccError as error:
        why = error.message
    try:
        parse_host(name, private=True)
    except RccError:
        return "", why
    return f"- {{host: {name}, private: true}}", "or peers: true, if it is another container's"


def _address(one: Destination, host: Tuple[str, ...]) -> Refusal:
    line, why = suggest_address(one, host)
    what = f"[{one.address}]" if ":" in one.address else one.address
    what = f"{what}:{one.port}/{one.protocol}"
    return Refusal("address", what, one.packets, one.first, one.last, "", one.names, line, why)


def suggest_address(one: Destination, host: Tuple[str, ...]) -> Tuple[str, str]:
    """The line that allows an address and port, by its name where it has one, and a word about it."""
    port = str(one.port) if one.protocol == "tcp" else f"{one.port}/{one.protocol}"
    if one.port in CLOSED_PORTS:
        return "", NEVER
    if one.protocol not in ("tcp", "udp"):
        return "", f"rcc opens tcp and udp, not {one.protocol}"
    address = ip_address(one.address)
    special = is_special(address) or one.address in host
    private = ", private: true" if special else ""
    if one.address in host:
        return f"- {{host: {HOST_NAMES[0]}, ports: [{port}]{private}}}", "the host itself"
    for name in one.names if not never_by_name(address) else ():
        line, _ = suggest_name(name)
        if line:
            return f"- {{host: {name}, ports: [{port}]{private}}}", ""
    quoted = f'"{one.address}"' if ":" in one.address else one.address
    return f"- {{cidr: {quoted}, ports: [{port}]{private}}}", _word(address, special)


def _word(address: Address, special: bool) -> str:
    if is_metadata(address):
        return "cloud metadata: it gives out the machine's credentials"
    return "a private or special address" if special else ""
