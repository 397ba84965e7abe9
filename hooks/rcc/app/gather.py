"""The verb activity: what containers have done, gathered from the kernel and the agent's tables."""

import asyncio
from typing import Any, Dict, List, Mapping

from rcc.app.containers import NotFound
from rcc.app.hands import Hands
from rcc.app.live import records_of
from rcc.app.observe import Seen, activity_of, look, names_by_address, with_seen
from rcc.core.activity import Activity, activity_to_data
from rcc.core.errors import AgentError, KernelError
from rcc.system.state import Record

# Rows of each table where all containers are asked about: a reply has its limit (core/agent_protocol.py).
ROWS = 50
TABLES = ("names", "refused", "denied", "used", "flows")


async def gather(hands: Hands, arguments: Mapping[str, Any]) -> Dict[str, Any]:
    """``container``: a name or id, also of one that has ended, empty for all that run; ``flows``: connections too.

    Of all containers only the newest ROWS of each table are told.
    """
    wanted, flows = arguments.get("container", ""), arguments.get("flows", False)
    if not isinstance(wanted, str) or not isinstance(flows, bool):
        raise AgentError("the activity of which container?")
    try:
        records = await hands.work(records_of, hands.root, [wanted] if wanted else [])
    except NotFound:
        ended = await hands.work(_ended, hands, wanted)
        return {"activities": [activity_to_data(activity) for activity in ended]}
    found = await asyncio.gather(*(_activity(hands, record, flows) for record in records))
    return {"activities": [activity_to_data(one if wanted else _newest(one)) for one in found]}


async def _activity(hands: Hands, record: Record, flows: bool) -> Activity:
    try:
        seen = await hands.work(look, record, flows)
    except KernelError:  # it is about to end
        seen = Seen()
    tally = hands.gateway.tally(record.netns)
    activity = tally.put_into(activity_of(record))
    names = names_by_address(hands.history.names_of(record.netns), tally.names_of())
    return await hands.work(with_seen, activity, seen, names)


def _ended(hands: Hands, wanted: str) -> List[Activity]:
    """The last one of this name or id that has ended.  Raises NotFound."""
    for activity in hands.memory.past():
        if any(wanted == one.name or one.id.startswith(wanted) for one in activity.containers):
            return [activity]
    raise NotFound(f"no isolated container runs as {wanted!r}, and none has lately", hint="rcc ps lists those that run")


def _newest(activity: Activity) -> Activity:
    cut: Dict[str, Any] = {}
    for table in TABLES:
        rows = getattr(activity, table)
        if len(rows) > ROWS:
            newest = rows if table == "flows" else sorted(rows, key=lambda row: -row.last)
            cut[table] = tuple(newest[:ROWS])
    return activity._replace(**cut)
