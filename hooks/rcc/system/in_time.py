"""asyncio.wait_for that is never deaf to a cancellation."""

import asyncio
from typing import Awaitable, TypeVar

_T = TypeVar("_T")


async def in_time(job: "Awaitable[_T]", seconds: float) -> "_T":
    """What ``job`` gives, cancelled after ``seconds``.  Raises asyncio.TimeoutError, and whatever ``job`` raises.

    Before Python 3.12 asyncio.wait_for swallows a cancellation that comes in the moment in which its job is done
    (github.com/python/cpython/issues/86296): whoever calls it in a loop then goes on for ever.
    """
    task = asyncio.ensure_future(job)
    try:
        await asyncio.wait((task,), timeout=max(seconds, 0.0))
        if task.done():
            return task.result()
        task.cancel()
        await asyncio.wait((task,))  # or the next reader of a stream would find this one still there
        raise asyncio.TimeoutError
    finally:
        if not task.done():
            task.cancel()
        elif not task.cancelled():
            task.exception()  # or asyncio complains of an error that nobody has asked for
