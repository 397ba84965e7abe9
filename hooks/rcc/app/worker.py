"""The agent's work: everything that runs in its event loop, from the first record to the last."""

import asyncio
import contextlib
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from rcc import __version__
from rcc.app.gateway import Gateway
from rcc.app.hands import Hands
from rcc.app.live import expire
from rcc.app.lookup import Lookup
from rcc.app.memory import Memory
from rcc.app.neighbours import Neighbours
from rcc.app.observe import who_asks
from rcc.app.refresh import Refresher
from rcc.app.serve import Service
from rcc.core.names import Answer
from rcc.system import agent_handover, agent_line, resolver, systemd
from rcc.system.agent_process import clocks, slept, stepped
from rcc.system.agent_socket import Place, inode_at
from rcc.system.history import History
from rcc.system.state import State

# How it ended.
STOPPED = "stopped"  # told to, or nobody needed it
ORPHANED = "orphaned"  # its supervisor has died
HANDED_OVER = "handed_over"  # another agent has all sockets and serves
RESTART = "restart"  # systemd is to start the newer program
PASSED_OVER = "passed_over"  # the agent that this one came to replace goes on

WORKERS = 4  # hooks and commands that are worked for at a time; the others wait
TICK = 1.0  # seconds between looks at the clocks and the socket file
CLOCK_STEP = 2.0  # seconds; less is what ntp does
SLEEP = 2.0
DRAIN = 10.0  # seconds for questions that were taken before another agent took over


class Options(NamedTuple):
    """``resolv_conf``, ``hosts``: paths of the host's files, the second empty for none.  ``idle``: seconds."""

    resolv_conf: str
    hosts: str
    idle: float


class Worker:
    """One agent at work in ``place``; ``ready()`` is called when it answers."""

    def __init__(self, place: Place, state: State, log: Any, options: Options) -> None:
        self._place = place
        self._state = state
        self._log = log
        self._options = options
        self._inode = inode_at(state.root)
        self._end: "Optional[asyncio.Future[str]]" = None
        self._clocks = clocks()

    async def run(self, watch: Optional[int], ready: "Any" = lambda: None) -> str:
        """Work until the end; how it ended.  ``watch``: a descriptor that ends when the supervisor dies."""
        loop = asyncio.get_running_loop()
        self._end = loop.create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.finish, STOPPED)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        if watch is not None:
            loop.add_reader(watch, self._orphaned, watch)

        lookup = Lookup(self._begin)
        upstream = resolver.Asker(self._options.resolv_conf, self._options.hosts)
        root = self._state.root
        history = History(root, lambda trouble: self._log.error("history_not_kept", error=trouble))
        neighbours, memory = Neighbours(), Memory(root, self._log)
        gateway = Gateway(
            upstream.ask,
            self._log,
            local=neighbours.local,
            history=history,
            who=who_asks,
            memory=memory,
            inherited=self._place.inherited,
            keeper=systemd if self._place.activated else None,
        )
        refresher = Refresher(self._state, lookup, gateway, self._log, history=history)
        gateway.stale = refresher.rescan
        workers = ThreadPoolExecutor(max_workers=WORKERS, thread_name_prefix="hook")
        hands = Hands(root, lookup, refresher, gateway, history, neighbours, memory, self._log, workers)
        service = Service(self._place, hands, self.finish)
        jobs: List[asyncio.Future[Any]] = []
        ended = STOPPED
        try:
            if self._place.inherited:
                await refresher.look()
                gateway.forget_inherited()
            if self._place.talk is not None and not await agent_handover.finish(self._place.talk):
                ended = PASSED_OVER
                return ended
            service.listen()
            self._log.info("started", version=__version__, inherited=len(self._place.inherited))
            ready()
            jobs += [asyncio.ensure_future(refresher.run()), asyncio.ensure_future(expire(hands))]
            ended = await self._until_the_end(service, refresher, gateway, jobs)
            if ended == HANDED_OVER:
                await gateway.drain(DRAIN)
            return ended
        finally:
            if ended in (STOPPED, ORPHANED):
                self._unlink()
            await service.close()
            lookup.close()
            gateway.close()
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)
            self._log.info("stopped", how=ended)

    def finish(self, how: str = STOPPED) -> None:
        """End the work."""
        if self._end is not None and not self._end.done():
            self._end.set_result(how)

    def _orphaned(self, watch: int) -> None:
        asyncio.get_running_loop().remove_reader(watch)
        self.finish(ORPHANED)

    def _begin(self, names: Sequence[str]) -> "Dict[str, asyncio.Task[Answer]]":
        # Read each time: a laptop changes networks.
        config = resolver.load_config(self._options.resolv_conf, self._options.hosts)
        return resolver.begin(names, config=config, deadline=time.monotonic() + resolver.SECONDS)

    def _unlink(self) -> None:
        """First the name, so that whoever comes now starts another, which waits for this one's lock."""
        if not self._place.activated and inode_at(self._state.root) == self._inode:
            with contextlib.suppress(OSError):
                os.unlink(agent_line.socket_path(self._state.root))

    async def _until_the_end(
        self, service: Service, refresher: Refresher, gateway: Gateway, jobs: "List[asyncio.Future[Any]]"
    ) -> str:
        assert self._end is not None
        served = -1
        since = time.monotonic()
        tick = min(self._options.idle / 4, TICK)
        while True:
            done, _ = await asyncio.wait([*jobs, self._end], timeout=tick, return_when=asyncio.FIRST_COMPLETED)
            if self._end in done:
                return self._end.result()
            for job in done:
                job.result()  # it only ends by a defect: tell it, and let the next one be another agent
            self._look_at_the_clocks(refresher, gateway)
            if not self._place.activated and inode_at(self._state.root) != self._inode:
                self._log.warning("socket_replaced")
                return STOPPED
            if service.busy or service.served != served or len(refresher):
                served = service.served
                since = time.monotonic()
            elif time.monotonic() - since >= self._options.idle:
                return STOPPED

    def _look_at_the_clocks(self, refresher: Refresher, gateway: Gateway) -> None:
        """Lifetimes in the kernel stand still while the machine sleeps; nothing here depends on the wall clock."""
        before, self._clocks = self._clocks, clocks()
        gone = slept(before, self._clocks)
        if gone > SLEEP:
            self._log.warning("slept", seconds=round(gone))
            gateway.forget()
            refresher.refresh_all()
        step = stepped(before, self._clocks)
        if abs(step) > CLOCK_STEP:
            self._log.warning("clock_set", seconds=round(step))
