"""What upstream has said, and for how long it serves."""

import asyncio
from typing import Any, Dict, List, Tuple

import pytest
from rcc.app import dns_cache
from rcc.app.dns_cache import Cache
from rcc.core.dns_message import NOERROR, NXDOMAIN, SERVFAIL, TXT, A, Record, Reply


class World:
    """An upstream that says what ``replies`` has, and a clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.asked: List[Tuple[str, int]] = []
        self.replies: Dict[str, Reply] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.cache = Cache(self.ask, lambda: self.now)

    async def ask(self, name: str, qtype: int) -> Reply:
        self.asked.append((name, qtype))
        await self.gate.wait()
        return self.replies.get(name, Reply(NXDOMAIN, (), 5))


def run(job: Any) -> None:
    async def main() -> None:
        await job(World())

    asyncio.run(main())


def found(ttl: int) -> Reply:
    return Reply(NOERROR, (Record(A, ttl, b"\1\2\3\4"),), ttl)


@pytest.mark.parametrize(
    ("reply", "seconds"),
    [
        (found(30), 30.0),
        (found(100_000), dns_cache.LONGEST),
        (found(0), 0.0),
        (Reply(NXDOMAIN, (), 20), 20.0),
        (Reply(NXDOMAIN, (), 9000), dns_cache.NEGATIVE),
        (Reply(NOERROR, (), 9000), dns_cache.NEGATIVE),
        (Reply(SERVFAIL, (), 9000, "nobody"), dns_cache.FAILED),
        (Reply(5, (), 9000), dns_cache.FAILED),
    ],
)
def test_how_long_it_serves(reply: Reply, seconds: float) -> None:
    async def job(world: World) -> None:
        world.replies["a.example"] = reply
        assert (await world.cache.get("a.example", A)).reply == reply
        if seconds:
            world.now += seconds - 0.01
            assert world.cache.peek("a.example", A) is not None
            world.now += 0.02
        assert world.cache.peek("a.example", A) is None
        await world.cache.get("a.example", A)
        assert len(world.asked) == 2

    run(job)


def test_times_to_live_run_down() -> None:
    async def job(world: World) -> None:
        world.replies["a.example"] = found(30)
        entry = await world.cache.get("a.example", A)
        assert [entry.left(world.now + age) for age in (0, 0.5, 10, 30, 99)] == [30, 29, 20, 0, 0]

    run(job)


def test_what_several_ask_for_is_asked_once() -> None:
    async def job(world: World) -> None:
        world.gate.clear()
        tasks = [asyncio.ensure_future(world.cache.get("a.example", A)) for _ in range(50)]
        other = asyncio.ensure_future(world.cache.get("a.example", TXT))
        await asyncio.sleep(0)
        tasks[0].cancel()  # the one that asked first goes; the others still want to know
        await asyncio.sleep(0)
        world.gate.set()
        entries = await asyncio.gather(*tasks[1:])
        await other
        assert len({id(entry) for entry in entries}) == 1
        assert sorted(world.asked) == [("a.example", A), ("a.example", TXT)]

    run(job)


def test_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns_cache, "ENTRIES", 10)

    async def job(world: World) -> None:
        for number in range(50):
            await world.cache.get(f"n{number}.example", A)
        assert len(world.cache) == 10 and world.cache.peek("n49.example", A)
        world.replies["big.example"] = Reply(NOERROR, (Record(TXT, 60, b"x" * 3000),), 60)
        assert (await world.cache.get("big.example", TXT)).reply.records
        assert world.cache.peek("big.example", TXT) is None

    run(job)


def test_what_was_said_lately() -> None:
    async def job(world: World) -> None:
        world.replies["a.example"] = found(0)
        entry = await world.cache.get("a.example", A)
        assert world.cache.peek("a.example", A) is None and world.cache.recent("a.example", A) is entry
        world.now += dns_cache.RECENT + 1
        assert world.cache.recent("a.example", A) is None

    run(job)
