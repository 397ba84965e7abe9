"""The table of commands: their words, help and what they run.  cli.py makes the parser from it.

A command imports what it needs when it runs: `rcc --help` must not wait for the agent's libraries.
"""

import argparse
import json
import os
import sys
import time
from typing import Any, Callable, NamedTuple, Tuple

from rcc.core.errors import EX_CANTCREAT, EX_CONFIG, EX_OK, RccError, UsageError


class Argument(NamedTuple):
    """One argument of a command, as argparse takes it."""

    flags: Tuple[str, ...]
    help: str
    options: "dict[str, Any]"


class Command(NamedTuple):
    """One verb: ``run`` gets the parsed arguments and gives the exit code."""

    name: str
    help: str
    arguments: Tuple[Argument, ...]
    run: Callable[[argparse.Namespace], int]


def _print_json(data: Any) -> None:
    print(json.dumps(data, indent=2, ensure_ascii=False, default=str))


def _state() -> Any:
    from rcc.app.release import forget_ended
    from rcc.system.owner import state_root
    from rcc.system.state import State

    state = State(state_root())
    forget_ended(state)
    return state


def _check(arguments: argparse.Namespace) -> int:
    from rcc.app.check import check_files

    reports = check_files(arguments.files)
    if arguments.json:
        _print_json([report.to_data() for report in reports])
    else:
        for report in reports:
            for line in report.lines():
                print(line)
    return max((report.exit_code for report in reports), default=EX_OK)


def _explain(arguments: argparse.Namespace) -> int:
    from rcc.app.explain import explain_data, explain_lines, explain_target

    found = explain_target(arguments.target, arguments.profile, arguments.container)
    if arguments.json:
        _print_json(explain_data(found))
    else:
        print("\n".join(explain_lines(found)))
    return EX_OK if found.allowed else 1


def _ps(arguments: argparse.Namespace) -> int:
    from rcc.app.containers import ps_data, ps_lines

    rows = ps_data(_state())
    if arguments.json:
        _print_json(rows)
    elif rows or sys.stdout.isatty():
        print("\n".join(ps_lines(rows, time.time())))
    return EX_OK


def _show(arguments: argparse.Namespace) -> int:
    from rcc.app.containers import find, show_data, show_lines

    record = find(_state(), arguments.container)
    if arguments.json:
        _print_json(show_data(record))
    else:
        print("\n".join(show_lines(record)))
    return EX_OK


def _why(arguments: argparse.Namespace) -> int:
    from rcc.app.containers import NotFound, find, outcome_lines, outcomes, show_lines

    state = _state()
    found = outcomes(state, arguments.container)
    if not arguments.all:
        found = found[:1]
    if arguments.json:
        _print_json([dict(outcome._asdict()) for outcome in found])
        return EX_OK
    if found:
        for outcome in found:
            print("\n".join(outcome_lines(outcome, time.time())))
    elif not arguments.container:
        print("rcc has refused no container of yours since the machine started.")
    try:
        if arguments.container:
            print("\n".join(show_lines(find(state, arguments.container))))
    except NotFound:
        if not found:
            raise
    return EX_OK


def _reload(arguments: argparse.Namespace) -> int:
    from rcc.app.changes import reload_lines
    from rcc.app.reach import call_agent

    if not arguments.containers and not arguments.all:
        raise UsageError("which container?", hint="name it, or say --all")
    found = call_agent("reload", {"containers": [] if arguments.all else arguments.containers})
    if arguments.json:
        _print_json(found)
    else:
        for line in reload_lines(found):
            print(line)
    return EX_CONFIG if found["failed"] else EX_OK


def _allow(arguments: argparse.Namespace) -> int:
    from rcc.app.changes import change_lines, seconds_of
    from rcc.app.reach import call_agent

    seconds = seconds_of(arguments.duration)
    values = {"container": arguments.container, "target": arguments.target, "private": arguments.private}
    found = call_agent("allow", {**values, "seconds": seconds})
    if arguments.json:
        _print_json(found)
    else:
        print("\n".join(change_lines(found, seconds)))
    return EX_OK


def _deny(arguments: argparse.Namespace) -> int:
    from rcc.app.changes import change_lines
    from rcc.app.reach import call_agent

    found = call_agent("deny", {"container": arguments.container, "target": arguments.target})
    if arguments.json:
        _print_json(found)
    else:
        print("\n".join(change_lines(found, None)))
    return EX_OK


def _denied(arguments: argparse.Namespace) -> int:
    from rcc.app import denied
    from rcc.app.activities import read_activities

    if arguments.follow:
        for news in denied.follow(arguments.container):
            for activity, refusal, more in news:
                if arguments.json:
                    row = {"container": activity.title, "more": more, **denied.refusal_data(refusal)}
                    print(json.dumps(row), flush=True)
                else:
                    print(denied.news_line(activity, refusal, more, time.time()), flush=True)
        return EX_OK
    activities = read_activities(arguments.container)
    if arguments.json:
        _print_json(denied.denied_data(activities))
    else:
        print("\n".join(denied.denied_lines(activities, time.time())))
    return EX_OK


def _learn(arguments: argparse.Namespace) -> int:
    from rcc.app.learn import learn_text

    text = learn_text(arguments.container, refused=arguments.refused)
    if arguments.output is None:
        print(text, end="")
    else:
        _write(arguments.output, text)
        print(f"{arguments.output}: written; look at it, then: rcc check {arguments.output}", file=sys.stderr)
    return EX_OK


def _top(arguments: argparse.Namespace) -> int:
    from rcc.app.top import print_screens, run_screen

    if arguments.count or not (sys.stdout.isatty() and sys.stdin.isatty()):
        print_screens(arguments.count or 1, arguments.interval)
    else:
        run_screen(arguments.interval)
    return EX_OK


def _report_command(arguments: argparse.Namespace) -> int:
    from rcc.app.report import report_page

    page = report_page(arguments.container)
    if arguments.output is None or arguments.output == "-":
        print(page, end="")
    else:
        _write(arguments.output, page)
        print(f"{arguments.output}: written", file=sys.stderr)
    return EX_OK


def _metrics(arguments: argparse.Namespace) -> int:
    from rcc import __version__
    from rcc.app.activities import read_activities
    from rcc.core.openmetrics import render_metrics

    print(render_metrics(read_activities(), __version__), end="")
    return EX_OK


def _write(path: str, text: str) -> None:
    """A file of the caller's, whole or not at all.  Raises CannotWrite."""
    beside = f"{path}.{os.getpid()}.new"
    try:
        with open(beside, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.replace(beside, path)
    except OSError as error:
        raise CannotWrite(f"cannot write: {error.strerror}", where=path) from error


class CannotWrite(RccError):
    """A file that a command was to write."""

    exit_code = EX_CANTCREAT


def _seconds(text: str) -> float:
    """An interval on the command line."""
    value = float(text)
    if not 0.1 <= value <= 3600:
        raise ValueError(text)
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


_CONTAINER = Argument(("container",), "name, id or beginning of an id", {"metavar": "CONTAINER"})
_JSON = Argument(("--json",), "print JSON", {"action": "store_true"})

COMMANDS = (
    Command(
        "check",
        "find every problem in policy files",
        (Argument(("files",), "profile, preset or rcc.yaml", {"nargs": "+", "metavar": "FILE"}), _JSON),
        _check,
    ),
    Command(
        "explain",
        "say whether a target is allowed, and which line of which file decides",
        (
            Argument(("target",), "HOST[:PORT[/PROTOCOL]], port 443/tcp when left out", {"metavar": "TARGET"}),
            Argument(("--profile",), "judge by this profile (default: default)", {"metavar": "NAME"}),
            Argument(("--container",), "judge by the policy in force for a container", {"metavar": "CONTAINER"}),
            _JSON,
        ),
        _explain,
    ),
    Command(
        "reload",
        "give running containers the policy that their files say now; flows that it forbids end",
        (
            Argument(("containers",), "names, ids or beginnings of ids", {"metavar": "CONTAINER", "nargs": "*"}),
            Argument(("--all",), "every isolated container", {"action": "store_true"}),
            _JSON,
        ),
        _reload,
    ),
    Command(
        "allow",
        "open a destination for a running container, as a line in its profile would",
        (
            _CONTAINER,
            Argument(("target",), "HOST[:PORT[/PROTOCOL]], port 443/tcp when left out", {"metavar": "TARGET"}),
            Argument(
                ("--for",), "take it back after so long: 90s, 10m, 2h", {"metavar": "DURATION", "dest": "duration"}
            ),
            Argument(("--private",), "also private addresses of the name", {"action": "store_true"}),
            _JSON,
        ),
        _allow,
    ),
    Command(
        "deny",
        "close a destination for a running container; flows to it end",
        (
            _CONTAINER,
            Argument(("target",), "HOST[:PORT[/PROTOCOL]], every port when left out", {"metavar": "TARGET"}),
            _JSON,
        ),
        _deny,
    ),
    Command(
        "denied",
        "list what was refused, since when, how often, and the line that would allow it",
        (
            Argument(
                ("container",),
                "name or id, also of one that has ended; all that run when left out",
                {"metavar": "CONTAINER", "nargs": "?", "default": ""},
            ),
            Argument(("--follow", "-f"), "tell what is refused from now on, until Ctrl-C", {"action": "store_true"}),
            _JSON,
        ),
        _denied,
    ),
    Command(
        "learn",
        "print the smallest policy that would have allowed what a container did",
        (
            Argument(("container",), "name or id, also of one that has ended", {"metavar": "CONTAINER"}),
            Argument(("--refused",), "also what was refused, as entries and not as comments", {"action": "store_true"}),
            Argument(("--output", "-o"), "write it to this file", {"metavar": "FILE"}),
        ),
        _learn,
    ),
    Command(
        "top",
        "watch containers, connections, rates and denials",
        (
            Argument(("--interval", "-d"), "seconds between looks (2)", {"type": _seconds, "default": 2.0}),
            Argument(("--count", "-n"), "print so many screens as text and end", {"type": _count, "default": 0}),
        ),
        _top,
    ),
    Command(
        "report",
        "write what a container did as one page of HTML",
        (
            Argument(("container",), "name or id, also of one that has ended", {"metavar": "CONTAINER"}),
            Argument(("--output", "-o"), "the file; standard output when left out", {"metavar": "FILE"}),
        ),
        _report_command,
    ),
    Command("metrics", "print counters of all isolated containers as OpenMetrics text", (), _metrics),
    Command("ps", "list the isolated containers that run", (_JSON,), _ps),
    Command(
        "show",
        "print the policy in force for a container, and where each line comes from",
        (_CONTAINER, _JSON),
        _show,
    ),
    Command(
        "why",
        "say why a container was refused, or by what it is isolated",
        (
            Argument(
                ("container",), "name, id or beginning of an id", {"metavar": "CONTAINER", "nargs": "?", "default": ""}
            ),
            Argument(("--all",), "every noted refusal, newest first", {"action": "store_true"}),
            _JSON,
        ),
        _why,
    ),
)
