"""What is remembered of containers' activity on disk: of those that run, should the agent die, and of the last ones
that have ended.
"""

from typing import Any, Iterator, Optional

from rcc.core.activity import Activity, activity_from_data, activity_to_data
from rcc.core.errors import RccError
from rcc.system.state import Record, State


class Memory:
    """In the state folder ``root``.  Never raises: what cannot be written is told to the log and lost."""

    def __init__(self, root: str, log: Any) -> None:
        self._state = State(root)
        self._log = log
        self._troubled = False

    def load(self, record: Record) -> Optional[Activity]:
        """What an agent before this one noted of the same namespace."""
        try:
            data = self._state.read_activity(record.netns)
            activity = None if data is None else activity_from_data(data["activity"])
        except (RccError, KeyError):
            return None
        return activity if activity is not None and activity.since == record.since else None

    def save(self, activity: Activity) -> None:
        """Keep what is known by now."""
        self._write(lambda: self._state.write_activity(activity.netns, {"activity": activity_to_data(activity)}))

    def end(self, activity: Activity) -> None:
        """Its namespace has gone: keep it among the last ones that have ended."""

        def write() -> None:
            self._state.add_past(activity.ended, activity.netns, {"activity": activity_to_data(activity)})
            self._state.remove_activity(activity.netns)

        self._write(write)

    def past(self) -> Iterator[Activity]:
        """The last ones that have ended, newest first."""
        for data in self._state.past():
            try:
                yield activity_from_data(data["activity"])
            except (RccError, KeyError):
                continue

    def _write(self, write: Any) -> None:
        try:
            write()
            self._troubled = False
        except RccError as error:
            if not self._troubled:
                self._log.error("activity_not_kept", error=str(error))
            self._troubled = True
