"""Look up the names of a policy when a container starts: by the agent, or here where no agent will run.

Names that cannot be looked up open nothing and stop nothing: the agent asks for them again.
"""

from typing import Protocol, Sequence

from rcc.core.errors import AgentError, Refused
from rcc.core.names import Answers
from rcc.core.openings import wants_names
from rcc.system.agent_client import call, rescan
from rcc.system.agent_client import resolve as ask_agent
from rcc.system.agent_line import NoAgent
from rcc.system.state import Record

SECONDS = 2.0  # a start waits for names no longer than this
START_SECONDS = 5.0  # and for an agent to start, on a machine that is busy
SERVE_SECONDS = 5.0
KEEPER = ("/usr/bin/python3", "-IS", "/usr/libexec/rcc/rcc-keeper")


class Names(Protocol):
    """Who knows what names stand for, and wants to know when records have changed."""

    def answers(self, names: Sequence[str]) -> Answers:
        """What ``names`` stand for now, as far as that is found out in SECONDS."""

    def serve(self, record: Record) -> None:
        """The record of this namespace has changed; return when its questions are answered.

        Raises Refused when nobody answers them and its policy has names to ask for.
        """


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

    def serve(self, record: Record) -> None:
        """Tell the agent, and wait for it where the container's DNS depends on it.

        Elsewhere an agent that does not hear it finds out by itself, and the next one reads all records.
        """
        waits = wants_names(record.policy)
        try:
            try:
                self._tell(record, waits)
            except NoAgent:
                self._start(START_SECONDS if waits else 0.0)
                if waits:
                    self._tell(record, waits)
        except AgentError as error:
            if waits:
                raise Refused(
                    f"the agent, which answers the container's DNS, does not: {error.message}",
                    hint=f"see {self._root}/agent.log; with dns: {{mode: static}} the policy does without it",
                ) from error

    def _tell(self, record: Record, waits: bool) -> None:
        if waits:
            call(self._root, "serve", {"netns": record.netns}, SERVE_SECONDS)
        else:
            rescan(self._root)

    def _start(self, seconds: float) -> None:
        """See that an agent runs, or with no ``seconds`` to spend that one comes to run."""
        from rcc.system.agent_start import ensure, start

        command = (*KEEPER, "--root", self._root)
        try:
            if seconds:
                ensure(self._root, command, seconds)
            else:
                start(command, 0.0)
        except AgentError:
            return
