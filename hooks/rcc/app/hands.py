"""What the agent works with: one of each, made by app/worker.py."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, NamedTuple, TypeVar

from rcc.app.gateway import Gateway
from rcc.app.lookup import Lookup
from rcc.app.memory import Memory
from rcc.app.neighbours import Neighbours
from rcc.app.refresh import Refresher
from rcc.system.history import History

_T = TypeVar("_T")


class Hands(NamedTuple):
    """``root``: the state folder.  ``workers``: threads for whatever waits for the kernel or the disk."""

    root: str
    lookup: Lookup
    refresher: Refresher
    gateway: Gateway
    history: History
    neighbours: Neighbours
    memory: Memory
    log: Any
    workers: ThreadPoolExecutor

    async def work(self, job: "Callable[..., _T]", *arguments: object) -> "_T":
        """What ``job`` gives, run in a worker thread."""
        return await asyncio.get_running_loop().run_in_executor(self.workers, job, *arguments)
