"""How a command reaches the agent, which is started when it is not there."""

from typing import Any, Dict, Mapping

from rcc.app.resolve import KEEPER
from rcc.core.errors import AgentError
from rcc.system import agent_client
from rcc.system.agent_line import NoAgent
from rcc.system.agent_start import ensure
from rcc.system.owner import state_root
from rcc.system.state import State

START_SECONDS = 8.0
SECONDS = 30.0


def call_agent(verb: str, arguments: Mapping[str, Any], seconds: float = SECONDS) -> Dict[str, Any]:
    """What the agent says to ``verb`` (app/verbs.py).  Raises AgentError, also for what the verb refuses."""
    root = State(state_root()).root
    try:
        return agent_client.call(root, verb, arguments, seconds)
    except NoAgent:
        try:
            # Of a user who has no root it joins his Podman's namespaces, where this process is not.
            ensure(root, KEEPER, START_SECONDS, any_namespace=True)
        except AgentError as error:
            hint = f"see {root}/agent.log, and what {' '.join(KEEPER)} says"
            raise AgentError(f"the agent does not start: {error}", hint=hint) from error
        return agent_client.call(root, verb, arguments, seconds)
