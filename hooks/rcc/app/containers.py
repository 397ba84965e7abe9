"""What runs isolated and what was refused, for `rcc ps`, `rcc show` and `rcc why`: records and outcomes as lines of
text.

Each ``X_data`` gives JSON-able data, each ``X_lines`` the same for a person.
"""

import time
from typing import Any, Dict, List, Optional, Tuple

from rcc.core.change import Change, change_to_data
from rcc.core.errors import EX_NOINPUT, RccError
from rcc.core.explain import rule_text
from rcc.core.policy import Policy, Where
from rcc.core.policy_json import policy_to_data
from rcc.core.printable import printable
from rcc.core.span import span_text
from rcc.system.state import Outcome, Record, State

SHORT_ID = 12
LEARNING = " (LEARNING: the internet is open)"


class NotFound(RccError):
    """No container of this name or id is known."""

    exit_code = EX_NOINPUT


def find(state: State, wanted: str) -> Record:
    """The record of the container with this name, id or beginning of an id.  Raises NotFound."""
    records = list(state.records())
    for record in records:
        if any(wanted in (member.name, member.container) for member in record.members):
            return record
    starts = [r for r in records if any(member.container.startswith(wanted) for member in r.members)] if wanted else []
    if len(starts) == 1:
        return starts[0]
    what = "several isolated containers have ids that begin with" if starts else "no isolated container runs as"
    raise NotFound(f"{what} {printable(wanted)!r}", hint="rcc ps lists those that run; rcc why tells of refused ones")


def ps_data(state: State) -> List[Dict[str, Any]]:
    """All isolated containers, a mapping each."""
    return [
        {
            "id": member.container,
            "name": member.name,
            "profile": record.policy.name,
            "mode": record.policy.mode,
            "asked_by": record.source,
            "netns": record.netns,
            "generation": record.generation,
            "since": record.since,
            "shares_netns": len(record.members) > 1 or record.bare,
        }
        for record in state.records()
        for member in record.members
    ]


def ps_lines(rows: List[Dict[str, Any]], now: float) -> List[str]:
    """The rows of ``ps_data`` as a table."""
    table = [("CONTAINER", "NAME", "PROFILE", "SINCE", "ASKED BY")]
    for row in rows:
        shared = " (shares its network)" if row["shares_netns"] else ""
        table.append(
            (
                row["id"][:SHORT_ID],
                printable(row["name"]),
                row["profile"] + (LEARNING if row["mode"] == "learn" else ""),
                span_text(now - row["since"]),
                printable(row["asked_by"]) + shared,
            )
        )
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]) - 1)]
    return ["  ".join([cell.ljust(width) for cell, width in zip(line, widths)] + [line[-1]]) for line in table]


def show_data(record: Record) -> Dict[str, Any]:
    """The policy in force for a container, with the place that each line of it comes from."""
    return {
        "containers": [dict(member._asdict()) for member in record.members],
        "netns": record.netns,
        "generation": record.generation,
        "asked_by": record.source,
        "notes": list(record.notes),
        "changes": [change_to_data(change) for change in record.changes],
        "policy": policy_to_data(record.policy),
    }


def show_lines(record: Record) -> List[str]:
    """The same for a person: a rule a line, its place behind it."""
    names = ", ".join(printable(member.name) or member.container[:SHORT_ID] for member in record.members)
    learning = LEARNING if record.policy.mode == "learn" else ""
    head = f"{names}: profile {record.policy.name}{learning}, asked for by {printable(record.source)}"
    changes = [f"changed by rcc {printable(str(change))}{_left(change)}" for change in record.changes]
    return [head, *policy_lines(record.policy), *changes, *(f"note: {printable(note)}" for note in record.notes)]


def _left(change: Change) -> str:
    if change.until is None:
        return ""
    left = change.until - time.clock_gettime(time.CLOCK_BOOTTIME)
    return f" (for {span_text(left)} more)" if left > 0 else " (its time is over)"


def policy_lines(policy: Policy) -> List[str]:
    """A policy, a rule or key a line with the place that decided it."""
    origins = dict(policy.origins)
    rows: List[Tuple[str, Optional[Where]]] = [(rule_text(rule), rule.where) for rule in policy.egress]
    if not rows:
        rows.append(("egress: nothing", origins.get("egress")))
    rows.append((f"ingress: {policy.ingress}", origins.get("ingress")))
    rows.append((f"dns: {policy.dns_mode}, refreshed every {policy.dns_refresh} s", origins.get("dns.mode")))
    rows.append((f"on_denied: {policy.on_denied}", origins.get("on_denied")))
    rows.append((f"mode: {policy.mode}", origins.get("mode")))
    for key, value in policy.limits._asdict().items():
        if value is not None:
            rows.append((f"limits.{key}: {value:g}", origins.get(f"limits.{key}")))
    if policy.image.allow:
        rows.append((f"image.allow: {' '.join(policy.image.allow)}", origins.get("image.allow")))
    if policy.image.require_digest:
        rows.append(("image.require_digest: true", origins.get("image.require_digest")))
    width = min(max(len(text) for text, _ in rows), 60)
    return [f"  {text.ljust(width)}  {where if where and str(where) else 'built in'}".rstrip() for text, where in rows]


def outcomes(state: State, wanted: str) -> List[Outcome]:
    """The noted refusals, newest first: of the container with this name or beginning of an id, of all when empty."""
    found = []
    for outcome in state.outcomes():
        if not wanted or wanted == outcome.name or (outcome.container and outcome.container.startswith(wanted)):
            found.append(outcome)
    return found


def outcome_lines(outcome: Outcome, now: float) -> List[str]:
    """A refusal for a person."""
    who = printable(outcome.name) or outcome.container[:SHORT_ID] or "a container"
    lines = [f"{who}: {outcome.verdict} {span_text(now - outcome.time)} ago ({_clock(outcome.time)})"]
    where = f"{printable(outcome.where)}: " if outcome.where else ""
    lines.append(f"  cause:  {where}{printable(outcome.message)}")
    if outcome.hint:
        lines.append(f"  remedy: {printable(outcome.hint)}")
    return lines


def _clock(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))
