"""What hooks and commands have the agent do: a table of verbs, one request and one reply each.

A verb runs in the agent's event loop; whatever waits for the kernel or the disk belongs into ``Hands.work``.  It checks
its arguments itself and raises RccError for what it refuses; the message and the hint reach the person.
"""

from typing import Any, Awaitable, Callable, Dict, Mapping

from rcc.app import live
from rcc.app.gather import gather
from rcc.app.hands import Hands
from rcc.core.errors import AgentError
from rcc.system.state import State

Verb = Callable[[Hands, Mapping[str, Any]], Awaitable[Dict[str, Any]]]


async def _serve(hands: Hands, arguments: Mapping[str, Any]) -> Dict[str, Any]:
    """For a hook that has isolated a namespace: return when the questions of its containers are answered."""
    netns = arguments.get("netns")
    record = await hands.work(State(hands.root).record, netns) if type(netns) is int else None
    if record is None:
        raise AgentError("no such namespace is on record")
    hands.refresher.rescan()
    await hands.gateway.adopt(record)
    return {}


VERBS: Dict[str, Verb] = {
    "serve": _serve,
    "reload": live.reload,
    "allow": live.allow,
    "deny": live.deny,
    "activity": gather,
}


async def do(hands: Hands, name: str, arguments: Mapping[str, Any]) -> Dict[str, Any]:
    """The result of one verb.  Raises RccError."""
    verb = VERBS.get(name)
    if verb is None:
        raise AgentError(f"this agent knows no {name!r}", hint="stop the agent of the older rcc: rcc-agent --stop")
    return await verb(hands, arguments)
