"""What the agent does to its own process, and what the kernel tells of clocks."""

import ctypes
import time
from typing import NamedTuple

PR_SET_DUMPABLE = 4  # <linux/prctl.h>


def harden() -> None:
    """Let nobody of the same user read this process's memory or take its descriptors (threat 43), and no core be left.

    prctl(2): ptrace(2) and /proc/PID of a process that is not dumpable take CAP_SYS_PTRACE; its own /proc/self stays
    open to it, which is what netns.py and owner.py read (fs/proc/base.c, ptrace_may_access: the same thread group).
    """
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


class Clocks(NamedTuple):
    """Seconds of three clocks at one moment (clock_gettime(2)): only ``boot`` goes on while the machine sleeps, and
    only ``wall`` can be set.
    """

    monotonic: float
    boot: float
    wall: float


def clocks() -> Clocks:
    """The clocks now."""
    return Clocks(time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME), time.time())


def slept(before: Clocks, now: Clocks) -> float:
    """How long the machine was suspended between two moments."""
    return (now.boot - now.monotonic) - (before.boot - before.monotonic)


def stepped(before: Clocks, now: Clocks) -> float:
    """How far the wall clock was set between two moments; negative: back."""
    return (now.wall - now.boot) - (before.wall - before.boot)
