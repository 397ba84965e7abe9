"""Entry of the keeper: it starts the agent, holds its sockets and starts it again, where no systemd does so.

    rcc-keeper [--root FOLDER] [-- AGENT'S OPTION...]

The agent beside this program is what it starts, unless one runs that has lost its keeper.  It goes when the agent goes
by itself.  The descriptor that the environment's RCC_READY names gets a byte once the agent answers.
"""

import argparse
import contextlib
import os
import sys
from typing import Sequence

from rcc.core.errors import EX_OK, EX_SOFTWARE, RccError
from rcc.system.descriptors import raise_limit
from rcc.system.keep import Keeper, Taken
from rcc.system.own_directory import own_directory
from rcc.system.owner import state_root


def main(argv: Sequence[str]) -> int:
    """Keep an agent until it is told to stop or nobody needs it; the exit status."""
    options = _parser().parse_args(argv)
    given = os.environ.pop("RCC_READY", "")
    ready = int(given) if given.isdigit() else None
    try:
        root = options.root or state_root()
        if os.getuid() != 0 and not options.root:
            from rcc.system.podman_namespaces import join

            join()
        own_directory(root)
        raise_limit()
        words = ["/usr/bin/python3", "-IS", _agent(), "--root", root, *options.words]
        keeper = Keeper(root, words, ready)
        try:
            if not keeper.adopted():
                keeper.listen()
            return keeper.run()
        finally:
            keeper.close()
    except Taken:
        if ready is not None:
            with contextlib.suppress(OSError):  # the other one's agent is as good
                os.write(ready, b"1")
        return EX_OK
    except RccError as error:
        sys.stderr.write(f"rcc-keeper: {error}\n" + (f"rcc-keeper: {error.hint}\n" if error.hint else ""))
        return error.exit_code
    except Exception as error:
        sys.stderr.write(f"rcc-keeper: internal error: {error!r}\n")
        return EX_SOFTWARE


def _agent() -> str:
    return os.path.join(os.path.dirname(os.path.realpath(sys.argv[0])), "rcc-agent")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rcc-keeper", description="Keeps rcc's agent alive where systemd does not.")
    parser.add_argument("--root", help="the state folder; default: that of the user")
    parser.add_argument("words", nargs="*", metavar="OPTION", help="options of the agent, behind --")
    return parser
