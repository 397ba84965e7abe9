"""Entry of the agent: one per user, which answers his containers' DNS and keeps their addresses right.

It is started by the hook when first needed, or by systemd, and goes when nobody needs it.  Without it everything stays
as closed as it is: the rules are in the kernel, and addresses only expire.  SIGTERM ends it.  After kill -9 it is there
again: as two processes that watch each other (system/supervise.py), or by systemd, which then watches alone.
"""

import argparse
import asyncio
import contextlib
import mmap
import os
import sys
from typing import Any, List, Optional, Sequence

from rcc import __version__
from rcc.app import worker
from rcc.app.place import take_place
from rcc.core.errors import EX_OK, EX_SOFTWARE, EX_TEMPFAIL, RccError
from rcc.system import agent_client, podman_namespaces, resolver, systemd
from rcc.system.agent_log import open_log
from rcc.system.agent_process import harden
from rcc.system.agent_socket import Place
from rcc.system.descriptors import raise_limit
from rcc.system.owner import state_root
from rcc.system.state import State
from rcc.system.supervise import again, supervise

IDLE = 60.0  # seconds without a record or a client


def main(argv: Sequence[str]) -> int:
    """Run the agent until it is told to stop or nobody needs it; the exit status."""
    options = _parser().parse_args(argv)
    try:
        root = options.root or state_root()
        if options.stop:
            agent_client.stop(root)
            return EX_OK
        given = systemd.activated()
        if os.getuid() != 0 and not options.root:
            podman_namespaces.join()
        state = State(root)
        place = take_place(root, given)
        if place is None:
            _say_ready(options)
            return EX_OK
        log = open_log(os.path.join(root, "agent.log"))
        raise_limit()
        harden()
        return _activated(state, log, options, place) if place.activated else _supervised(state, log, options, place)
    except RccError as error:
        sys.stderr.write(f"rcc-agent: {error}\n" + (f"rcc-agent: {error.hint}\n" if error.hint else ""))
        return error.exit_code
    except Exception as error:
        sys.stderr.write(f"rcc-agent: internal error: {error!r}\n")
        return EX_SOFTWARE


def _activated(state: State, log: Any, options: argparse.Namespace, place: Place) -> int:
    """systemd watches: it starts the program anew with all sockets when this process is killed."""
    ended = _work(state, log, options, place, None)
    return {worker.RESTART: EX_TEMPFAIL, "": EX_SOFTWARE}.get(ended, EX_OK)


def _supervised(state: State, log: Any, options: argparse.Namespace, place: Place) -> int:
    serves = mmap.mmap(-1, 1)  # shared with the workers: one has answered

    def ready() -> None:
        serves[0] = 1
        _say_ready(options)

    def work(watch: int) -> int:
        ended = _work(state, log, options, place, watch, ready)
        if ended == worker.ORPHANED:
            log.error("supervisor_died")
            again([word for word in _arguments(options) if word])
        return EX_OK if ended else EX_SOFTWARE

    def forked() -> None:
        # What the worker got is the worker's: nobody must be kept waiting by this process, and no port taken.
        nonlocal place
        for _, _, listener in place.inherited:
            listener.close()
        if place.talk is not None:
            place.talk.close()
        place = place._replace(inherited=(), talk=None)
        _forget_ready(options)

    def died(pid: int, status: int) -> bool:
        log.error("worker_died", pid=pid, signal=os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0)
        # Before it answered, the agent that it came to replace may still be there.
        return not handed or bool(serves[0])

    handed = place.talk is not None
    return supervise(work, forked, died)


def _work(
    state: State, log: Any, options: argparse.Namespace, place: Place, watch: Optional[int], ready: Any = None
) -> str:
    """How the work ended, empty for a defect."""
    log = log.bind(pid=os.getpid())
    chosen = worker.Options(options.resolv_conf, options.hosts, options.idle)

    def serving() -> None:
        systemd.notify(b"READY=1\n")
        if ready is not None:
            ready()

    try:
        return asyncio.run(worker.Worker(place, state, log, chosen).run(watch, serving))
    except Exception as error:
        log.critical("failed", error=repr(error), exc_info=not isinstance(error, RccError))
        return ""


def _arguments(options: argparse.Namespace) -> List[str]:
    """The words that another agent of the same kind is started with."""
    root = ["--root", options.root] if options.root else []
    return [*root, "--resolv-conf", options.resolv_conf, f"--hosts={options.hosts}", "--idle", str(options.idle)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rcc-agent", description="Answers the DNS of a user's isolated containers.")
    parser.add_argument("--version", action="version", version=f"rcc {__version__}")
    parser.add_argument("--stop", action="store_true", help="stop the agent that runs")
    parser.add_argument("--root", help="the state folder; default: that of the user")
    parser.add_argument("--resolv-conf", default=resolver.RESOLV_CONF, help="the host's resolv.conf(5) (%(default)s)")
    parser.add_argument("--hosts", default=resolver.HOSTS, help="the host's hosts(5), empty for none (%(default)s)")
    parser.add_argument("--idle", type=float, default=IDLE, help="go after so many idle seconds (%(default)g)")
    parser.add_argument("--ready-fd", type=int, help="write a byte to this descriptor once the socket answers")
    return parser


def _say_ready(options: argparse.Namespace) -> None:
    if options.ready_fd is not None:
        with contextlib.suppress(OSError):  # whoever waited has given up
            os.write(options.ready_fd, b"1")
    _forget_ready(options)


def _forget_ready(options: argparse.Namespace) -> None:
    """Whoever started the agent is told once, and not kept waiting by this process."""
    if options.ready_fd is not None:
        with contextlib.suppress(OSError):
            os.close(options.ready_fd)
        options.ready_fd = None
