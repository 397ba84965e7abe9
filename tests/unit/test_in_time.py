"""Waiting for a while: what comes in time, what does not, and a cancellation in the very moment."""

import asyncio
from typing import List

import pytest
from rcc.system.in_time import in_time


async def after(turns: int, value: str) -> str:
    for _ in range(turns):
        await asyncio.sleep(0)
    return value


def test_what_comes_in_time() -> None:
    assert asyncio.run(in_time(after(3, "x"), 5.0)) == "x"


def test_what_does_not_is_cancelled_before_the_caller_goes_on() -> None:
    ended: List[str] = []

    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            ended.append("cancelled")

    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await in_time(slow(), 0.01)
        assert ended == ["cancelled"]

    asyncio.run(main())


def test_errors_come_through() -> None:
    async def fail() -> None:
        raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        asyncio.run(in_time(fail(), 5.0))


@pytest.mark.parametrize("turns", range(6))
def test_a_cancellation_is_never_swallowed(turns: int) -> None:
    """Whatever the moment: also the one in which the job is done."""

    async def main() -> None:
        event = asyncio.Event()

        async def loop() -> None:
            while True:
                await in_time(event.wait(), 5.0)
                event.clear()

        task = asyncio.ensure_future(loop())
        for _ in range(turns):
            await asyncio.sleep(0)
        event.set()
        for _ in range(turns % 3):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait((task,), timeout=5)
        assert task.cancelled()

    asyncio.run(main())


def test_its_job_goes_with_a_cancellation() -> None:
    async def main() -> None:
        inner = asyncio.ensure_future(asyncio.sleep(60))
        task = asyncio.ensure_future(in_time(inner, 50.0))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait((task, inner), timeout=5)
        assert task.cancelled() and inner.cancelled()

    asyncio.run(main())
