"""``rcc top``: a live screen of containers, connections, rates and denials."""

import time
from typing import Any, Dict, List, Sequence, Tuple

from rcc.app.activities import read_activities
from rcc.core.activity import Activity
from rcc.core.top_screen import BAD, HEAD, LOUD, SELECTED, SORTS, Line, Rates, View, rates_of, top_lines

SIZE = (120, 50)  # of what is printed where there is no terminal


class Watch:
    """Looks at all containers again and again; rates are those between the last two looks."""

    def __init__(self) -> None:
        self.activities: Sequence[Activity] = ()
        self.rates: Dict[int, Rates] = {}
        self._before: Dict[int, Activity] = {}
        self._at = 0.0

    def look(self) -> None:
        """Raises RccError."""
        found = read_activities(flows=True)
        now = time.monotonic()
        self.rates = {one.netns: rates_of(one, self._before, now - self._at) for one in found}
        self.activities = found
        self._before = {one.netns: one for one in found}
        self._at = now

    def lines(self, view: View, size: Tuple[int, int]) -> List[Line]:
        """The screen."""
        return top_lines(self.activities, self.rates, view, size, time.time(), clock)


def clock(moment: float) -> str:
    """A moment for people, its last eight letters the time of day."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


def print_screens(count: int, interval: float) -> None:
    """For pipes: so many screens as text.  Raises RccError."""
    watch = Watch()
    for number in range(count):
        if number:
            time.sleep(interval)
        watch.look()
        print("\n".join(line.text.rstrip() for line in watch.lines(View(), SIZE)), flush=True)


def run_screen(interval: float) -> None:
    """On a terminal, until `q`.  Raises RccError, curses.error."""
    import curses

    curses.wrapper(_loop, interval)


def _loop(screen: Any, interval: float) -> None:
    import curses

    styles = _styles()
    watch, view = Watch(), View()
    due = 0.0
    screen.timeout(100)
    while True:
        if time.monotonic() >= due and not view.paused:
            watch.look()
            due = time.monotonic() + interval
        height, width = screen.getmaxyx()
        screen.erase()
        for number, line in enumerate(watch.lines(view, (width, height))):
            screen.addnstr(number, 0, line.text, max(width - 1, 1), styles.get(line.style, 0))
        screen.refresh()
        key = screen.getch()
        if key in (ord("q"), 27):
            return
        view = _pressed(view, key, len(watch.activities), curses)


def _pressed(view: View, key: int, rows: int, curses: Any) -> View:
    if key in (curses.KEY_DOWN, ord("j")):
        return view._replace(selected=min(view.selected + 1, max(rows - 1, 0)))
    if key in (curses.KEY_UP, ord("k")):
        return view._replace(selected=max(view.selected - 1, 0))
    if key == ord("s"):
        return view._replace(sort=SORTS[(SORTS.index(view.sort) + 1) % len(SORTS)])
    if key == ord(" "):
        return view._replace(paused=not view.paused)
    return view


def _styles() -> Dict[str, int]:
    import contextlib
    import curses

    with contextlib.suppress(curses.error):
        curses.curs_set(0)
    styles = {HEAD: curses.A_BOLD, SELECTED: curses.A_REVERSE, BAD: curses.A_BOLD, LOUD: curses.A_BOLD}
    if curses.has_colors():
        curses.use_default_colors()
        curses.init_pair(1, curses.COLOR_RED, -1)
        curses.init_pair(2, curses.COLOR_YELLOW, -1)
        styles.update({BAD: curses.color_pair(1), LOUD: curses.color_pair(2) | curses.A_BOLD})
    return styles
