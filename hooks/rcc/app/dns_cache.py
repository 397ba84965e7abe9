"""What upstream has said, for all containers: each of them is judged by its own policy, so nothing here opens anything.

A question that several ask at the same time is asked once.
"""

import asyncio
import time
from typing import Awaitable, Callable, Dict, NamedTuple, Optional, Tuple

from rcc.core.dns_message import NOERROR, NXDOMAIN, Reply

ENTRIES = 8192
SIZE = 2048  # bytes of the records of an entry; larger answers are rare, and asked for each time
LONGEST = 3600.0  # seconds that an answer serves, whatever its time to live
NEGATIVE = 60.0  # the same for the lack of one
FAILED = 2.0
RECENT = 60.0


class Entry(NamedTuple):
    """A reply, and when it came and goes by the cache's clock."""

    reply: Reply
    since: float
    until: float

    def left(self, now: float) -> int:
        """Seconds of its time to live that are left, at least 0."""
        return max(int(self.reply.ttl - (now - self.since)), 0)


Ask = Callable[[str, int], Awaitable[Reply]]
Key = Tuple[str, int]


class Cache:
    """Questions to replies; ``ask`` looks one up and never raises."""

    def __init__(self, ask: Ask, clock: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self.clock = clock
        self._entries: Dict[Key, Entry] = {}
        self._under_way: "Dict[Key, asyncio.Task[Entry]]" = {}

    def __len__(self) -> int:
        return len(self._entries)

    def peek(self, name: str, qtype: int) -> Optional[Entry]:
        """What is known and fresh."""
        entry = self._entries.get((name, qtype))
        return entry if entry is not None and self.clock() < entry.until else None

    def recent(self, name: str, qtype: int) -> Optional[Entry]:
        """What was said in the last minute, fresh or not: for whoever may not ask again so soon."""
        entry = self._entries.get((name, qtype))
        return entry if entry is not None and self.clock() < entry.since + RECENT else None

    async def get(self, name: str, qtype: int) -> Entry:
        """What is known, else what upstream says."""
        entry = self.peek(name, qtype)
        if entry is not None:
            return entry
        key = (name, qtype)
        task = self._under_way.get(key)
        if task is None:
            task = self._under_way[key] = asyncio.ensure_future(self._fetch(key))
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        return await asyncio.shield(task)

    def clear(self) -> None:
        """Forget everything: the machine has slept, or is on another network."""
        self._entries.clear()

    def close(self) -> None:
        """Give up what is under way."""
        for task in list(self._under_way.values()):
            task.cancel()

    async def _fetch(self, key: Key) -> Entry:
        reply = await self._ask(*key)
        now = self.clock()
        if reply.rcode not in (NOERROR, NXDOMAIN):
            lifetime = FAILED
        else:
            lifetime = min(float(max(reply.ttl, 0)), LONGEST if reply.records else NEGATIVE)
        entry = Entry(reply, now, now + lifetime)
        self._entries.pop(key, None)
        if sum(len(record.data) for record in reply.records) <= SIZE:
            self._entries[key] = entry
        while len(self._entries) > ENTRIES:
            del self._entries[next(iter(self._entries))]
        return entry
