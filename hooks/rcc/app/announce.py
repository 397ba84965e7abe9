"""Say aloud that a container starts which is hardly isolated at all: the mode learn."""

import os
import sys

from rcc.core.printable import printable
from rcc.system import caller

# Written into the spec by admit.py, found in it by the hook, whoever has done the work.
KEY, LEARN = "rcc.mode", "learn"
MARK = f'"{KEY}": "{LEARN}"'.encode("ascii")


def announce_learning(name: str) -> None:
    """To the caller of the engine and to the log.  Never raises."""
    who = printable(name) or "a container"
    text = f"rcc: {who} runs in the mode learn: every public address is open to it (rcc learn tells what it uses)\n"
    sys.stderr.write(text)
    caller.tell(text, os.getppid())
    caller.log(text.strip(), failed=False)
