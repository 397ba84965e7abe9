"""The gateway for one namespace: what becomes of a question under the policy in force there.

A question is answered at once wherever nobody has to be waited for.  Before each opening the policy is asked again,
with nothing between that and the opening; and the sets carry the policy's generation, so even an agent that is behind
opens nothing by an older policy.
"""

import asyncio
import contextlib
import time
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Awaitable, Callable, Dict, NamedTuple, Optional, Tuple, Union

from rcc.app.dns_cache import Cache, Entry
from rcc.app.dns_tally import Tally
from rcc.app.neighbours import Local
from rcc.core import dns_message as dns
from rcc.core.compile import HOST_NAMES
from rcc.core.dns_filter import ADDRESSES, ASK, EMPTY, REFUSE, Budget, decide
from rcc.core.errors import KernelError, RccError
from rcc.core.notes import Notes
from rcc.core.openings import LEAST, LONGEST, Opened, Openings
from rcc.core.printable import printable
from rcc.core.special import Address
from rcc.system.in_time import in_time
from rcc.system.set_elements import SetElements
from rcc.system.state import Record

WAITING = 128  # questions of one container that wait for upstream or for a reload
HELD_SECONDS = 5.0  # for which a question waits for a reload
LOCAL_TTL = 5  # seconds: peers come and go
PUT_LIMIT = 4096  # answers of which is remembered that they are open
AGAIN_LIMIT, AGAIN_SIZE = 256, 512  # replies that are remembered byte by byte, and how long they are
# Lines about single refusals in the log: so many at once, and one every ten seconds.  One container must not crowd out
# the others; the tables have all.
LINES_BURST, LINES_RATE = 20, 0.1
NOT_IN_POLICY = (dns.BLOCKED, "rcc: not in the policy of this container")
TOO_MANY = (dns.BLOCKED, "rcc: too many new names under one wildcard")
NO_PUBLIC = (dns.FILTERED, "rcc: only addresses that the policy keeps closed")
NOT_OPENED = (dns.OTHER, "rcc: the address could not be opened")

Who = Callable[[Record, int, str], str]
Answer = Union[bytes, Awaitable[bytes]]


class Hub(NamedTuple):
    """What all namespaces share; see app/gateway.py for the meaning of each."""

    cache: Cache
    log: Any
    history: Any
    local: Callable[[Record, str], Optional[Local]]
    stale: Callable[[], None]
    who: Who
    whos: Budget


class _Put(NamedTuple):
    """What was opened for an answer, until when by the cache's clock, and what may be told, packed and as text."""

    entry: Entry
    until: float
    told: Tuple[bytes, ...]
    texts: Tuple[str, ...]


class _Again(NamedTuple):
    """A reply that can be given once more until then: see dns_message.around_ttls."""

    until: float
    parts: Tuple[bytes, ...]
    name: str
    put: _Put


class Desk:
    """Answers the questions of one namespace by its record."""

    def __init__(self, hub: Hub, record: Record, openings: Openings, sets: SetElements) -> None:
        self._hub = hub
        self.record = record
        self._openings = openings
        self._sets = sets
        self.tally = Tally()
        self._put: Dict[Tuple[str, int], _Put] = {}
        self._again: Dict[bytes, _Again] = {}
        self._told: Optional[_Put] = None  # by the question that is being answered
        self._budgets: Dict[str, Budget] = {}
        self._lines = Budget(LINES_BURST, LINES_RATE)
        self._waiting = 0
        self._holds = 0
        self._released: Optional[asyncio.Event] = None
        self._troubled = False
        self._closed = False

    def renew(self, record: Record, openings: Openings) -> None:
        """Answer by another policy from now on."""
        self.record = record
        self._openings = openings
        self.forget()

    def forget(self) -> None:
        """Take nothing for open that was opened before."""
        self._put.clear()
        self._again.clear()

    def flush(self) -> None:
        """Close all that names have opened.  Raises KernelError."""
        self.forget()
        self._sets.flush(self.record.generation)

    def close(self) -> None:
        """Open nothing any more."""
        self._closed = True
        self._holds = 0
        self._go_on()
        self._sets.close()

    def notes(self) -> Notes:
        """What the kernel has noted in the namespace, also after its end.  Raises KernelError."""
        return self._sets.notes()

    def hold(self) -> None:
        """Have questions wait, and open nothing, until as many ``release``."""
        self._holds += 1
        if self._released is None:
            self._released = asyncio.Event()

    def release(self) -> None:
        """Go on after ``hold``."""
        self._holds = max(self._holds - 1, 0)
        if not self._holds:
            self.forget()
            self._go_on()

    def _go_on(self) -> None:
        if self._released is not None:
            self._released.set()
            self._released = None

    def by_datagram(self, data: bytes, port: int) -> Answer:
        """The reply to a datagram from ``port``, or what to await for it; empty for none."""
        again = self._again.get(data[2:])
        if again is not None and self._released is None:
            now = self._hub.cache.clock()
            if now < again.until:
                self.tally.asked()
                self.tally.counts["cached"] += 1
                self.tally.answered(again.name, again.put.texts, time.time())
                left = dns.packed_ttl(min(again.put.entry.left(now), LONGEST))
                return data[:2] + left.join(again.parts)
        try:
            question = dns.parse_question(data)
        except dns.Malformed as error:
            return error.reply
        self._told = None
        reply = self._asked_for(question, dns.udp_limit(question), port, "udp")
        if self._told is not None and isinstance(reply, bytes):
            self._remember(data[2:], question, reply, self._told)
        return reply

    def by_stream(self, data: bytes, port: int) -> Answer:
        """The same for a message of a TCP stream."""
        try:
            question = dns.parse_question(data)
        except dns.Malformed as error:
            return error.reply
        return self._asked_for(question, dns.TCP_MOST, port, "tcp")

    def _remember(self, asked: bytes, question: dns.Question, reply: bytes, put: "_Put") -> None:
        """That this reply can be given again, for as long as what it tells is open for longer."""
        if len(reply) > AGAIN_SIZE:
            return
        if len(self._again) >= AGAIN_LIMIT:
            self._again.clear()
        until = min(put.entry.until, put.until - LEAST // 2)
        self._again[asked] = _Again(until, dns.around_ttls(question, reply), question.name, put)

    def _asked_for(self, question: dns.Question, limit: int, port: int, protocol: str) -> Answer:
        self.tally.asked()
        if self._released is not None:
            return self._wait(self._after_hold(question, limit, port, protocol), question, limit)
        return self._answer(question, limit, port, protocol)

    def _answer(self, question: dns.Question, limit: int, port: int, protocol: str) -> Answer:
        local = self._from_here(question, limit)
        if local is not None:
            return local
        decision = decide(self._openings, question)
        if decision.what == REFUSE:
            self._note_refusal(question, port, protocol)
            return dns.render_reply(question, dns.NXDOMAIN, limit=limit, ede=NOT_IN_POLICY)
        if decision.what == EMPTY:
            return dns.render_reply(question, dns.NOERROR, limit=limit)
        entry = self._hub.cache.peek(question.name, question.qtype)
        if entry is None and decision.wildcard:
            budget = self._budgets.setdefault(decision.wildcard, Budget())
            if not budget.take(self._hub.cache.clock()):
                return self._throttled(question, limit, decision.wildcard)
        if entry is not None:
            self.tally.counts["cached"] += 1
            return self._reply(question, entry, limit)
        return self._wait(self._asked(question, limit), question, limit)

    def _wait(self, job: "Any", question: dns.Question, limit: int) -> Answer:
        """``job``, unless too many wait already."""
        if self._waiting >= WAITING:
            job.close()
            self.tally.counts["failed"] += 1
            return dns.render_reply(question, dns.SERVFAIL, limit=limit)
        self._waiting += 1
        return self._counted(job)

    async def _counted(self, job: Awaitable[bytes]) -> bytes:
        try:
            return await job
        finally:
            self._waiting -= 1

    async def _after_hold(self, question: dns.Question, limit: int, port: int, protocol: str) -> bytes:
        if not await self._is_released():
            return dns.render_reply(question, dns.SERVFAIL, limit=limit, ede=NOT_OPENED)
        if self._closed:
            return b""
        answer = self._answer(question, limit, port, protocol)
        return answer if isinstance(answer, bytes) else await answer

    async def _asked(self, question: dns.Question, limit: int) -> bytes:
        """The reply made of what upstream says to a question that it may be asked."""
        entry = await self._hub.cache.get(question.name, question.qtype)
        if not await self._is_released():
            return dns.render_reply(question, dns.SERVFAIL, limit=limit, ede=NOT_OPENED)
        if self._closed:
            return b""
        # The policy may be another by now.
        if decide(self._openings, question).what != ASK:
            return dns.render_reply(question, dns.NXDOMAIN, limit=limit, ede=NOT_IN_POLICY)
        return self._reply(question, entry, limit)

    async def _is_released(self) -> bool:
        until = self._hub.cache.clock() + HELD_SECONDS
        while self._released is not None:
            left = until - self._hub.cache.clock()
            with contextlib.suppress(asyncio.TimeoutError):
                await in_time(self._released.wait(), max(left, 0.0))
            if left <= 0:
                return self._released is None
        return True

    def _from_here(self, question: dns.Question, limit: int) -> Optional[bytes]:
        """The answer of this machine's own knowledge, None where it has none."""
        if not question.plain or not (self._openings.has_peers or question.name in HOST_NAMES):
            return None
        try:
            local = self._hub.local(self.record, question.name)
        except RccError as error:
            self._hub.log.warning("neighbours_unread", netns=self.record.netns, error=str(error))
            return None
        if local is None:
            return None
        version = {dns.A: 4, dns.AAAA: 6}.get(question.qtype, 0)
        opened = Opened(tuple(address for address in local.addresses if address.version == version))
        if local.peer:
            opened = self._openings.open_peer(opened.admitted, LOCAL_TTL)
            if not self._open(question.name, opened):
                return dns.render_reply(question, dns.SERVFAIL, limit=limit, ede=NOT_OPENED)
        self.tally.answered(question.name, tuple(map(str, opened.admitted)), time.time(), local.peer)
        records = [dns.Record(question.qtype, LOCAL_TTL, address.packed) for address in opened.admitted]
        return dns.render_reply(question, dns.NOERROR, records, limit)

    def _reply(self, question: dns.Question, entry: Entry, limit: int) -> bytes:
        """The reply made of what upstream said; what it names is open when this returns."""
        reply = entry.reply
        if reply.rcode not in (dns.NOERROR, dns.NXDOMAIN):
            self.tally.counts["failed"] += 1
            text = f"rcc: {reply.error}" if reply.error else "rcc: no answer"
            return dns.render_reply(question, dns.SERVFAIL, limit=limit, ede=(dns.NO_REACHABLE_AUTHORITY, text))
        now = self._hub.cache.clock()
        left = min(entry.left(now), LONGEST)
        if question.qtype not in ADDRESSES:
            self.tally.answered(question.name, (), time.time())
            records = [dns.Record(record.type, left, record.data) for record in reply.records]
            return dns.render_reply(question, reply.rcode, records, limit)
        put = self._put.get((question.name, question.qtype))
        # What is told stays open for its time to live and somewhat longer, whoever was told it first.
        if put is None or put.entry is not entry or put.until - now < max(left + 5, LEAST // 2):
            put = self._opened(question, entry, now, left)
            if put is None:
                return dns.render_reply(question, dns.SERVFAIL, limit=limit, ede=NOT_OPENED)
        self.tally.answered(question.name, put.texts, time.time())
        self._told = put
        if reply.records and not put.told:
            return dns.render_reply(question, dns.NOERROR, limit=limit, ede=NO_PUBLIC)
        records = [dns.Record(question.qtype, left, data) for data in put.told]
        return dns.render_reply(question, reply.rcode, records, limit)

    def _opened(self, question: dns.Question, entry: Entry, now: float, left: int) -> Optional[_Put]:
        """Open what the answer names, as far as the policy does; None when the kernel would not."""
        opened = self._openings.open(question.name, map(_address, entry.reply.records), left)
        if not self._open(question.name, opened):
            return None
        until = now + min((element.lifetime or 0 for _, element in opened.elements), default=LONGEST * 2)
        told = tuple(address.packed for address in opened.admitted)
        put = _Put(entry, until, told, tuple(map(str, opened.admitted)))
        if len(told) < len(entry.reply.records):
            self._say("dns_filtered", name=question.name, kept=len(told), of=len(entry.reply.records))
        self._put.pop((question.name, question.qtype), None)
        self._put[(question.name, question.qtype)] = put
        if len(self._put) > PUT_LIMIT:
            del self._put[next(iter(self._put))]
        return put

    def _open(self, name: str, opened: Opened) -> bool:
        """Have the elements in the kernel; False when they are not, and then nothing may be told."""
        if not opened.elements:
            return True
        try:
            self._sets.put(self.record.generation, opened.elements)
        except KernelError as error:
            self.tally.counts["failed"] += 1
            if not self._troubled:
                self._hub.log.error("not_opened", netns=self.record.netns, name=printable(name), error=str(error))
            self._troubled = True
            self._hub.stale()
            return False
        self._troubled = False
        if self._hub.history is not None:
            self._hub.history.note(self.record.netns, name, opened.admitted)
        return True

    def _throttled(self, question: dns.Question, limit: int, wildcard: str) -> bytes:
        self.tally.counts["throttled"] += 1
        self._say("dns_throttled", wildcard=wildcard)
        entry = self._hub.cache.recent(question.name, question.qtype)
        if entry is not None:
            return self._reply(question, entry, limit)
        return dns.render_reply(question, dns.REFUSED, limit=limit, ede=TOO_MANY)

    def _note_refusal(self, question: dns.Question, port: int, protocol: str) -> None:
        self.tally.counts["refused"] += 1
        if question.name.endswith((".in-addr.arpa", ".ip6.arpa")):
            return  # programs ask for the names of all addresses that they meet
        name, kind = question.name or ".", dns.type_name(question.qtype)
        process = ""
        if not self.tally.knows(name, kind):
            if self._hub.whos.take(self._hub.cache.clock()):
                with contextlib.suppress(OSError, RccError):
                    process = self._hub.who(self.record, port, protocol)
            self._say("dns_refused", name=name, type=kind, process=process)
        self.tally.refused(name, kind, time.time(), process)

    def _say(self, event: str, **fields: Any) -> None:
        """A line in the log, if this container has one left."""
        if self._lines.take(self._hub.cache.clock()):
            containers = [member.container[:12] for member in self.record.members]
            self._hub.log.info(event, netns=self.record.netns, containers=containers, **fields)


def _address(record: dns.Record) -> Address:
    return IPv4Address(record.data) if len(record.data) == 4 else IPv6Address(record.data)
