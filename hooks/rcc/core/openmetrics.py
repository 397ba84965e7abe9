"""Activities as OpenMetrics text (github.com/prometheus/OpenMetrics, specification 1.0)."""

from typing import Iterable, List, NamedTuple, Sequence, Tuple

from rcc.core.activity import Activity

SHORT_ID = 12
Labels = Tuple[Tuple[str, str], ...]


class _Family(NamedTuple):
    name: str
    type: str
    help: str
    samples: Sequence[Tuple[Labels, float]]
    unit: str = ""


def render_metrics(activities: Iterable[Activity], version: str) -> str:
    """The whole exposition.  A counter goes on over a reload, and ends with its container."""
    every = tuple(activities)
    families = [
        _Family("rcc_build", "info", "The version of rcc.", [((("version", version),), 1)]),
        _Family("rcc_namespaces", "gauge", "Isolated network namespaces.", [((), len(every))]),
        _Family("rcc_container", "info", "Isolated containers.", [(_info(one), 1) for one in every]),
        _Family(
            "rcc_since_timestamp_seconds", "gauge", "When isolation began.",
            [(_labels(one), one.since) for one in every], "seconds",
        ),
        _Family(
            "rcc_dns_queries", "counter", "Questions to the DNS gateway.",
            [(_labels(one), dict(one.queries).get("queries", 0)) for one in every],
        ),
        _Family(
            "rcc_dns_results", "counter", "Questions by what became of them; all others were asked upstream.",
            [
                ((*_labels(one), ("result", result)), number)
                for one in every
                for result, number in one.queries
                if result != "queries"
            ],
        ),
        _Family(
            "rcc_packets", "counter", "Packets that were dropped: denied on their way out, unasked in, malformed.",
            [
                ((*_labels(one), ("verdict", verdict)), number)
                for one in every
                for verdict, number in one.totals
                if verdict not in ("sent", "received")
            ],
        ),
        _Family(
            "rcc_traffic_bytes", "counter", "Bytes in admitted flows.",
            [
                ((*_labels(one), ("direction", direction)), number)
                for one in every
                for direction, number in (("sent", one.sent), ("received", one.received))
            ],
            "bytes",
        ),
        _Family(
            "rcc_denied_destinations", "gauge", "Destinations denied in the last day, at most 2048.",
            [(_labels(one), len(one.denied)) for one in every],
        ),
        _Family(
            "rcc_refused_names", "gauge", "Names and record types refused, at most 1024.",
            [(_labels(one), len(one.refused)) for one in every],
        ),
    ]  # fmt: skip
    return "".join(line + "\n" for family in families for line in _lines(family)) + "# EOF\n"


def _labels(activity: Activity) -> Labels:
    return (
        ("container", ",".join(one.id[:SHORT_ID] for one in activity.containers)),
        ("name", activity.title),
    )


def _info(activity: Activity) -> Labels:
    return (*_labels(activity), ("profile", activity.profile), ("mode", activity.mode))


def _lines(family: _Family) -> List[str]:
    suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
    lines = [f"# TYPE {family.name} {family.type}"]
    if family.unit:
        lines.append(f"# UNIT {family.name} {family.unit}")
    lines.append(f"# HELP {family.name} {_escaped(family.help)}")
    for labels, value in family.samples:
        text = ",".join(f'{key}="{_escaped(word)}"' for key, word in labels)
        braces = f"{{{text}}}" if text else ""
        lines.append(f"{family.name}{suffix}{braces} {f'{value:.3f}'.rstrip('0').rstrip('.')}")
    return lines


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
