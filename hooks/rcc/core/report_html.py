"""An activity as one page of HTML that needs nothing else: a timeline and tables, for the screen and for paper."""

from html import escape
from typing import Callable, Iterable, List, NamedTuple, Sequence, Tuple

from rcc.core.activity import Activity
from rcc.core.quantities import size_text
from rcc.core.span import span_text
from rcc.core.suggest import Refusal, refusals

ROWS = 500  # of a table
BARS = 40  # of the timeline
WIDTH, LABEL, BAR = 1000, 260, 18  # of the timeline, in its own units
TICKS = 5
Clock = Callable[[float], str]  # wall seconds to `2026-11-26 19:16:22`


class _Bar(NamedTuple):
    """A line of the timeline."""

    label: str
    first: float
    last: float
    kind: str
    times: int


def render_report(activity: Activity, policy: Sequence[str], now: float, clock: Clock, version: str) -> str:
    """The page.  ``policy``: the lines of the policy in force (`rcc show`), empty when it is not known."""
    end = activity.ended or now
    refused = refusals(activity)
    full, clock = clock, _short(clock, activity.since, end)
    title = f"{activity.title}: what it did"
    body = [
        f"<h1>{_text(activity.title)}</h1>",
        _head(activity, end, full),
        _tiles(activity, refused),
        "<h2>Timeline</h2>",
        _timeline(activity, refused, end, clock),
        _table(
            "What was refused",
            ("what", "asked by", "times", "first", "last", "would be allowed by"),
            [
                (
                    refusal.what + (f" ({', '.join(refusal.names)})" if refusal.names else ""), refusal.process,
                    str(refusal.times), clock(refusal.first), clock(refusal.last), refusal.line or refusal.why,
                )
                for refusal in refused
            ],
            "Nothing was refused.",
            code=(0, 5),
        ),
        _table(
            "Destinations that were used",
            ("address", "port", "names", "flows", "last"),
            [
                (one.address, f"{one.port}/{one.protocol}", ", ".join(one.names), str(one.packets), clock(one.last))
                for one in activity.used
            ],
            "None.",
            code=(0, 1),
        ),
        _table(
            "Names that were asked for",
            ("name", "times", "first", "last", "addresses"),
            [
                (one.name, str(one.times), clock(one.first), clock(one.last), ", ".join(one.addresses))
                for one in sorted(activity.names, key=lambda one: -one.times)
            ],
            "None.",
            code=(0, 4),
        ),
    ]  # fmt: skip
    if activity.flows:
        rows = [
            (
                ", ".join(one.names) or one.address, f"{one.port}/{one.protocol}", one.process, one.state,
                size_text(one.sent), size_text(one.received),
            )
            for one in activity.flows
        ]  # fmt: skip
        heads = ("to", "port", "process", "state", "sent", "received")
        body.append(_table("Connections at this moment", heads, rows, "None.", code=(0, 1)))
    events = [(clock(one.time), one.kind, one.text) for one in activity.events]
    body.append(_table("What happened to its isolation", ("when", "what", ""), events, "Nothing.", code=(2,)))
    if policy:
        body.append(f"<h2>The policy in force</h2><pre>{_text(chr(10).join(policy))}</pre>")
    body.append(f"<footer>rcc {_text(version)}, {_text(full(now))}</footer>")
    return _PAGE.format(title=_text(title), style=_STYLE, body="\n".join(body))


def _short(clock: Clock, begin: float, end: float) -> Clock:
    """Within one day the time of day says enough."""
    if clock(begin)[:10] != clock(end)[:10]:
        return clock
    return lambda moment: clock(moment)[-8:]


def _head(activity: Activity, end: float, clock: Clock) -> str:
    ids = ", ".join(container.id[:12] for container in activity.containers)
    state = f"ended {clock(activity.ended)}" if activity.ended else "running"
    words = [
        f"container {_text(ids)}",
        f"profile <b>{_text(activity.profile)}</b>",
        f"since {_text(clock(activity.since))}",
        f"{_text(state)}, {_text(span_text(end - activity.since))} in all",
    ]
    note = ""
    if activity.mode == "learn":
        note = '<p class="warning">It ran in the mode learn: every public address was open to it.</p>'
    return f"<p>{' · '.join(words)}</p>{note}"


def _tiles(activity: Activity, refused: Sequence[Refusal]) -> str:
    queries = dict(activity.queries)
    tiles = (
        ("sent", size_text(activity.sent), ""),
        ("received", size_text(activity.received), ""),
        ("destinations", str(len(activity.used)), ""),
        ("names", str(len(activity.names)), ""),
        ("questions", str(queries.get("queries", 0)), ""),
        ("kinds of refusals", str(len(refused)), "bad" if refused else ""),
        ("packets denied", str(dict(activity.totals).get("denied", 0)), "bad" if refused else ""),
    )
    cells = (f'<div class="tile {kind}"><b>{_text(number)}</b>{_text(word)}</div>' for word, number, kind in tiles)
    return f'<div class="tiles">{"".join(cells)}</div>'


def _timeline(activity: Activity, refused: Sequence[Refusal], end: float, clock: Clock) -> str:
    bars = _bars(activity, refused)
    if not bars:
        return "<p>Nothing was asked for.</p>"
    begin = min(activity.since, *(bar.first for bar in bars))
    span = max(end - begin, 1.0)
    height = BAR * (len(bars) + 2)

    def x(moment: float) -> float:
        return LABEL + (WIDTH - LABEL - 10) * min(max((moment - begin) / span, 0.0), 1.0)

    parts: List[str] = []
    for tick in range(TICKS + 1):
        moment = begin + span * tick / TICKS
        anchor = ("start", "middle", "end")[0 if not tick else 2 if tick == TICKS else 1]
        parts.append(f'<line class="grid" x1="{x(moment):.1f}" x2="{x(moment):.1f}" y1="{BAR}" y2="{height}"/>')
        label = _text(clock(moment)[-8:])
        parts.append(f'<text class="tick" x="{x(moment):.1f}" y="12" text-anchor="{anchor}">{label}</text>')
    for event in activity.events:
        place = x(event.time)
        words = _text(f"{clock(event.time)} {event.kind}: {event.text}")
        where = f'x1="{place:.1f}" x2="{place:.1f}" y1="{BAR}" y2="{height}"'
        parts.append(f'<line class="event" {where}><title>{words}</title></line>')
    for number, bar in enumerate(bars):
        y = BAR * (number + 1) + 4
        wide = max(x(bar.last) - x(bar.first), 4.0)
        words = _text(f"{bar.label}: {bar.times} times, {clock(bar.first)} to {clock(bar.last)}")
        label = bar.label if len(bar.label) <= 38 else bar.label[:37] + "…"
        parts.append(f'<text class="label" x="{LABEL - 8}" y="{y + 9}" text-anchor="end">{_text(label)}</text>')
        parts.append(
            f'<rect class="{bar.kind}" x="{min(x(bar.first), WIDTH - 10 - wide):.1f}" y="{y}" width="{wide:.1f}"'
            f' height="{BAR - 7}" rx="2"><title>{words}</title></rect>'
        )
    key = '<p class="key"><i class="used"></i> allowed <i class="denied"></i> refused <i class="event"></i> policy</p>'
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="timeline">{"".join(parts)}</svg>{key}'


def _bars(activity: Activity, refused: Sequence[Refusal]) -> List[_Bar]:
    """The busiest lines, by their beginning."""
    bars = [_Bar(one.name, one.first, one.last, "used", one.times) for one in activity.names]
    named = {address for one in activity.names for address in one.addresses}
    bars += [
        _Bar(f"{one.address}:{one.port}", one.first, one.last, "used", one.packets)
        for one in activity.used
        if one.address not in named
    ]
    bars += [_Bar(one.what, one.first, one.last, "denied", one.times) for one in refused]
    kept = sorted(bars, key=lambda bar: (bar.kind == "used", -bar.times))[:BARS]
    return sorted(kept, key=lambda bar: bar.first)


def _table(
    title: str, heads: Sequence[str], rows: Iterable[Sequence[str]], empty: str, code: Tuple[int, ...] = ()
) -> str:
    every = list(rows)
    if not every:
        return f"<h2>{_text(title)}</h2><p>{_text(empty)}</p>"
    lines = ["<tr>" + "".join(f"<th>{_text(head)}</th>" for head in heads) + "</tr>"]
    for row in every[:ROWS]:
        cells = (
            f"<td><code>{_text(cell)}</code></td>" if number in code and cell else f"<td>{_text(cell)}</td>"
            for number, cell in enumerate(row)
        )
        lines.append("<tr>" + "".join(cells) + "</tr>")
    more = f"<p>and {len(every) - ROWS} more</p>" if len(every) > ROWS else ""
    return f"<h2>{_text(title)}</h2><table>{''.join(lines)}</table>{more}"


def _text(text: str) -> str:
    """``text`` for HTML; what is not printable is shown as such (threat 39)."""
    safe = (letter if letter.isprintable() or letter == "\n" else f"\\x{ord(letter):02x}" for letter in text)
    return escape("".join(safe))


_STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --paper: #fff; --soft: #667; --line: #dde; --good: #2a8f5b;
  --bad: #c0392b; --event: #8e7cc3; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6ea; --paper: #16181c; --soft: #9aa; --line: #333842;
  --good: #46b87d; --bad: #e2675a; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 72rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { margin: 0; } h2 { margin: 2rem 0 .5rem; font-size: 1.15rem; }
.tiles { display: flex; flex-wrap: wrap; gap: .6rem; margin: 1rem 0; }
.tile { border: 1px solid var(--line); border-radius: 6px; padding: .5rem .9rem; color: var(--soft); }
.tile b { display: block; font-size: 1.3rem; color: var(--ink); } .tile.bad b { color: var(--bad); }
.warning { border-left: 4px solid var(--bad); padding-left: .7rem; font-weight: 600; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .25rem .6rem .25rem 0;
  border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; }
th { color: var(--soft); font-weight: 500; white-space: nowrap; } code, pre { font: 13px ui-monospace, monospace; }
pre { border: 1px solid var(--line); border-radius: 6px; padding: .7rem; overflow-x: auto; }
svg { width: 100%; height: auto; } .grid { stroke: var(--line); } .tick, .label { font-size: 11px; fill: var(--soft); }
.label { fill: var(--ink); } rect.used { fill: var(--good); } rect.denied { fill: var(--bad); }
line.event { stroke: var(--event); stroke-width: 2; stroke-dasharray: 4 3; }
.key i { display: inline-block; width: .9em; height: .9em; margin: 0 .3em 0 .9em; vertical-align: -1px; }
.key i.used { background: var(--good); } .key i.denied { background: var(--bad); }
.key i.event { background: var(--event); }
footer { margin: 3rem 0 1rem; color: var(--soft); font-size: .85rem; }
@media print { body { margin: 0; max-width: none; } tr { break-inside: avoid; } }
"""
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title><style>{style}</style></head>
<body>
{body}
</body>
</html>
"""
