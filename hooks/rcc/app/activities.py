"""What containers have done, as commands ask for it."""

from typing import Tuple

from rcc.app.reach import call_agent
from rcc.app.release import forget_ended
from rcc.core.activity import Activity, activity_from_data
from rcc.system.owner import state_root
from rcc.system.state import State


def read_activities(container: str = "", *, flows: bool = False) -> Tuple[Activity, ...]:
    """Of one container, also when it has ended, or of all that run.  Raises AgentError, also for an unknown one."""
    if not container:
        state = State(state_root())
        forget_ended(state)
        if next(state.records(), None) is None:
            return ()  # no agent has to be started to say so
    found = call_agent("activity", {"container": container, "flows": flows})
    return tuple(activity_from_data(data) for data in found["activities"])
