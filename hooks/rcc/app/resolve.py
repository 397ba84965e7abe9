"""Look up the names of a policy when a container starts: by the agent, or here where no agent will run.

Names that cannot be looked up open nothing and stop nothing: the agent asks for them again.
"""

from typing import Protocol, Sequence

from rcc.core.errors import AgentError
from rcc.core.names import Answers
from rcc.system.agent_client import rescan
from rcc.system.agent_client import resolve as ask_agent
from rcc.system.agent_line import NoAgent

SECONDS = 2.0  # a start waits for names no longer than this
AGENT = ("/usr/bin/python3", "-IS", "/usr/libexec/rcc/rcc-agent")


class Names(Protocol):
    """Who knows what names stand for, and wants to know when records have changed."""

    def answers(self, names: Sequence[str]) -> Answers:
        """What ``names`` stand for now, as far as that is found out in SECONDS."""

    def changed(self) -> None:
        """The records of isolated namespaces have changed."""


class AgentNames:
    """The agent of the state folder ``root``, started when it does not run."""

    def __init__(self, root: str) -> None:
        self._root = root

    def answers(self, names: Sequence[str]) -> Answers:
        """What ``names`` stand for now, as far as that is found out in SECONDS."""
        try:
            return ask_agent(self._root, names, SECONDS) if names else ()
        except NoAgent:
            self._start(SECONDS)
            try:
                return ask_agent(self._root, names, SECONDS)
            except AgentError:
                return self._alone(names)
        except AgentError:  # it is there and does not answer: a second question would wait as long
            return self._alone(names)

    def _alone(self, names: Sequence[str]) -> Answers:
        from rcc.system.resolver import resolve_now

        return resolve_now(names, SECONDS)

    def changed(self) -> None:
        """Tell the agent.  One that does not hear it finds out by itself, and the next one reads all records."""
        try:
            rescan(self._root)
        except NoAgent:
            self._start(0.0)
        except AgentError:
            return

    def _start(self, seconds: float) -> None:
        """See that an agent runs, or with no ``seconds`` to spend that one comes to run."""
        from rcc.system.agent_start import ensure, start

        command = (*AGENT, "--root", self._root)
        try:
            if seconds:
                ensure(self._root, command, seconds)
            else:
                start(command, 0.0)
        except AgentError:
            return
