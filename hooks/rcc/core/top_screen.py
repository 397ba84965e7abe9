"""The live screen of `rcc top` as lines: pure, so that it can be looked at without a terminal."""

from typing import Callable, Dict, List, NamedTuple, Sequence, Tuple

from rcc.core.activity import Activity, Flow
from rcc.core.printable import printable
from rcc.core.quantities import size_text
from rcc.core.span import span_text
from rcc.core.suggest import refusals

PLAIN, HEAD, BAD, SELECTED, LOUD = "plain", "head", "bad", "selected", "loud"
FRESH = 10.0  # seconds for which a denial is shown in colour
SORTS = ("denied", "traffic", "dns", "name")


class Line(NamedTuple):
    """``style`` of the words above."""

    text: str
    style: str = PLAIN


class Rates(NamedTuple):
    """Bytes and questions a second, denials in all."""

    sent: float
    received: float
    queries: float


class View(NamedTuple):
    """What the person has chosen: the row, the order, and whether the lines are wide."""

    selected: int = 0
    sort: str = "denied"
    paused: bool = False


def rates_of(activity: Activity, before: Dict[int, Activity], seconds: float) -> Rates:
    """Since the look before; zeros the first time."""
    known = before.get(activity.netns)
    if known is None or known.since != activity.since or seconds <= 0:
        return Rates(0.0, 0.0, 0.0)
    queries = dict(activity.queries).get("queries", 0) - dict(known.queries).get("queries", 0)
    return Rates(
        max(activity.sent - known.sent, 0) / seconds,
        max(activity.received - known.received, 0) / seconds,
        max(queries, 0) / seconds,
    )


def top_lines(
    activities: Sequence[Activity],
    rates: Dict[int, Rates],
    view: View,
    size: Tuple[int, int],
    now: float,
    clock: Callable[[float], str],
) -> List[Line]:
    """A screen of ``size``, width and height: all containers, and below the connections and refusals of one."""
    width, height = size
    rows = sorted(activities, key=lambda one: _order(one, rates[one.netns], view.sort))
    selected = min(max(view.selected, 0), max(len(rows) - 1, 0))
    state = "  PAUSED" if view.paused else ""
    count = f"{len(rows)} isolated network{'s' if len(rows) != 1 else ''}"
    lines = [Line(f"rcc top  {clock(now)[-8:]}  {count}, by {view.sort}{state}", HEAD)]
    lines.append(Line("q quit   up/down choose   s sort   space pause", PLAIN))
    lines.append(Line(_row("CONTAINER", "PROFILE", "UP", "CONNS", "SENT/s", "RECV/s", "DNS/s", "DENIED", "LAST"), HEAD))
    # Half of the screen for the list, which goes along with the choice.
    room = max((height - 4) // 2, 3)
    first = max(min(selected - room // 2, len(rows) - room), 0)
    for number, one in enumerate(rows[first : first + room], first):
        lines.append(_container_line(one, rates[one.netns], number == selected, now))
    if len(rows) > room:
        lines.append(Line(f"  {first + 1} to {min(first + room, len(rows))} of {len(rows)}"))
    if rows:
        lines += _details(rows[selected], now)
    else:
        lines.append(Line("no isolated container runs"))
    return [Line(line.text[: max(width - 1, 0)], line.style) for line in lines[: max(height - 1, 0)]]


def _order(one: Activity, rates: Rates, sort: str) -> Tuple[object, ...]:
    keys = {
        "denied": -dict(one.totals).get("denied", 0) - dict(one.queries).get("refused", 0),
        "traffic": -(rates.sent + rates.received),
        "dns": -rates.queries,
    }
    return (keys.get(sort, 0), one.title, one.netns)


def _row(*cells: str) -> str:
    widths = ("<20", "<14", ">5", ">5", ">10", ">10", ">6", ">7")
    parts = [format(cell[: int(width[1:])], width) for cell, width in zip(cells, widths)]
    return "  ".join([*parts, *cells[len(widths) :]])


def _container_line(one: Activity, rates: Rates, selected: bool, now: float) -> Line:
    found = refusals(one)
    last = found[0] if found else None
    told = "" if last is None else f"{span_text(now - last.last)} ago {printable(last.what)}"
    profile = f"{one.profile} LEARNING" if one.mode == "learn" else one.profile
    denied = dict(one.totals).get("denied", 0) + dict(one.queries).get("refused", 0)
    text = _row(
        printable(one.title), profile, span_text(now - one.since), str(len(one.flows)), size_text(rates.sent),
        size_text(rates.received), f"{rates.queries:.1f}", str(denied), told,
    )  # fmt: skip
    fresh = last is not None and now - last.last < FRESH
    style = SELECTED if selected else BAD if fresh else LOUD if one.mode == "learn" else PLAIN
    return Line(text, style)


def _details(one: Activity, now: float) -> List[Line]:
    lines = [Line(""), Line(f"{printable(one.title)}: connections", HEAD)]
    lines += [Line(f"  {_flow_text(flow)}") for flow in one.flows[:8]] or [Line("  none")]
    if len(one.flows) > 8:
        lines.append(Line(f"  and {len(one.flows) - 8} more"))
    lines.append(Line(f"{printable(one.title)}: refused", HEAD))
    found = refusals(one)
    for refusal in found:
        names = f" ({', '.join(map(printable, refusal.names))})" if refusal.names else ""
        process = f" by {printable(refusal.process)}" if refusal.process else ""
        style = BAD if now - refusal.last < FRESH else PLAIN
        when = f"{refusal.times} times, last {span_text(now - refusal.last)} ago"
        lines.append(Line(f"  {printable(refusal.what)}{names}{process}, {when}   {refusal.line}", style))
    return lines if found else [*lines, Line("  nothing")]


def _flow_text(flow: Flow) -> str:
    to = printable(", ".join(flow.names)) or flow.address
    process = f" {printable(flow.process)}" if flow.process else ""
    sizes = f"  {size_text(flow.sent)} sent, {size_text(flow.received)} received" if flow.protocol == "tcp" else ""
    return f"{to}:{flow.port}/{flow.protocol}{process} {flow.state}{sizes}"
