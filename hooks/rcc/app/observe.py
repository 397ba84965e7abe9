"""Gather what the containers of a namespace have done: from the kernel, from the agent's tables, from /proc.

Everything here reads; it runs in a worker thread, but for ``names_by_address``.
"""

import time
from typing import Dict, Iterable, List, Mapping, NamedTuple, Optional, Tuple

from rcc.core.activity import Activity, Container, Destination, Flow
from rcc.core.notes import RECEIVED, SENT, Notes, denials
from rcc.core.special import Address
from rcc.system.addresses import own_addresses
from rcc.system.netns import inside
from rcc.system.nft_notes import read_notes
from rcc.system.processes import owners
from rcc.system.sock_diag import Socket, read_sockets
from rcc.system.state import Record

NAMES_LIMIT = 8  # of one address: a shared one has any number
FLOWS_LIMIT = 2000
ASKER_SECONDS = 0.02  # others wait for their answers meanwhile
IDLE_STATES = ("listen", "close", "time-wait")

Names = Mapping[str, Tuple[str, ...]]  # an address as text to the names that it has stood for


class Seen(NamedTuple):
    """What the kernel says of one namespace."""

    notes: Notes = Notes()
    sockets: Tuple[Socket, ...] = ()
    processes: Tuple[Tuple[int, str], ...] = ()


def activity_of(record: Record, ended: float = 0.0) -> Activity:
    """Who they are, with nothing done yet."""
    return Activity(
        containers=tuple(Container(member.container, member.name) for member in record.members),
        netns=record.netns,
        profile=record.policy.name,
        mode=record.policy.mode,
        generation=record.generation,
        since=record.since,
        ended=ended,
    )


def look(record: Record, flows: bool) -> Seen:
    """What the kernel says now; ``flows``: its connections too.  Raises KernelError."""

    def read() -> Seen:
        return Seen(read_notes(), tuple(read_sockets()) if flows else ())

    seen = inside(record.path, read)
    if seen.sockets:
        found = owners(record.netns, {one.inode for one in seen.sockets if one.inode})
        seen = seen._replace(processes=tuple(found.items()))
    return seen


def who_asks(record: Record, port: int, protocol: str) -> str:
    """The process that has this port open in the namespace, empty when it is not found.  Raises KernelError."""
    mine = [one.inode for one in inside(record.path, lambda: read_sockets((protocol,))) if one.port == port]
    found = owners(record.netns, mine, seconds=ASKER_SECONDS) if mine else {}
    return next(iter(found.values()), "")


def names_by_address(known: Mapping[Address, Iterable[str]], asked: Iterable[Tuple[str, Iterable[str]]]) -> Names:
    """The names of each address: ``known`` from the history, ``asked`` from the tally (name, addresses)."""
    found: Dict[str, List[str]] = {str(address): list(names) for address, names in known.items()}
    for name, addresses in asked:
        for address in addresses:
            names = found.setdefault(address, [])
            if name not in names:
                names.append(name)
    return {address: tuple(names[:NAMES_LIMIT]) for address, names in found.items()}


def with_seen(activity: Activity, seen: Seen, names: Names, now: Optional[float] = None) -> Activity:
    """``activity`` with what the kernel says, addresses with their names."""
    now = time.time() if now is None else now
    notes = seen.notes
    denied = tuple(
        Destination(
            str(one.address), one.protocol, one.port, one.packets, 0, now - one.first, now - one.last,
            names.get(str(one.address), ()),
        )
        for one in denials(notes)
    )  # fmt: skip
    used = tuple(
        Destination(
            str(one.address), one.protocol, one.port, one.packets, one.bytes, now - one.age, now - one.age,
            names.get(str(one.address), ()),
        )
        for one in sorted(notes.used, key=lambda one: one.age)
    )  # fmt: skip
    own = {str(address) for address in own_addresses()} if denied or used else set()
    return activity._replace(
        denied=denied,
        used=used,
        totals=tuple((total.name, total.packets) for total in notes.totals),
        received=notes.size(RECEIVED),
        sent=notes.size(SENT),
        flows=tuple(_flows(seen, names)),
        host=tuple(sorted({one.address for one in (*denied, *used) if one.address in own})),
    )


def _flows(seen: Seen, names: Names) -> Iterable[Flow]:
    processes = dict(seen.processes)
    live = [one for one in seen.sockets if one.remote_port and one.state not in IDLE_STATES]
    for one in sorted(live, key=lambda one: -(one.sent + one.received))[:FLOWS_LIMIT]:
        if not one.remote.is_loopback:
            address = str(one.remote)
            yield Flow(
                one.protocol, address, one.remote_port, one.state, one.sent, one.received,
                processes.get(one.inode, ""), names.get(address, ()),
            )  # fmt: skip
