"""``rcc denied``: what was refused, since when, how often, and the line that would allow it."""

import time
from typing import Any, Dict, Iterable, Iterator, List, Tuple

from rcc.app.activities import read_activities
from rcc.core.activity import Activity
from rcc.core.printable import printable
from rcc.core.span import span_text
from rcc.core.suggest import Refusal, refusals

FOLLOW_SECONDS = 1.0
Known = Dict[Tuple[int, str], int]  # netns and what, to how often


def denied_data(activities: Iterable[Activity]) -> List[Dict[str, Any]]:
    """A mapping for each container that runs, with what was refused to it."""
    return [
        {
            "containers": [dict(container._asdict()) for container in activity.containers],
            "profile": activity.profile,
            "packets": dict(activity.totals).get("denied", 0),
            "refused": [refusal_data(refusal) for refusal in refusals(activity)],
        }
        for activity in activities
    ]


def refusal_data(refusal: Refusal) -> Dict[str, Any]:
    """One refusal for ``--json``."""
    return {**refusal._asdict(), "names": list(refusal.names)}


def denied_lines(activities: Iterable[Activity], now: float) -> List[str]:
    """The same for a person."""
    lines: List[str] = []
    for activity in activities:
        found = refusals(activity)
        ended = ", ended" if activity.ended else ""
        head = f"{printable(activity.title)} (profile {activity.profile}{ended})"
        if not found:
            lines.append(f"{head}: nothing was refused")
            continue
        lines.append(f"{head}:")
        lines += [f"  {line}" for refusal in found for line in _lines(refusal, now)]
    return lines or ["no isolated container runs"]


def _lines(refusal: Refusal, now: float) -> List[str]:
    times = f"{refusal.times} time{'s' if refusal.times != 1 else ''}"
    when = f"last {span_text(now - refusal.last)} ago"
    if refusal.times > 1:
        when = f"since {span_text(now - refusal.first)}, {when}"
    return [f"{what(refusal)}: {times}, {when}", f"    {remedy(refusal)}"]


def what(refusal: Refusal) -> str:
    """What was refused, and to whom."""
    names = f" ({', '.join(map(printable, refusal.names))})" if refusal.names else ""
    process = f" by {printable(refusal.process)}" if refusal.process else ""
    return f"{printable(refusal.what)}{names}{process}"


def remedy(refusal: Refusal) -> str:
    """The line that would allow it, or why none does."""
    if not refusal.line:
        return f"nothing allows it: {printable(refusal.why)}"
    return f"{refusal.line}" + (f"  # {printable(refusal.why)}" if refusal.why else "")


def follow(container: str) -> Iterator[List[Tuple[Activity, Refusal, int]]]:
    """What is refused from now on, in rounds; each with how often since the round before.  Ends with the container."""
    known: Known = {}
    first = True
    while True:
        activities = read_activities(container)
        yield [] if first else list(_news(activities, known))
        if first:
            list(_news(activities, known))
        first = False
        if container and all(activity.ended for activity in activities):
            return
        time.sleep(FOLLOW_SECONDS)


def _news(activities: Iterable[Activity], known: Known) -> Iterator[Tuple[Activity, Refusal, int]]:
    for activity in activities:
        for refusal in reversed(refusals(activity)):
            key = (activity.netns, f"{refusal.kind} {refusal.what.partition(' ')[0]}")
            more = refusal.times - known.get(key, 0)
            known[key] = refusal.times
            if more > 0:
                yield activity, refusal, more


def news_line(activity: Activity, refusal: Refusal, more: int, now: float) -> str:
    """One line of ``--follow``."""
    clock = time.strftime("%H:%M:%S", time.localtime(now))
    times = f" {more} times" if more > 1 else ""
    return f"{clock} {printable(activity.title)}: {what(refusal)}{times}  {remedy(refusal)}"
