"""The agent's work: everything that runs in its event loop, from the first record to the last."""

import asyncio
import os
import select
import signal
import sys
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
from rcc.app.tell import Teller
from rcc.core.errors import AgentError
from rcc.core.names import Answer
from rcc.system import resolver, systemd
from rcc.system.agent_process import clocks, slept, stepped
from rcc.system.agent_socket import Place, inode_at
from rcc.system.agent_start import start
from rcc.system.history import History
from rcc.system.state import State

STOPPED = "stopped"  # told to: whoever keeps it is to go as well
IDLE = "idle"  # nobody needs it; should somebody have come in this moment, another one is started
RESTART = "restart"  # another version is to take its place, with the same sockets

WORKERS = 4  # hooks and commands that are worked for at a time; the others wait
TICK = 1.0  # seconds between looks at the clocks and the socket file
CLOCK_STEP = 2.0  # seconds; less is what ntp does
SLEEP = 2.0
SPARE = 0.3  # seconds in which the keeper's spare has taken its place, if it lives
DRAIN = 2.0  # seconds for questions that were taken before a restart


class Options(NamedTuple):
    """``resolv_conf``, ``hosts``: paths of the host's files, the second empty for none.  ``idle``: seconds."""

    resolv_conf: str
    hosts: str
    idle: float


class Worker:
    """One agent at work in ``place``."""

    def __init__(self, place: Place, state: State, log: Any, options: Options) -> None:
        self._place = place
        self._state = state
        self._log = log
        self._options = options
        self._inode = inode_at(state.root)
        self._end: "Optional[asyncio.Future[str]]" = None
        self._clocks = clocks()
        self._keeper = 0  # process id; 0: systemd's, or it has died
        self._keeper_fd = -1
        self._orphaned = False

    async def run(self) -> str:
        """Work until the end; how it ended."""
        loop = asyncio.get_running_loop()
        self._end = loop.create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.finish, STOPPED)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

        root = self._state.root
        lookup = Lookup(self._begin)
        upstream = resolver.Asker(self._options.resolv_conf, self._options.hosts)
        history = History(root, lambda trouble: self._log.error("history_not_kept", error=trouble))
        neighbours, memory = Neighbours(), Memory(root, self._log)
        teller = Teller(self._log, history.names_of)
        gateway = Gateway(
            upstream.ask,
            self._log,
            local=neighbours.local,
            history=history,
            who=who_asks,
            memory=memory,
            ended=teller.denied,
            inherited=self._place.inherited,
            keeper=systemd,
        )
        refresher = Refresher(self._state, lookup, gateway, self._log, history=history, teller=teller)
        gateway.stale = refresher.rescan
        workers = ThreadPoolExecutor(max_workers=WORKERS, thread_name_prefix="hook")
        hands = Hands(root, lookup, refresher, gateway, history, neighbours, memory, self._log, workers)
        service = Service(self._place.listening, hands, self)
        jobs: List[asyncio.Future[Any]] = []
        ended = STOPPED
        try:
            ended_before, keeper = os.environ.pop("RCC_ENDED", ""), os.environ.pop("RCC_KEEPER", "")
            inherited = len(self._place.inherited)
            self._log.info("started", version=__version__, inherited=inherited, ended_before=ended_before)
            service.listen()
            systemd.notify(b"READY=1\n")
            if keeper.isdigit():
                self.adopted_by(int(keeper))
            jobs += [asyncio.ensure_future(refresher.run()), asyncio.ensure_future(expire(hands))]
            jobs.append(asyncio.ensure_future(teller.run(hands.work)))
            ended = await self._until_the_end(service, refresher, gateway, jobs)
            if ended == RESTART:
                await gateway.drain(DRAIN)
            else:
                systemd.notify(b"STOPPING=1\n" + (b"X_RCC_STOP=1\n" if ended == STOPPED else b""))
            return ended
        finally:
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

    # Whoever keeps it.

    @property
    def keeper(self) -> int:
        """The process that keeps it, 0 for systemd and while there is none."""
        return self._keeper

    @property
    def is_orphaned(self) -> bool:
        """Whether its keeper has died and no other one has come."""
        if self._keeper_fd >= 0 and select.select([self._keeper_fd], [], [], 0)[0]:
            self._died()  # just now
        return self._orphaned

    def adopted_by(self, keeper: int) -> None:
        """Watch this process from now on: if it dies, another one has to come."""
        self._keeper, self._orphaned = keeper, False
        try:
            self._keeper_fd = os.pidfd_open(keeper)
        except OSError:
            self._died()
        else:
            asyncio.get_running_loop().add_reader(self._keeper_fd, self._died)

    def _died(self) -> None:
        loop = asyncio.get_running_loop()
        if self._keeper_fd >= 0:
            loop.remove_reader(self._keeper_fd)
            os.close(self._keeper_fd)
        self._log.error("keeper_died", keeper=self._keeper)
        self._keeper, self._keeper_fd, self._orphaned = 0, -1, True
        loop.call_later(SPARE, self._look_for_a_keeper)

    def _look_for_a_keeper(self) -> None:
        if not self._orphaned or self._end is None or self._end.done():
            return
        program = os.path.join(os.path.dirname(os.path.realpath(sys.argv[0])), "rcc-keeper")
        words = ["--resolv-conf", self._options.resolv_conf, f"--hosts={self._options.hosts}"]
        words += ["--idle", str(self._options.idle)]
        try:
            start(["/usr/bin/python3", "-IS", program, "--root", self._state.root, "--", *words], 0.0)
        except AgentError as error:
            self._log.error("no_keeper", error=str(error))
        asyncio.get_running_loop().call_later(TICK, self._look_for_a_keeper)

    def _begin(self, names: Sequence[str]) -> "Dict[str, asyncio.Task[Answer]]":
        # Read each time: a laptop changes networks.
        config = resolver.load_config(self._options.resolv_conf, self._options.hosts)
        return resolver.begin(names, config=config, deadline=time.monotonic() + resolver.SECONDS)

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
            if inode_at(self._state.root) != self._inode:
                self._log.warning("socket_replaced")
                return STOPPED
            if service.busy or service.served != served or len(refresher):
                served = service.served
                since = time.monotonic()
            elif time.monotonic() - since >= self._options.idle:
                return IDLE
            if refresher.looked:
                gateway.forget_inherited()

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
