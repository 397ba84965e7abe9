"""Entry of the agent: one per user, which answers his containers' DNS and keeps their addresses right.

systemd starts it, or rcc's keeper where there is no systemd, and gives it its sockets.  It goes when nobody needs it.
Without it everything stays as closed as it is: the rules are in the kernel, and addresses only expire.  SIGTERM ends
it; after kill -9 another one is there at once, with the same sockets.
"""

import argparse
import asyncio
import os
import sys
from typing import Any, Sequence

from rcc import __version__
from rcc.app import worker
from rcc.core.agent_protocol import render_error
from rcc.core.errors import EX_OK, EX_SOFTWARE, EX_TEMPFAIL, AgentError, RccError
from rcc.system import agent_client, podman_namespaces, resolver, systemd
from rcc.system.agent_log import open_log
from rcc.system.agent_process import harden
from rcc.system.agent_socket import Place, refuse_waiting, take_lock
from rcc.system.descriptors import raise_limit
from rcc.system.owner import state_root
from rcc.system.state import State

IDLE = 60.0  # seconds without a record or a client
LOCK_SECONDS = 5.0  # an older agent whose socket has been replaced finds that out within a second


def main(argv: Sequence[str]) -> int:
    """Run the agent until it is told to stop or nobody needs it; the exit status."""
    options = _parser().parse_args(argv)
    try:
        root = options.root or state_root()
        if options.stop:
            agent_client.stop(root)
            return EX_OK
        given = systemd.activated()
        if given is None:
            _become_keeper(argv)
            return EX_SOFTWARE
        if os.getuid() != 0 and not options.root:
            podman_namespaces.join()
        try:
            state = State(root)
            lock = take_lock(state.root, LOCK_SECONDS, _is_kept)
        except RccError as error:
            refuse_waiting(given.listening, render_error(AgentError(str(error), hint=error.hint)))
            raise
        if lock is None:
            return EX_TEMPFAIL
        raise_limit()
        harden()
        return _work(state, options, Place(lock, given.listening, given.stored))
    except RccError as error:
        sys.stderr.write(f"rcc-agent: {error}\n" + (f"rcc-agent: {error.hint}\n" if error.hint else ""))
        return error.exit_code
    except Exception as error:
        sys.stderr.write(f"rcc-agent: internal error: {error!r}\n")
        return EX_SOFTWARE


def _work(state: State, options: argparse.Namespace, place: Place) -> int:
    log: Any = open_log(os.path.join(state.root, "agent.log")).bind(pid=os.getpid())
    chosen = worker.Options(options.resolv_conf, options.hosts, options.idle)
    try:
        ended = asyncio.run(worker.Worker(place, state, log, chosen).run())
    except Exception as error:
        log.critical("failed", error=repr(error), exc_info=not isinstance(error, RccError))
        return EX_SOFTWARE
    return EX_TEMPFAIL if ended == worker.RESTART else EX_OK


def _is_kept() -> bool:
    """Whether the keeper that has started this process lives; systemd always does."""
    keeper = os.environ.get("RCC_KEEPER", "")
    return not keeper or keeper == str(os.getppid())


def _become_keeper(argv: Sequence[str]) -> None:
    """Whoever starts it by hand gets what a hook would have started."""
    keeper = os.path.join(os.path.dirname(os.path.realpath(sys.argv[0])), "rcc-keeper")
    words = list(argv)
    root = [words.pop(0), words.pop(0)] if words[:1] == ["--root"] and len(words) > 1 else []
    os.execv(sys.executable, [sys.executable, "-IS", keeper, *root, "--", *words])  # noqa: S606


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rcc-agent", description="Answers the DNS of a user's isolated containers.")
    parser.add_argument("--root", help="the state folder; default: that of the user")
    parser.add_argument("--version", action="version", version=f"rcc {__version__}")
    parser.add_argument("--stop", action="store_true", help="stop the agent that runs")
    parser.add_argument("--resolv-conf", default=resolver.RESOLV_CONF, help="the host's resolv.conf(5) (%(default)s)")
    parser.add_argument("--hosts", default=resolver.HOSTS, help="the host's hosts(5), empty for none (%(default)s)")
    parser.add_argument("--idle", type=float, default=IDLE, help="go after so many idle seconds (%(default)g)")
    return parser
