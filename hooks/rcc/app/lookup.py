"""What names stand for, remembered: a second container does not wait for what the first one has asked."""

import asyncio
import time
from typing import Callable, Dict, Iterable, Mapping, NamedTuple, Sequence

from rcc.core.names import Answer, Answers

AGE_LIMIT = 300.0  # seconds that an answer serves, however long its own time to live
FAILED_AGE = 10.0  # seconds that the lack of (a part of) an answer serves
NAMES_LIMIT = 8192  # names remembered

Begin = Callable[[Sequence[str]], Mapping[str, "asyncio.Task[Answer]"]]


class _Known(NamedTuple):
    answer: Answer
    since: float


class Lookup:
    """Names to answers, each asked once at a time; ``begin`` starts the lookups and ``clock`` gives seconds."""

    def __init__(self, begin: Begin, clock: Callable[[], float] = time.monotonic) -> None:
        self._begin = begin
        self._clock = clock
        self._known: Dict[str, _Known] = {}
        self._under_way: Dict[str, asyncio.Task[Answer]] = {}

    def __len__(self) -> int:
        return len(self._known)

    async def answers(self, names: Iterable[str], seconds: float, max_age: float = AGE_LIMIT) -> Answers:
        """What ``names`` stand for, no older than their times to live and ``max_age``; waits for at most ``seconds``.

        In order, each once; a name without an answer by then has an error.  Raises whatever ``begin`` raises.
        """
        wanted = tuple(dict.fromkeys(names))
        found = {name: self._fresh(name, max_age) for name in wanted}
        missing = [name for name, answer in found.items() if answer is None]
        self._look_up([name for name in missing if name not in self._under_way])
        tasks = {name: self._under_way[name] for name in missing}
        if tasks:
            await asyncio.wait(tasks.values(), timeout=seconds)
        for name, task in tasks.items():
            found[name] = task.result() if task.done() else Answer(name, (), "no answer in time")
        return tuple(answer for answer in found.values() if answer is not None)

    def close(self) -> None:
        """Give up what is under way."""
        for task in self._under_way.values():
            task.cancel()

    def _look_up(self, names: Sequence[str]) -> None:
        for name, task in self._begin(names).items() if names else ():
            self._under_way[name] = task
            task.add_done_callback(lambda done, name=name: self._arrived(name, done))  # type: ignore[misc]

    def _arrived(self, name: str, task: "asyncio.Task[Answer]") -> None:
        del self._under_way[name]
        if task.cancelled() or task.exception() is not None:
            return
        self._known.pop(name, None)
        self._known[name] = _Known(task.result(), self._clock())
        while len(self._known) > NAMES_LIMIT:
            del self._known[next(iter(self._known))]

    def _fresh(self, name: str, max_age: float) -> "Answer | None":
        known = self._known.get(name)
        if known is None:
            return None
        answer, since = known
        age = self._clock() - since
        limit = min([AGE_LIMIT, *(seconds for _, seconds in answer.addresses)])
        if answer.error:
            limit = min(limit, FAILED_AGE)
        if age >= min(limit, max_age):
            return None
        left = tuple((address, max(seconds - int(age), 1)) for address, seconds in answer.addresses)
        return answer._replace(addresses=left)
