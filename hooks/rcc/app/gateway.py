"""The DNS gateway of all containers in gateway mode: its listeners, one set of them for each network namespace.

What becomes of a question is up to app/dns_desk.py.
"""

import asyncio
import contextlib
import socket
import time
from typing import (
    Any,
    Awaitable,
    Callable,
    Dict,
    Iterable,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Protocol,
    Sequence,
    Tuple,
)

from rcc.app.dns_cache import Ask, Cache
from rcc.app.dns_desk import Desk, Hub, Who
from rcc.app.dns_tally import Tally
from rcc.app.dns_tcp import TcpServer
from rcc.app.memory import Memory
from rcc.app.neighbours import Local
from rcc.app.observe import Seen, activity_of, names_by_address, with_seen
from rcc.core.activity import Activity, Event
from rcc.core.dns_filter import Budget
from rcc.core.errors import KernelError
from rcc.core.notes import Notes
from rcc.core.openings import Openings
from rcc.core.policy import Policy
from rcc.core.special import Address
from rcc.system.addresses import own_addresses
from rcc.system.dns_sockets import open_gateway
from rcc.system.state import Record

DATAGRAM = 4096  # bytes read; a question has at most some 280
AT_ONCE = 16  # datagrams of one listener in a row: then it is the others' turn
OWN_SECONDS = 10.0  # between looks at the host's own addresses, which names may not open
OWN_FRESH = 1.0
SAVE_SECONDS = 5.0  # what was asked for in the last ones is lost with kill -9
RETRY, RETRY_MOST = 1.0, 30.0  # seconds until listeners that could not be opened are tried again

Inherited = Tuple[int, str, Any]  # inode of the namespace, label, socket


class Keeper(Protocol):
    """Who holds listeners while this process is not there."""

    def keep(self, netns: int, label: str, listener: Any) -> None:
        """Hold this one."""

    def drop(self, netns: int, label: str) -> None:
        """Close it."""


class _Box(NamedTuple):
    """One container's namespace."""

    desk: Desk
    listeners: Dict[str, Any]
    streams: Tuple[TcpServer, ...]


class Gateway:
    """Answers the questions of all adopted namespaces.  All methods belong to the event loop's thread.

    ask(name, qtype): asks upstream and never raises.
    history.note(netns, name, addresses): told of every address that was opened.
    local(record, name): what this machine knows itself (app/neighbours.py).  stale(): the records have to be read
    again.  who(record, port, protocol): the process that asks, for the first refusal of a name.
    memory: keeps what containers have done (app/memory.py).  ended(record, notes): told what the kernel has noted in a
    namespace that has come to its end.
    inherited: listeners that another agent has handed over.  keeper: told of each listener that is opened and closed
    (system/systemd.py), None where nobody keeps them.
    """

    def __init__(
        self,
        ask: Ask,
        log: Any,
        *,
        history: Any = None,
        local: "Callable[[Record, str], Optional[Local]]" = lambda record, name: None,
        stale: Callable[[], None] = lambda: None,
        who: Who = lambda record, port, protocol: "",
        memory: Optional[Memory] = None,
        ended: Callable[[Record, Notes], None] = lambda record, notes: None,
        inherited: Sequence[Inherited] = (),
        keeper: "Optional[Keeper]" = None,
    ) -> None:
        self._keeper = keeper
        self._memory = memory
        self._told = ended
        self._history = history
        self._saving: Optional[asyncio.TimerHandle] = None
        self.cache = Cache(ask)
        self.stale = stale
        self._log = log
        # Looking for a process reads /proc of all of them.
        self._hub = Hub(self.cache, log, history, local, lambda: self.stale(), who, Budget(5, 2.0))
        self._boxes: Dict[int, _Box] = {}
        self._wanted: Dict[int, Record] = {}
        self._retries: "Dict[int, Tuple[float, asyncio.TimerHandle]]" = {}
        self._inherited: Dict[int, Dict[str, Any]] = {}
        for netns, label, listener in inherited:
            self._inherited.setdefault(netns, {})[label] = listener
        self._tasks: "set[asyncio.Task[None]]" = set()
        self._adopting: Dict[int, asyncio.Lock] = {}
        self._own: Tuple[Address, ...] = ()
        self._own_at = float("-inf")
        self._own_timer: Optional[asyncio.TimerHandle] = None
        self._closing = False

    def __len__(self) -> int:
        return len(self._boxes)

    def serves(self, netns: int) -> bool:
        """Whether the listeners of this namespace are open."""
        return netns in self._boxes

    async def adopt(self, record: Record) -> None:
        """Serve the namespace of ``record`` by its policy from now on; in static mode the same as ``drop``.

        Raises KernelError when its listeners cannot be opened: something in the container has taken the port, or the
        namespace is out of reach.  It is tried again, less and less often, until ``drop``.
        """
        if record.policy.dns_mode != "gateway":
            self.drop(record.netns)
            return
        self._wanted[record.netns] = record
        async with self._adopting.setdefault(record.netns, asyncio.Lock()):
            try:
                await self._adopt(record)
            except KernelError as error:
                self._retry_later(record.netns, error)
                raise

    async def _adopt(self, record: Record) -> None:
        box = self._boxes.get(record.netns)
        if box is not None:
            known = box.desk.record
            if (known.ident, known.policy) == (record.ident, record.policy):
                box.desk.record = record
            else:
                box.desk.renew(record, self._openings(record.policy))
            return
        openings = self._openings(record.policy)
        loop = asyncio.get_running_loop()
        inherited = self._inherited.get(record.netns, {})
        opened = await loop.run_in_executor(None, open_gateway, record.path, record.netns, inherited)
        remembered = await self._recall(record)
        self._inherited.pop(record.netns, None)
        if self._wanted.get(record.netns) is None:  # dropped meanwhile
            for listener in opened.listeners.values():
                listener.close()
            opened.sets.close()
            return
        desk = Desk(self._hub, record, openings, opened.sets)
        if remembered is None:
            desk.tally.event(Event(record.since, "isolated", f"by the profile {record.policy.name}"))
        else:
            desk.tally.restore(remembered)
        streams = []
        for label, listener in opened.listeners.items():
            if self._keeper is not None and label not in inherited:
                self._keeper.keep(record.netns, label, listener)
            if label.startswith("udp"):
                loop.add_reader(listener.fileno(), self._readable, desk, listener)
            else:
                streams.append(TcpServer(listener, desk.by_stream))
        self._boxes[record.netns] = _Box(desk, opened.listeners, tuple(streams))
        if self._retries.pop(record.netns, None) is not None:
            self._log.info("gateway_open", netns=record.netns)
        if self._own_timer is None:
            self._own_timer = loop.call_later(OWN_SECONDS, self._look_at_own)
        if self._saving is None and self._memory is not None:
            self._saving = loop.call_later(SAVE_SECONDS, self._save)

    async def _recall(self, record: Record) -> Optional[Activity]:
        if self._memory is None:
            return None
        return await asyncio.get_running_loop().run_in_executor(None, self._memory.load, record)

    def save(self) -> None:
        """Keep what is known by now."""
        if self._memory is not None:
            for activity in self._fresh():
                self._memory.save(activity)

    def _save(self) -> None:
        """The same from time to time, should this process be killed."""
        self._saving = None
        loop = asyncio.get_running_loop()
        for activity in self._fresh():
            loop.run_in_executor(None, self._memory.save, activity)  # type: ignore[union-attr]
        if self._boxes:
            self._saving = loop.call_later(SAVE_SECONDS, self._save)

    def _fresh(self) -> Iterable[Activity]:
        for box in self._boxes.values():
            tally = box.desk.tally
            if tally.fresh:
                tally.fresh = False
                yield tally.put_into(activity_of(box.desk.record))

    def _ended(self, desk: Desk) -> None:
        """Keep what its containers have done; the sets' socket still reaches the namespace."""
        if self._memory is None or self._closing:
            return
        notes = Notes()
        with contextlib.suppress(KernelError):
            notes = desk.notes()
            self._told(desk.record, notes)
        activity = desk.tally.put_into(activity_of(desk.record, time.time()))
        names = names_by_address(self.history_of(desk.record.netns), desk.tally.names_of())
        memory = self._memory

        def end() -> None:
            with contextlib.suppress(KernelError):
                memory.end(with_seen(activity, Seen(notes), names))

        asyncio.get_running_loop().run_in_executor(None, end)

    def history_of(self, netns: int) -> Mapping[Address, Tuple[str, ...]]:
        """Which names addresses have stood for in a namespace."""
        return {} if self._history is None else self._history.names_of(netns)

    def _retry_later(self, netns: int, error: KernelError) -> None:
        """The listeners of a namespace could not be opened: try again, later each time."""
        if netns not in self._wanted:
            return
        delay = RETRY
        if netns in self._retries:
            before, timer = self._retries[netns]
            timer.cancel()
            delay = min(before * 2, RETRY_MOST)
        else:
            self._log.error("gateway_closed", netns=netns, error=str(error), hint=error.hint)
        timer = asyncio.get_running_loop().call_later(delay, lambda: self._start(self._again(netns)))
        self._retries[netns] = (delay, timer)

    async def _again(self, netns: int) -> None:
        record = self._wanted.get(netns)
        if record is not None and netns not in self._boxes:
            with contextlib.suppress(KernelError):
                await self.adopt(record)

    def drop(self, netns: int) -> None:
        """Close what is open in this namespace; no error when nothing is."""
        self._wanted.pop(netns, None)
        retry = self._retries.pop(netns, None)
        if retry is not None:
            retry[1].cancel()
        lock = self._adopting.get(netns)
        if lock is not None and not lock.locked():
            del self._adopting[netns]
        self._close_inherited(netns)
        box = self._boxes.pop(netns, None)
        if box is None:
            return
        loop = asyncio.get_running_loop()
        self._ended(box.desk)
        for stream in box.streams:
            stream.close()
        for label, listener in box.listeners.items():
            if label.startswith("udp"):
                loop.remove_reader(listener.fileno())
            listener.close()
            if self._keeper is not None and not self._closing:
                self._keeper.drop(netns, label)
        box.desk.close()

    def forget_inherited(self) -> None:
        """Close the listeners that were handed over and that no record is about."""
        for netns in [netns for netns in self._inherited if netns not in self._wanted]:
            self._close_inherited(netns)

    def _close_inherited(self, netns: int) -> None:
        for label, listener in self._inherited.pop(netns, {}).items():
            listener.close()
            if self._keeper is not None and not self._closing:
                self._keeper.drop(netns, label)

    def hold(self, netns: int) -> None:
        """Open nothing in this namespace until as many ``release``: its table is about to be replaced."""
        box = self._boxes.get(netns)
        if box is not None:
            box.desk.hold()

    def release(self, netns: int) -> None:
        """Go on after ``hold``."""
        box = self._boxes.get(netns)
        if box is not None:
            box.desk.release()

    def tally(self, netns: int) -> Tally:
        """What the containers have asked for; empty for a namespace that is not served."""
        box = self._boxes.get(netns)
        return Tally() if box is None else box.desk.tally

    def event(self, netns: int, kind: str, text: str) -> None:
        """Remember what has happened to a container."""
        if netns in self._boxes:
            self._boxes[netns].desk.tally.event(Event(time.time(), kind, text))

    def sockets(self) -> List[Inherited]:
        """All listeners, for an agent that takes over."""
        return [
            (netns, label, listener) for netns, box in self._boxes.items() for label, listener in box.listeners.items()
        ]

    def forget(self) -> None:
        """After a sleep of the machine: lifetimes in the kernel have stood still, so what was opened is closed."""
        self.cache.clear()
        for box in self._boxes.values():
            with contextlib.suppress(KernelError):
                box.desk.flush()

    async def drain(self, seconds: float) -> None:
        """Take no more questions; return when those that were taken are answered, or after ``seconds``.

        What comes meanwhile waits in the sockets for the agent that takes over.
        """
        self._closing = True
        loop = asyncio.get_running_loop()
        jobs = set(self._tasks)
        for box in self._boxes.values():
            for stream in box.streams:
                jobs |= stream.stop()
            for label, listener in box.listeners.items():
                if label.startswith("udp"):
                    loop.remove_reader(listener.fileno())
        if jobs:
            await asyncio.wait(jobs, timeout=seconds)

    def close(self) -> None:
        """Close everything; what is kept stays with the keeper."""
        if not self._closing:
            self.save()
        if self._saving is not None:
            self._saving.cancel()
        self._closing = True
        for netns in {*self._boxes, *self._wanted, *self._inherited}:
            self.drop(netns)
        for task in self._tasks:
            task.cancel()
        if self._own_timer is not None:
            self._own_timer.cancel()
        self.cache.close()

    # The host's own addresses come and go, and no name may open them.

    def _openings(self, policy: Policy) -> Openings:
        """What names open.  Raises KernelError."""
        now = self.cache.clock()
        if now - self._own_at > OWN_FRESH:
            self._own, self._own_at = own_addresses(), now
        return Openings(policy, self._own)

    def _look_at_own(self) -> None:
        self._own_timer = None
        if self._boxes:
            self._own_timer = asyncio.get_running_loop().call_later(OWN_SECONDS, self._look_at_own)
            self._start(self._renew_own())

    async def _renew_own(self) -> None:
        try:
            found = await asyncio.get_running_loop().run_in_executor(None, own_addresses)
        except KernelError as error:
            self._log.error("own_addresses_unread", error=str(error))
            return
        self._own_at = self.cache.clock()
        if found != self._own:
            self._own = found
            for box in self._boxes.values():
                box.desk.renew(box.desk.record, self._openings(box.desk.record.policy))

    # Questions.

    def _readable(self, desk: Desk, listener: Any) -> None:
        for _ in range(AT_ONCE):
            try:
                data, asker = listener.recvfrom(DATAGRAM, socket.MSG_DONTWAIT)
            except OSError:  # nothing more; an error of an earlier reply (ICMP) goes by as well
                return
            reply = desk.by_datagram(data, asker[1])
            if isinstance(reply, bytes):
                _send(listener, reply, asker)
            else:
                self._start(_send_later(listener, reply, asker))

    def _start(self, job: Awaitable[None]) -> None:
        task = asyncio.ensure_future(job)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _send_later(listener: Any, reply: Awaitable[bytes], asker: Any) -> None:
    _send(listener, await reply, asker)


def _send(listener: Any, reply: bytes, asker: Any) -> None:
    if reply:
        with contextlib.suppress(OSError):  # the asker has gone, or does not read: datagrams may be lost
            listener.sendto(reply, socket.MSG_DONTWAIT, asker)
