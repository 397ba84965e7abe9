"""Tell the agent's log what becomes of containers: who was isolated and ended, and which destinations were denied.

Refused names are told by app/dns_desk.py, changes of policies by app/live.py.
"""

import asyncio
import contextlib
import time
from typing import Any, Awaitable, Callable, Dict, FrozenSet, List, Mapping, NamedTuple, Sequence, Tuple

from rcc.core.dns_filter import Budget
from rcc.core.errors import KernelError
from rcc.core.notes import DENIED, Denial, Notes, denials
from rcc.core.special import Address
from rcc.system.netns import inside
from rcc.system.nft_notes import read_notes, read_totals
from rcc.system.state import Record

SECONDS = 5.0  # between looks at what was denied
AT_ONCE = 50  # namespaces that are looked at then: a hundred a second are no load, and a thousand wait their turn
# Lines about one container's denials: so many at once, and one a minute.  One must not crowd out the others.
LINES_BURST, LINES_RATE = 10, 1 / 60
NAMES = 3  # of an address

NamesOf = Callable[[int], Mapping[Address, Tuple[str, ...]]]
Work = Callable[..., "Awaitable[List[Tuple[Record, Notes]]]"]


class _Known(NamedTuple):
    """Of one namespace: what makes it that one, packets denied so far, and where they went."""

    since: float
    packets: int
    keys: FrozenSet[Tuple[Address, str, int]]


class Teller:
    """``names_of(netns)``: which names addresses have stood for."""

    def __init__(self, log: Any, names_of: NamesOf, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._names_of = names_of
        self._clock = clock
        self._records: Dict[int, Record] = {}
        self._known: Dict[int, _Known] = {}
        self._lines: Dict[int, Budget] = {}
        self._next = 0

    def changed(self, records: Sequence[Record], first: bool) -> None:
        """These are on record now; ``first``: it is the first look, and an agent before this one has told of most."""
        before, self._records = self._records, {record.netns: record for record in records}
        was = {member.run for record in before.values() for member in record.members}
        now = {member.run for record in records for member in record.members}
        for record in records:
            names = [_name(member) for member in record.members if member.run not in was]
            if names:
                told = first and time.time() - record.since > SECONDS
                self._log.info(
                    "resumed" if told else "isolated",
                    netns=record.netns,
                    containers=names,
                    profile=record.policy.name,
                    mode=record.policy.mode,
                    dns=record.policy.dns_mode,
                    generation=record.generation,
                )
        for record in before.values():
            names = [_name(member) for member in record.members if member.run not in now]
            if names:
                self._log.info("ended", netns=record.netns, containers=names)
        for netns in self._known.keys() - self._records.keys():
            del self._known[netns]
        for netns in self._lines.keys() - self._records.keys():
            del self._lines[netns]

    async def run(self, work: Work) -> None:
        """Look at what is denied, until cancelled; ``work`` runs a job in a thread."""
        while True:
            await asyncio.sleep(SECONDS)
            for record, notes in await work(self._read, self._turn(list(self._records.values()))):
                self.denied(record, notes)

    def denied(self, record: Record, notes: Notes) -> None:
        """Tell where packets were denied that nobody was told of."""
        if record.netns not in self._records:
            return
        known = self._known.get(record.netns)
        found = denials(notes)
        if known is None or known.since != record.since:
            # The first look: what is older has been told, if there was anybody to tell it.
            fresh = [one for one in found if one.first < 2 * SECONDS]
        else:
            fresh = [one for one in found if (one.address, one.protocol, one.port) not in known.keys]
        if fresh and not self._lines.setdefault(record.netns, Budget(LINES_BURST, LINES_RATE)).take(self._clock()):
            return  # told with the next ones
        keys = frozenset((one.address, one.protocol, one.port) for one in found)
        self._known[record.netns] = _Known(record.since, notes.total(DENIED), keys)
        if fresh:
            names = self._names_of(record.netns)
            self._log.info(
                "denied",
                netns=record.netns,
                containers=[_name(member) for member in record.members],
                destinations=[_text(one, names) for one in fresh],
                count=len(fresh),
            )

    def _turn(self, records: List[Record]) -> List[Record]:
        if len(records) <= AT_ONCE:
            return records
        self._next %= len(records)
        turn = (records[self._next :] + records[: self._next])[:AT_ONCE]
        self._next += AT_ONCE
        return turn

    def _read(self, records: List[Record]) -> List[Tuple[Record, Notes]]:
        """The notes of those in which something was denied since the last look.  Runs in a thread."""
        found = []
        for record in records:
            known = self._known.get(record.netns)
            with contextlib.suppress(KernelError):  # it is about to end
                packets = sum(total.packets for total in inside(record.path, read_totals) if total.name == DENIED)
                if packets and (known is None or known.since != record.since or known.packets != packets):
                    found.append((record, inside(record.path, read_notes)))
        return found


def _name(member: Any) -> str:
    return str(member.name or member.container[:12])


def _text(one: Denial, names: Mapping[Address, Tuple[str, ...]]) -> str:
    place = f"[{one.address}]" if one.address.version == 6 else str(one.address)
    known = names.get(one.address, ())
    return f"{place}:{one.port}/{one.protocol}" + (f" ({', '.join(known[:NAMES])})" if known else "")
