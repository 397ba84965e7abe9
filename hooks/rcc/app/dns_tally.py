"""What a container has asked for, in bounded tables: for `rcc denied`, `learn`, `top`, `report` and `metrics`."""

from typing import Any, Dict, List, Optional, Tuple

NAMES = 2048
REFUSED = 1024
ADDRESSES = 32  # per name
COUNTS = ("queries", "cached", "refused", "failed", "throttled")


class _Row:
    """One name; times in wall seconds.  ``told``: the addresses of the last answer."""

    __slots__ = ("addresses", "count", "first", "last", "process", "told")

    def __init__(self, now: float) -> None:
        self.count = 0
        self.first = self.last = now
        self.addresses: Tuple[str, ...] = ()
        self.told: Tuple[str, ...] = ()
        self.process = ""


class Tally:
    """The tables of one namespace; the rows that nobody has asked for the longest go first."""

    def __init__(self) -> None:
        self.counts: Dict[str, int] = dict.fromkeys(COUNTS, 0)
        self._names: Dict[str, _Row] = {}
        self._refused: Dict[Tuple[str, str], _Row] = {}

    def answered(self, name: str, addresses: Tuple[str, ...], now: float) -> None:
        """``name`` was asked for and allowed."""
        row = _touch(self._names, name, now, NAMES)
        if addresses is not row.told:
            row.told = addresses
            row.addresses = tuple(dict.fromkeys((*row.addresses, *addresses)))[-ADDRESSES:]

    def knows(self, name: str, kind: str) -> bool:
        """Whether this refusal has been noted before."""
        return (name, kind) in self._refused

    def refused(self, name: str, kind: str, now: float, process: Optional[str] = None) -> None:
        """``name`` was asked for and refused; ``process``: who asked, where that was looked up."""
        row = _touch(self._refused, (name, kind), now, REFUSED)
        row.process = process or row.process

    def data(self) -> Dict[str, Any]:
        """All of it, JSON-able."""
        names: List[Dict[str, Any]] = [
            {"name": name, "count": row.count, "addresses": list(row.addresses), "first": row.first, "last": row.last}
            for name, row in self._names.items()
        ]
        refused = [
            {
                "kind": "name",
                "name": name,
                "type": kind,
                "count": row.count,
                "first": row.first,
                "last": row.last,
                "process": row.process,
            }
            for (name, kind), row in self._refused.items()
        ]
        return {"names": names, "refused": refused, "dns_stats": dict(self.counts)}


def _touch(table: "Dict[Any, _Row]", key: Any, now: float, limit: int) -> _Row:
    """The row of ``key``, counted once more and now the last of the table."""
    row = table.pop(key, None)
    if row is None:
        row = _Row(now)
        if len(table) >= limit:
            del table[next(iter(table))]
    table[key] = row
    row.count += 1
    row.last = now
    return row
