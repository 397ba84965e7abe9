"""``rcc report``: what a container did as one page of HTML."""

import time

from rcc import __version__
from rcc.app.activities import read_activities
from rcc.app.containers import NotFound, find, show_lines
from rcc.app.top import clock
from rcc.core.report_html import render_report
from rcc.system.owner import state_root
from rcc.system.state import State


def report_page(container: str) -> str:
    """The page about ``container``, also when it has ended.  Raises AgentError for one that nobody knows."""
    (activity,) = read_activities(container, flows=True)
    try:
        policy = show_lines(find(State(state_root()), container))
    except NotFound:
        policy = []  # it has ended
    return render_report(activity, policy, time.time(), clock, __version__)
