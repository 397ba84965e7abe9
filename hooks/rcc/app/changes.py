"""What `rcc reload`, `allow` and `deny` say to a person."""

from typing import Any, Dict, List, Optional

from rcc.core.printable import printable
from rcc.core.quantities import parse_duration, render_duration


def seconds_of(duration: Optional[str]) -> Optional[int]:
    """The seconds of ``--for``, None without it.  Raises RccError."""
    return None if duration is None else parse_duration(duration)


def reload_lines(found: Dict[str, Any]) -> List[str]:
    """The result of the verb ``reload``."""
    lines: List[str] = []
    for row in found["reloaded"]:
        lines += _row_lines(row, "reloaded")
    for row in found["failed"]:
        lines.append(f"{_who(row)}: not reloaded, nothing has changed")
        for problem in row["problems"]:
            lines.append(f"  cause:  {printable(problem['error'])}")
            if problem["hint"]:
                lines.append(f"  remedy: {printable(problem['hint'])}")
    return lines or ["no isolated container runs"]


def change_lines(found: Dict[str, Any], seconds: Optional[int]) -> List[str]:
    """The result of the verbs ``allow`` and ``deny``."""
    lines = _row_lines(found, printable(found["change"]))
    if found["for_good"]:
        span = f"for {render_duration(seconds)}" if seconds is not None else "until the container ends"
        lines.append(f"  this holds {span}; for good, add to its profile:")
        lines += [f"    {line}" for line in found["for_good"]]
    else:
        lines.append("  this holds until the container ends")
    return lines


def _row_lines(row: Dict[str, Any], what: str) -> List[str]:
    lines = [f"{_who(row)}: {what}"]
    lines += [f"  + {printable(rule)}" for rule in row["opened"]]
    lines += [f"  - {printable(rule)}" for rule in row["closed"]]
    if not row["opened"] and not row["closed"]:
        lines.append("  no destination is opened or closed by it")
    return lines + [f"  note: {printable(note)}" for note in row["notes"]]


def _who(row: Dict[str, Any]) -> str:
    return ", ".join(printable(name) for name in row["containers"])
