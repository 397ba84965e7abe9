"""Become the agent of a state folder: alone, in place of one of another version, or as systemd's."""

import contextlib
import os
import time
from typing import Optional

from rcc import __version__
from rcc.core.agent_protocol import render_error
from rcc.core.errors import AgentError, RccError
from rcc.system import agent_client, systemd
from rcc.system.agent_handover import Restarts, take_over
from rcc.system.agent_line import NoAgent
from rcc.system.agent_socket import Place, listen, open_lock, refuse_waiting, try_lock
from rcc.system.agent_start import user_namespace

# For which a second agent waits until the first one answers, or has gone.  One whose socket systemd has replaced finds
# that out within a second.
SECONDS = 5.0
STEP = 0.02


def take_place(root: str, given: Optional[systemd.Activated], seconds: float = SECONDS) -> Optional[Place]:
    """The agent's place; None when another agent answers that is as good.

    Raises AgentError, RccError when there is another, and it neither fits nor goes.
    """
    lock = open_lock(root)
    deadline = time.monotonic() + seconds
    problem: RccError = AgentError("another agent holds the lock and does not answer", where=root)
    try:
        while not try_lock(lock):
            if time.monotonic() > deadline:
                raise problem
            if given is None:  # else the path leads to this process
                try:
                    place = _instead(root)
                except RccError as error:
                    problem = error
                else:
                    os.close(lock)
                    return place
            time.sleep(STEP)
        if given is None:
            return Place(lock, listen(root))
        return Place(lock, given.listening, True, given.stored)
    except RccError as error:
        os.close(lock)
        if given is not None:
            refuse_waiting(given.listening, render_error(AgentError(str(error), hint=error.hint)))
        raise


def _instead(root: str) -> Optional[Place]:
    """The place of the agent that runs, None when it fits.  Raises AgentError when it goes, or has to go first."""
    try:
        pong = agent_client.ping(root)
    except NoAgent:
        raise
    except AgentError:  # nothing that this side understands
        _stop(root)
        raise
    if pong.user_namespace != user_namespace():  # it cannot enter the containers of this one
        _stop(root)
        raise AgentError("an agent of another user namespace does not go", where=root)
    if pong.version == __version__:
        return None
    try:
        return take_over(root)
    except Restarts:
        raise
    except AgentError:
        _stop(root)
        raise


def _stop(root: str) -> None:
    with contextlib.suppress(AgentError):
        agent_client.stop(root)
