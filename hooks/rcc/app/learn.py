"""``rcc learn``: the policy that a container's doings would have needed, as text."""

import time

from rcc.app.activities import read_activities
from rcc.app.check import check_text
from rcc.core.activity import Activity
from rcc.core.errors import RccError
from rcc.core.learn import render_learned
from rcc.core.sources import PROFILE
from rcc.system.configfiles import read_sources
from rcc.system.owner import home_of, owner_uid


class Unlearned(RccError):
    """A defect: what was learned is no policy."""


def learn_text(container: str, *, refused: bool = False) -> str:
    """A profile for ``container``, which `rcc check` finds no fault with.

    Raises AgentError, also for a container that nobody knows.
    """
    (activity,) = read_activities(container)
    text = render_learned(activity, _span(activity), refused=refused)
    report = check_text(text.encode(), "learned.yaml", read_sources(home=home_of(owner_uid())).sources, PROFILE)
    if report.problems:
        raise Unlearned(f"what was learned is no policy: {report.problems[0]}", hint="this is a defect of rcc")
    return text


def _span(activity: Activity) -> str:
    end = f"to {_minute(activity.ended)}" if activity.ended else "while it runs"
    return f"from {_minute(activity.since)} {end}"


def _minute(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))
