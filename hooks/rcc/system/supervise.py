"""Two processes that watch each other: a supervisor that only waits, and the worker that it forks.

A worker that dies is there again in milliseconds, because everything is imported already.  A worker whose supervisor
dies runs the whole program anew in its own place.  So whichever of them is killed, lookups work again without help.
"""

import contextlib
import os
import signal
import sys
import time
from typing import Callable, List

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# A worker that ends within QUICK seconds is started again later each time, up to LONGEST seconds; one that ends by a
# defect of its own so many times in a row is given up: the next start of a container brings another agent.
QUICK = 2.0
FIRST, LONGEST = 0.01, 0.2
DEFECTS = 10

Died = Callable[[int, int], bool]
GIVEN_UP = 70  # EX_SOFTWARE of sysexits.h


def supervise(work: Callable[[int], int], forked: Callable[[], None], died: Died) -> int:
    """Run ``work`` in a child until it ends with status 0, or never does anything else; the exit status.

    ``work`` gets a descriptor that ends (EOF) when the supervisor dies.  ``forked()`` is called in the supervisor for
    each child.  ``died(pid, status)`` is told of each that was killed or failed, with what waitpid(2) gave, and says
    whether there shall be another.
    """
    watch, alive = os.pipe2(os.O_CLOEXEC)  # nobody writes: ``alive`` only has to stay open
    delay = FIRST
    defects = 0
    while True:
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            os.close(alive)
            os._exit(_guarded(work, watch))
        forked()
        status = _wait(child)
        quick = time.monotonic() - began < QUICK
        defects = defects + 1 if quick and os.WIFEXITED(status) else 0
        if status == 0 or defects >= DEFECTS:
            os.close(watch)
            os.close(alive)
            return os.WEXITSTATUS(status)
        if not died(child, status):
            return GIVEN_UP
        delay = min(delay * 2, LONGEST) if quick else FIRST
        time.sleep(delay)


def _guarded(work: Callable[[int], int], watch: int) -> int:
    try:
        return work(watch)
    except BaseException as error:  # the child must not go on as its parent
        with contextlib.suppress(OSError):
            os.write(2, f"rcc-agent: internal error: {error!r}\n".encode("utf-8", "replace"))
        return GIVEN_UP


def _wait(child: int) -> int:
    """The child's status; signals to end go to the child meanwhile, which knows what is left to do."""

    def forward(number: int, _: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    before = [signal.signal(number, forward) for number in SIGNALS]
    try:
        return os.waitpid(child, 0)[1]
    finally:
        for number, handler in zip(SIGNALS, before):
            signal.signal(number, handler)


def again(arguments: List[str]) -> None:
    """Become the program anew, with these arguments.  Every descriptor is close-on-exec, so locks are free again."""
    os.execv(sys.executable, [sys.executable, "-IS", sys.argv[0], *arguments])  # noqa: S606
