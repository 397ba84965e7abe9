"""Entry of the command `rcc`: arguments in, lines or JSON out, exit codes of sysexits.h.

``COMMANDS`` is the one table that parsing and help are made from.
"""

import argparse
import json
import os
import sys
import time
from typing import Any, Callable, List, NamedTuple, Optional, Sequence, Tuple

from rcc import __version__
from rcc.core.errors import EX_CONFIG, EX_OK, EX_SOFTWARE, EX_USAGE, ConfigError, RccError, UsageError


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
            Argument(("container",), "name, id or beginning of an id", {"metavar": "CONTAINER"}),
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
            Argument(("container",), "name, id or beginning of an id", {"metavar": "CONTAINER"}),
            Argument(("target",), "HOST[:PORT[/PROTOCOL]], every port when left out", {"metavar": "TARGET"}),
            _JSON,
        ),
        _deny,
    ),
    Command("ps", "list the isolated containers that run", (_JSON,), _ps),
    Command(
        "show",
        "print the policy in force for a container, and where each line comes from",
        (Argument(("container",), "name, id or beginning of an id", {"metavar": "CONTAINER"}), _JSON),
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


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    top = argparse.ArgumentParser(
        prog="rcc",
        description="What `podman run --label rcc=1 IMAGE` starts reaches what a policy allows and nothing else.",
    )
    top.add_argument("--version", action="version", version=f"rcc {__version__}")
    top.add_argument("--debug", action="store_true", help="show the traceback of an error")
    verbs = top.add_subparsers(dest="command", metavar="COMMAND")
    for command in COMMANDS:
        sub = verbs.add_parser(command.name, help=command.help, description=command.help)
        for argument in command.arguments:
            sub.add_argument(*argument.flags, help=argument.help, **argument.options)
        sub.set_defaults(run=command.run)
    return top


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run one command; the exit code."""
    words: List[str] = list(sys.argv[1:] if argv is None else argv)
    try:
        arguments = parser().parse_args(words)
    except SystemExit as leave:
        return EX_USAGE if leave.code else EX_OK
    if arguments.command is None:
        parser().print_help(sys.stderr)
        return EX_USAGE
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EX_OK
    except Exception as error:
        if arguments.debug:
            raise
        return _report(error)


def _report(error: Exception) -> int:
    problems: Tuple[Exception, ...] = error.problems if isinstance(error, ConfigError) else (error,)
    for problem in problems:
        if isinstance(problem, RccError):
            print(f"rcc: {problem}", file=sys.stderr)
            if problem.hint:
                print(f"rcc: {problem.hint}", file=sys.stderr)
        else:
            print(f"rcc: internal error: {problem!r} (--debug shows where)", file=sys.stderr)
    return error.exit_code if isinstance(error, RccError) else EX_SOFTWARE
