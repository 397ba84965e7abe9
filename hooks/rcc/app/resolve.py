"""Look up the names of a policy when a container starts: by the agent, or here where no agent will run.

Names that cannot be looked up open nothing and stop nothing: the agent asks for them again.
"""

from typing import Sequence

from rcc.core.errors import AgentError
from rcc.core.names import Answers
from rcc.system.agent_client import rescan
from rcc.system.agent_client import resolve as ask_agent

SECONDS = 2.0  # a start waits for names no longer than this
AGENT = ("/usr/bin/python3", "-IS", "/usr/libexec/rcc/rcc-agent")


def agent_command(root: str) -> "tuple[str, ...]":
    """The command line of the agent for the state folder ``root``."""
    return (*AGENT, "--root", root)


def resolve(root: str, names: Sequence[str]) -> Answers:
    """What ``names`` stand for now, as far as that is found out in SECONDS."""
    try:
        return ask_agent(root, names, SECONDS) if names else ()
    except AgentError:
        pass
    ensure_agent(root)
    try:
        return ask_agent(root, names, SECONDS)
    except AgentError:
        from rcc.system.resolver import resolve_now

        return resolve_now(names, SECONDS)


def ensure_agent(root: str) -> bool:
    """Start the agent unless it runs; False where none will."""
    from rcc.system.agent_start import ensure

    try:
        ensure(root, agent_command(root))
    except AgentError:
        return False
    return True


def tell_agent(root: str) -> None:
    """Records have changed.  An agent that does not hear it finds out by itself, and the next one reads them all."""
    try:
        rescan(root)
    except AgentError:
        return
