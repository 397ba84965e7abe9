"""Entry of the command `rcc`: arguments in, lines or JSON out, exit codes of sysexits.h."""

import argparse
import os
import sys
from typing import List, Optional, Sequence, Tuple

from rcc import __version__
from rcc.commands import COMMANDS
from rcc.core.errors import EX_OK, EX_SOFTWARE, EX_USAGE, ConfigError, RccError

INTERRUPTED = 130  # 128 and the number of SIGINT, as shells say it


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
    except KeyboardInterrupt:
        return INTERRUPTED
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
