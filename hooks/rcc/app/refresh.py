"""Keep the addresses of all isolated containers right: a task for each namespace on record, none can stop another.

A name that cannot be looked up changes nothing: its addresses stay for their lifetimes, which compile makes two and a
half refreshes long at least, so that an outage of the upstream servers does not cut work at once; then they close.
"""

import asyncio
import contextlib
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple, TypeVar

from rcc.app import renew as renewing
from rcc.app.facts import names_of, record_facts
from rcc.app.gateway import Gateway
from rcc.app.lookup import Lookup
from rcc.app.release import forget_ended
from rcc.app.tell import Teller
from rcc.core.errors import KernelError, RccError
from rcc.core.names import Answers
from rcc.core.ruleset import Ruleset
from rcc.system.history import History
from rcc.system.in_time import in_time
from rcc.system.state import Record, State

_T = TypeVar("_T")


class Pace(NamedTuple):
    """Seconds.  ``young``: how long a namespace counts as new, when Podman may yet write its resolv.conf (--userns)."""

    lookup: float = 10.0
    least: float = 1.0
    retry: float = 5.0
    rescan: float = 30.0
    folder: float = 1.0  # between looks at the folder of records, should nobody tell of a change
    first: float = 2.0  # whoever made the record has looked everything up just now
    young: float = 10.0
    young_look: float = 0.1
    look: float = 5.0
    gone: float = 5.0


PACE = Pace()


class Refresher:
    """Watches the records of ``state``.  ``log`` takes a verb and fields; ``renew``, ``facts_of``: see app/renew.py."""

    def __init__(
        self,
        state: State,
        lookup: Lookup,
        gateway: Gateway,
        log: Any,
        *,
        facts_of: renewing.FactsOf = record_facts,
        pace: Pace = PACE,
        renew: Callable[..., Optional[Ruleset]] = renewing.renew,
        jitter: Callable[[], float] = random.random,
        history: Optional[History] = None,
        teller: Optional[Teller] = None,
    ) -> None:
        self._state = state
        self._lookup = lookup
        self._gateway = gateway
        self._log = log
        self._facts_of = facts_of
        self._pace = pace
        self._renew = renew
        self._jitter = jitter
        self._history = history
        self._teller = teller
        # Whoever waits for the state's lock or the kernel must not keep DNS questions waiting.
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="netns")
        self._watched: Dict[int, Tuple[Record, asyncio.Task[None]]] = {}
        self._wake = asyncio.Event()
        self.looked = False  # at the records, once at least

    def __len__(self) -> int:
        return len(self._watched)

    def records(self) -> List[Record]:
        """What is watched."""
        return [record for record, _ in self._watched.values()]

    def rescan(self) -> None:
        """Records have changed: look at them soon."""
        self._wake.set()

    async def run(self) -> None:
        """Watch until cancelled."""
        try:
            while True:
                self._wake.clear()
                folder = self._folder()
                await self.look()
                await self._until_changed(folder)
        finally:
            for _, task in self._watched.values():
                task.cancel()
            self._watched.clear()
            self._worker.shutdown(wait=False)

    async def look(self) -> None:
        """Read all records and watch and serve what is on them."""
        try:
            records = await self._work(self._records)
        except RccError as error:
            self._log.error("records_unreadable", error=str(error), hint=error.hint)
            return
        self._adopt({record.netns: record for record in records})
        await self._serve(records)
        self.looked = True

    def refresh_all(self) -> None:
        """Look all names up anew: what is known may be long out of date."""
        for _, task in self._watched.values():
            task.cancel()
        self._watched.clear()
        self._wake.set()

    async def _until_changed(self, folder: object) -> None:
        """Return when told so, when a record was written or removed, or when it is time to look at them all."""
        for _ in range(max(int(self._pace.rescan / self._pace.folder), 1)):
            try:
                await in_time(self._wake.wait(), self._pace.folder)
                return
            except asyncio.TimeoutError:
                if self._folder() != folder:
                    return

    def _records(self) -> List[Record]:
        forget_ended(self._state)
        return list(self._state.records())

    def _folder(self) -> object:
        return [renewing.signature(os.path.join(self._state.root, name)) for name in ("netns", "ended")]

    def _adopt(self, records: Dict[int, Record]) -> None:
        for netns, (record, task) in list(self._watched.items()):
            if netns in records and records[netns].since != record.since and self._history is not None:
                self._history.drop(netns)  # another namespace has the inode
            if netns not in records or _differs(record, records[netns]) or task.done():
                task.cancel()
                del self._watched[netns]
                if netns not in records:
                    self._gateway.drop(netns)
        if self._history is not None:
            self._history.keep_only(records)
        for netns, record in records.items():
            if netns not in self._watched:
                self._watched[netns] = (record, asyncio.ensure_future(self._watch(record)))
        if self._teller is not None:
            self._teller.changed(list(records.values()), first=not self.looked)

    async def _serve(self, records: List[Record]) -> None:
        """Have the gateway serve what is on record; it tries again by itself where it cannot."""
        for record in records:
            with contextlib.suppress(KernelError):
                await self._gateway.adopt(record)

    async def _watch(self, record: Record) -> None:
        log = self._log.bind(netns=record.netns, containers=[member.container[:12] for member in record.members])
        loop = asyncio.get_running_loop()
        began = loop.time()
        before: Optional[Ruleset] = None
        failures = 0
        if not record.path.startswith("/proc/"):  # else Podman may have brought the network up since
            await asyncio.sleep(max(0.0, min(self._pace.first, record.since + self._pace.first - time.time())))
        while True:
            seen = _files(record)
            failed = True
            try:
                answers = await self._answers(record)
                found = await self._work(self._renew, self._state, record, answers, before, self._facts_of)
                if found is None:
                    self._wake.set()
                    return
                _log_changes(log, before, found, [answer for answer in answers if answer.error])
                before = found
                self._note(record, answers)
                failed = any(answer.error and not answer.addresses for answer in answers)
            except RccError as error:
                log.warning("refresh_failed", error=str(error), hint=error.hint)
            failures = failures + 1 if failed else 0
            due = loop.time() + self._seconds(record, before, failures)
            while loop.time() < due:
                young = loop.time() - began < self._pace.young
                await asyncio.sleep(min(self._pace.young_look if young else self._pace.look, due - loop.time()))
                if not renewing.is_alive(record):
                    await self._gone(record, log)
                    self._wake.set()
                    return
                if _files(record) != seen:
                    break

    def _note(self, record: Record, answers: Answers) -> None:
        """A reload keeps flows to whatever the policy's names have stood for."""
        if self._history is None:
            return
        for answer in answers:
            self._history.note(record.netns, answer.name, [ip_address(text) for text, _ in answer.addresses])

    async def _answers(self, record: Record) -> Any:
        names = names_of(record.policy)
        return await self._lookup.answers(names, self._pace.lookup, max_age=record.policy.dns_refresh / 2)

    def _seconds(self, record: Record, loaded: Optional[Ruleset], failures: int) -> float:
        """Until the next refresh: the policy's interval, before a lifetime ends; after a failure soon, then less so."""
        elements = () if loaded is None else (*loaded.private, *loaded.allowed)
        lifetimes = [element.lifetime / 2 for element in elements if element.lifetime is not None]
        seconds = min([float(record.policy.dns_refresh), *lifetimes])
        if failures:
            seconds = min(seconds, self._pace.retry * 2 ** min(failures - 1, 16))
        return max(seconds * (0.8 + 0.2 * self._jitter()), self._pace.least)

    async def _gone(self, record: Record, log: Any) -> None:
        """The namespace is not where it was.  poststop normally tells first, so there is time; it may never come."""
        await asyncio.sleep(self._pace.gone)
        try:
            if await self._work(renewing.forget_if_gone, self._state, record):
                log.info("forgotten", path=record.path)
        except RccError as error:
            log.warning("not_forgotten", error=str(error))

    async def _work(self, job: "Callable[..., _T]", *arguments: object) -> "_T":
        return await asyncio.get_running_loop().run_in_executor(self._worker, job, *arguments)


def _differs(one: Record, other: Record) -> bool:
    """Whether anything changed that the watching of it depends on."""
    return one._replace(members=(), notes=(), bare=False) != other._replace(members=(), notes=(), bare=False)


def _files(record: Record) -> Tuple[object, ...]:
    return tuple(renewing.signature(path) for path in (record.resolv_conf, record.hosts) if path)


def _log_changes(log: Any, before: Optional[Ruleset], found: Ruleset, failed: Any) -> None:
    was = set() if before is None else _destinations(before)
    now = _destinations(found)
    if before is None or was != now or failed:
        log.info(
            "refreshed",
            addresses=len(now),
            fresh=sorted(now - was)[:20] if before is not None else [],
            vanished=sorted(was - now)[:20],
            resolvers=[str(address) for address in found.resolvers],
            failed=[f"{answer.name}: {answer.error}" for answer in failed][:20],
        )


def _destinations(ruleset: Ruleset) -> "set[str]":
    elements = (*ruleset.private, *ruleset.allowed)
    return {str(element.network) for element in elements if element.lifetime is not None}
