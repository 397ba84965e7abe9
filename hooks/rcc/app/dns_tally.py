"""What the containers of one namespace have asked for, and what has happened to them, in bounded tables."""

from typing import Any, Dict, Iterable, List, Tuple

from rcc.core.activity import Activity, AskedName, Event, RefusedName

NAMES = 2048
REFUSED = 1024
ADDRESSES = 32  # per name
EVENTS = 200
COUNTS = ("queries", "cached", "refused", "failed", "throttled")


class _Row:
    """One name; times in wall seconds.  ``told``: the addresses of the last answer."""

    __slots__ = ("addresses", "first", "last", "peer", "process", "times", "told")

    def __init__(self, now: float) -> None:
        self.times = 0
        self.first = self.last = now
        self.addresses: Tuple[str, ...] = ()
        self.told: Tuple[str, ...] = ()
        self.process = ""
        self.peer = False


class Tally:
    """The tables; the rows that nobody has asked for the longest go first.  ``fresh``: changed since ``saved``."""

    def __init__(self) -> None:
        self.counts: Dict[str, int] = dict.fromkeys(COUNTS, 0)
        self.fresh = False
        self._names: Dict[str, _Row] = {}
        self._refused: Dict[Tuple[str, str], _Row] = {}
        self._events: List[Event] = []

    def asked(self) -> None:
        """A question has come."""
        self.counts["queries"] += 1
        self.fresh = True

    def answered(self, name: str, addresses: Tuple[str, ...], now: float, peer: bool = False) -> None:
        """``name`` was asked for and allowed."""
        row = _touch(self._names, name, now, NAMES)
        row.peer = peer
        if addresses is not row.told:
            row.told = addresses
            row.addresses = tuple(dict.fromkeys((*row.addresses, *addresses)))[-ADDRESSES:]

    def knows(self, name: str, kind: str) -> bool:
        """Whether this refusal has been noted before."""
        return (name, kind) in self._refused

    def refused(self, name: str, kind: str, now: float, process: str = "") -> None:
        """``name`` was asked for and refused; ``process``: who asked, where that was looked up."""
        row = _touch(self._refused, (name, kind), now, REFUSED)
        row.process = process or row.process

    def event(self, event: Event) -> None:
        """Remember what has happened."""
        self._events = [*self._events[-(EVENTS - 1) :], event]
        self.fresh = True

    def put_into(self, activity: Activity) -> Activity:
        """``activity`` with what is known here."""
        names = (
            AskedName(name, row.times, row.first, row.last, row.addresses, row.peer)
            for name, row in self._names.items()
        )
        refused = (
            RefusedName(name, kind, row.times, row.first, row.last, row.process)
            for (name, kind), row in self._refused.items()
        )
        return activity._replace(
            queries=tuple(self.counts.items()), names=tuple(names), refused=tuple(refused), events=tuple(self._events)
        )

    def restore(self, activity: Activity) -> None:
        """Go on with what another agent has noted."""
        for key, value in activity.queries:
            if key in self.counts:
                self.counts[key] += value
        for asked in activity.names[-NAMES:]:
            row = self._names[asked.name] = _row(asked.first, asked.last, asked.times)
            row.addresses, row.peer = asked.addresses, asked.peer
        for refused in activity.refused[-REFUSED:]:
            row = self._refused[(refused.name, refused.type)] = _row(refused.first, refused.last, refused.times)
            row.process = refused.process
        self._events = [*activity.events, *self._events][-EVENTS:]

    def names_of(self) -> "Iterable[Tuple[str, Tuple[str, ...]]]":
        """Each name with the addresses that it has stood for."""
        return ((name, row.addresses) for name, row in self._names.items())


def _row(first: float, last: float, times: int) -> _Row:
    row = _Row(first)
    row.last, row.times = last, times
    return row


def _touch(table: "Dict[Any, _Row]", key: Any, now: float, limit: int) -> _Row:
    """The row of ``key``, counted once more and now the last of the table."""
    row = table.pop(key, None)
    if row is None:
        row = _Row(now)
        if len(table) >= limit:
            del table[next(iter(table))]
    table[key] = row
    row.times += 1
    row.last = now
    return row
