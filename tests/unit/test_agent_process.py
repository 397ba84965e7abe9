"""What the agent does to its own process, and how it tells a sleep of the machine from a clock that was set."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, List

import pytest
from rcc.app import worker as module
from rcc.app.worker import Options, Worker
from rcc.system.agent_process import Clocks, slept, stepped
from rcc.system.agent_socket import Place
from rcc.system.state import State

HOOKS = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", "..", "hooks"))
HARDENED = """
import sys
sys.path.insert(0, sys.argv[1])
from rcc.system.agent_process import harden
from rcc.system.netns import OWN, inode_of
from rcc.system.owner import own_namespaces
harden()
print(inode_of(OWN) > 0, len(own_namespaces()))
print(flush=True)
sys.stdin.read()
"""


def test_a_sleep_and_a_set_clock_are_two_things() -> None:
    before = Clocks(monotonic=100.0, boot=100.0, wall=5000.0)
    assert slept(before, Clocks(101.0, 101.0, 5001.0)) == stepped(before, Clocks(101.0, 101.0, 5001.0)) == 0.0
    assert slept(before, Clocks(101.0, 3701.0, 8601.0)) == 3600.0
    assert stepped(before, Clocks(101.0, 3701.0, 8601.0)) == 0.0
    assert stepped(before, Clocks(101.0, 101.0, 4001.0)) == -1000.0


def test_nobody_of_the_same_user_reads_its_memory() -> None:
    """Root may: the uid is another one for this test."""
    if os.getuid() != 0:
        pytest.skip("missing: root, to run as another user")
    words = ["setpriv", "--reuid=65534", "--clear-groups", sys.executable, "-c", HARDENED, HOOKS]
    child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None and child.stdout.readline() == "True 4\n", "it still sees its own /proc"
        peek = ["setpriv", "--reuid=65534", "--clear-groups", "--bounding-set=-all", "ls", f"/proc/{child.pid}/fd"]
        assert subprocess.run(peek, capture_output=True, check=False).returncode != 0
    finally:
        child.kill()
        child.wait()


class Watched:
    """Stands for the gateway, the refresher and the log."""

    def __init__(self) -> None:
        self.done: List[str] = []

    def forget(self) -> None:
        self.done.append("forget")

    def refresh_all(self) -> None:
        self.done.append("refresh_all")

    def warning(self, event: str, **_: Any) -> None:
        self.done.append(event)


@pytest.mark.parametrize(
    ("later", "done"),
    [
        (Clocks(1.0, 1.0, 1.0), []),
        (Clocks(1.0, 61.0, 61.0), ["slept", "forget", "refresh_all"]),
        (Clocks(1.0, 1.0, 9000.0), ["clock_set"]),
        (Clocks(1.0, 1.0, -9000.0), ["clock_set"]),
        (Clocks(1.0, 1.5, 1.5), []),
    ],
)
def test_what_names_have_opened_is_closed_after_a_sleep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, later: Clocks, done: List[str]
) -> None:
    """Lifetimes in the kernel stand still meanwhile.  A clock that is set changes nothing."""
    moments = [Clocks(0.0, 0.0, 0.0), later]
    monkeypatch.setattr(module, "clocks", lambda: moments.pop(0))
    watched: Any = Watched()
    place: Any = Place(0, None)  # type: ignore[arg-type]
    worker = Worker(place, State(str(tmp_path / "rcc")), watched, Options("", "", 1.0))
    worker._look_at_the_clocks(watched, watched)
    assert watched.done == done
    asyncio.run(asyncio.sleep(0))
