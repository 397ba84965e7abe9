"""Supervisor and worker: whichever is killed, somebody goes on; who always fails is given up."""

import os
import select
import signal
import time
from typing import Callable, List, Tuple

import pytest
from nameserver import eventually
from rcc.system import supervise as module
from rcc.system.supervise import DEFECTS, GIVEN_UP, supervise


class Family:
    """A supervisor in a child of the test; the worker's doings come by a pipe, a letter each."""

    def __init__(self, work: Callable[[int, int], int], again: bool = True) -> None:
        self._reader, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._reader)

            def died(pid: int, status: int) -> bool:
                os.write(writer, b"d" if os.WIFSIGNALED(status) else b"f")
                return again

            os._exit(supervise(lambda watch: work(watch, writer), lambda: None, died))
        os.close(writer)

    def says(self, wanted: bytes) -> None:
        """Wait until the next letters are ``wanted``."""
        got = b""
        while len(got) < len(wanted):
            assert select.select([self._reader], [], [], 20)[0]
            part = os.read(self._reader, len(wanted) - len(got))
            assert part, got
            got += part
        assert got == wanted

    def rest(self) -> bytes:
        with open(self._reader, "rb") as stream:
            return stream.read()

    def status(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def children(pid: int) -> List[int]:
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as stream:
        return [int(word) for word in stream.read().split()]


def until_told(watch: int, writer: int) -> int:
    os.write(writer, b"w")
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    os.read(watch, 1)  # ends when the supervisor does
    os.write(writer, b"o")
    return 0


def test_a_worker_that_is_killed_is_made_again() -> None:
    family = Family(until_told)
    for _ in range(5):
        family.says(b"w")
        (worker,) = children(family.pid)
        os.kill(worker, signal.SIGKILL)
        family.says(b"d")
    family.says(b"w")
    os.kill(family.pid, signal.SIGTERM)
    assert family.status() == 0 and family.rest() == b""


def test_a_worker_hears_of_its_supervisor_s_death() -> None:
    family = Family(until_told)
    family.says(b"w")
    os.kill(family.pid, signal.SIGKILL)
    family.status()
    family.says(b"o")


def test_a_worker_that_ends_well_ends_all() -> None:
    family = Family(lambda watch, writer: 0)
    assert family.status() == 0 and family.rest() == b""


def failing(watch: int, writer: int) -> int:
    raise ValueError("a defect")


@pytest.mark.parametrize("work", [lambda watch, writer: 3, failing])
def test_a_worker_that_always_fails_is_given_up(work: Callable[[int, int], int]) -> None:
    family = Family(work)
    assert family.status() in (3, GIVEN_UP) and family.rest() == b"f" * (DEFECTS - 1)


def test_there_is_no_other_where_it_is_not_wanted() -> None:
    family = Family(lambda watch, writer: 3, again=False)
    assert family.status() == GIVEN_UP and family.rest() == b"f"


def test_a_worker_that_dies_at_once_is_made_again_later_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    naps: List[float] = []
    deaths: List[Tuple[int, int]] = []
    monkeypatch.setattr(module.time, "sleep", naps.append)

    def died(pid: int, status: int) -> bool:
        deaths.append((pid, status))
        return len(deaths) < 12

    def work(watch: int) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    began = time.monotonic()
    assert supervise(work, lambda: None, died) == GIVEN_UP
    assert naps == sorted(naps) and naps[0] < 0.05 and naps[-1] == module.LONGEST
    assert all(os.WTERMSIG(status) == signal.SIGKILL for _, status in deaths)
    eventually(lambda: time.monotonic() > began)
