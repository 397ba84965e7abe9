"""Entry of the agent: one process per user, which looks names up and keeps the addresses of his containers right.

It is started by the hook when first needed and goes when nobody needs it.  Without it everything stays as closed as it
is: the rules are in the kernel, and addresses only expire.  SIGTERM ends it; kill -9 too, and the next one takes over
what is on record.
"""

import argparse
import asyncio
import contextlib
import fcntl
import os
import signal
import sys
import time
from typing import Any, Dict, List, Optional, Sequence

from rcc import __version__
from rcc.app.gateway import Gateway
from rcc.app.live import expire
from rcc.app.lookup import Lookup
from rcc.app.neighbours import Neighbours
from rcc.app.refresh import Refresher
from rcc.app.serve import Service
from rcc.core.errors import EX_OK, EX_SOFTWARE, RccError
from rcc.core.names import Answer
from rcc.system import agent_client, agent_line, resolver
from rcc.system.agent_log import open_log
from rcc.system.history import History
from rcc.system.owner import state_root
from rcc.system.state import State
from rcc.system.supervise import again, supervise

IDLE = 60.0  # seconds without a record or a client
LOCK_SECONDS = 2.0  # for which a second agent waits until the first one answers, or has gone


def main(argv: Sequence[str]) -> int:
    """Run the agent until it is told to stop or nobody needs it; the exit status."""
    options = _parser().parse_args(argv)
    try:
        root = options.root or state_root()
        if options.stop:
            agent_client.stop(root)
            return EX_OK
        state = State(root)
        lock = _lock(root)
        if lock is None:
            _say_ready(options.ready_fd)
            return EX_OK
        log = open_log(os.path.join(root, "agent.log"))

        def died(pid: int, status: int) -> None:
            log.error("worker_died", pid=pid, signal=os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0)

        def work(watch: int) -> int:
            return _work(state, log.bind(pid=os.getpid()), options, watch)

        return supervise(work, lambda: _forget_ready(options), died)
    except RccError as error:
        sys.stderr.write(f"rcc-agent: {error}\n" + (f"rcc-agent: {error.hint}\n" if error.hint else ""))
        return error.exit_code
    except Exception as error:
        sys.stderr.write(f"rcc-agent: internal error: {error!r}\n")
        return EX_SOFTWARE


def _work(state: State, log: Any, options: argparse.Namespace, watch: int) -> int:
    """The worker: serve until told to stop; when the supervisor has died, become another agent."""
    try:
        orphaned = asyncio.run(_run(state, log, options, watch))
    except Exception as error:
        log.critical("failed", error=repr(error), exc_info=not isinstance(error, RccError))
        return error.exit_code if isinstance(error, RccError) else EX_SOFTWARE
    if orphaned:
        log.error("supervisor_died")
        again([word for word in _arguments(options) if word])
    return EX_OK


def _arguments(options: argparse.Namespace) -> List[str]:
    """The words that another agent of the same kind is started with."""
    root = ["--root", options.root] if options.root else []
    return [*root, "--resolv-conf", options.resolv_conf, f"--hosts={options.hosts}", "--idle", str(options.idle)]


def _forget_ready(options: argparse.Namespace) -> None:
    """Whoever started the agent is told once, and not kept waiting by this process."""
    if options.ready_fd is not None:
        with contextlib.suppress(OSError):
            os.close(options.ready_fd)
        options.ready_fd = None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rcc-agent", description="Looks up names for a user's isolated containers.")
    parser.add_argument("--version", action="version", version=f"rcc {__version__}")
    parser.add_argument("--stop", action="store_true", help="stop the agent that runs")
    parser.add_argument("--root", help="the state folder; default: that of the user")
    parser.add_argument("--resolv-conf", default=resolver.RESOLV_CONF, help="the host's resolv.conf(5) (%(default)s)")
    parser.add_argument("--hosts", default=resolver.HOSTS, help="the host's hosts(5), empty for none (%(default)s)")
    parser.add_argument("--idle", type=float, default=IDLE, help="go after so many idle seconds (%(default)g)")
    parser.add_argument("--ready-fd", type=int, help="write a byte to this descriptor once the socket answers")
    return parser


def _lock(root: str) -> Optional[int]:
    """The descriptor that holds the agent's lock until the process ends; None when another agent answers instead.

    Raises RccError when one holds the lock and does not answer.
    """
    descriptor = os.open(os.path.join(root, "agent.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        try:
            agent_client.ping(root)
            return None
        except RccError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.02)


def _say_ready(descriptor: Optional[int]) -> None:
    if descriptor is not None:
        with contextlib.suppress(OSError):  # whoever waited has given up
            os.write(descriptor, b"1")
        os.close(descriptor)


async def _run(state: State, log: Any, options: argparse.Namespace, watch: int) -> bool:
    """Serve until told to stop or nobody needs it; True when the supervisor has died."""

    def begin(names: Sequence[str]) -> Dict[str, "asyncio.Task[Answer]"]:
        # Read each time: a laptop changes networks.
        config = resolver.load_config(options.resolv_conf, options.hosts)
        return resolver.begin(names, config=config, deadline=time.monotonic() + resolver.SECONDS)

    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    orphaned = asyncio.Event()

    def supervisor_died() -> None:
        loop.remove_reader(watch)
        orphaned.set()
        stopping.set()

    loop.add_reader(watch, supervisor_died)
    lookup = Lookup(begin)
    upstream = resolver.Asker(options.resolv_conf, options.hosts)
    history, neighbours = History(state.root), Neighbours()
    gateway = Gateway(upstream.ask, log, local=neighbours.local, history=history)
    refresher = Refresher(state, lookup, gateway, log, history=history)
    gateway.stale = refresher.rescan
    service = Service(state.root, lookup, refresher, gateway, history, neighbours, log, stopping.set)
    server = await service.listen()
    refreshing = asyncio.ensure_future(refresher.run())
    expiring = asyncio.ensure_future(expire(service.hands))
    log.info("started", version=__version__)
    _say_ready(options.ready_fd)
    try:
        await _until_idle(service, refresher, refreshing, stopping, options.idle)
    finally:
        # First the name, so that whoever comes now starts another, which waits for this one's lock.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(agent_line.socket_path(state.root))
        server.close()
        await service.close()
        lookup.close()
        gateway.close()
        refreshing.cancel()
        expiring.cancel()
        await asyncio.gather(refreshing, expiring, return_exceptions=True)
        log.info("stopped")
    return orphaned.is_set()


async def _until_idle(
    service: Service, refresher: Refresher, refreshing: "asyncio.Task[None]", stopping: asyncio.Event, idle: float
) -> None:
    served = -1
    since = time.monotonic()
    waits: List[asyncio.Future[Any]] = [refreshing, asyncio.ensure_future(stopping.wait())]
    while True:
        done, _ = await asyncio.wait(waits, timeout=min(idle / 4, 1.0), return_when=asyncio.FIRST_COMPLETED)
        if refreshing in done:
            refreshing.result()  # it only ends by a defect: tell it, and let the next start bring a new agent
        if done:
            return
        if service.busy or service.served != served or len(refresher):
            served = service.served
            since = time.monotonic()
        elif time.monotonic() - since >= idle:
            return
