"""Remembering answers, pacing refreshes and forgetting namespaces, with a kernel that is a dict."""

import asyncio
import os
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import pytest
from nobody import Nobody
from rcc.app import lookup as lookup_module
from rcc.app.lookup import Lookup
from rcc.app.refresh import Pace, Refresher
from rcc.app.renew import find_namespace, forget_if_gone
from rcc.core.compile import Facts, compile_ruleset
from rcc.core.errors import KernelError
from rcc.core.names import Answer, Answers
from rcc.core.policy import HTTPS, HostRule, Policy, Where
from rcc.core.refresh_nft import render_refresh
from rcc.core.ruleset import Ruleset
from rcc.system.agent_log import BoundedFile, open_log
from rcc.system.gateways import default_gateways
from rcc.system.netns import OWN, inode_of
from rcc.system.packages import add_distribution_packages
from rcc.system.state import Member, Record, State

FAST = Pace(lookup=5.0, least=0.01, retry=0.02, rescan=60.0, folder=0.02, young=60.0, young_look=0.01, gone=0.05)


def policy(*names: str, refresh: int = 300) -> Policy:
    rules = tuple(HostRule(name, False, (HTTPS,), False, Where()) for name in names)
    return Policy("test", egress=rules, dns_refresh=refresh, dns_mode="static")


class Names:
    """A DNS: ``stands_for`` is what it says; a name in ``silent`` gets no answer.  ``begin`` is for Lookup."""

    def __init__(self, **stands_for: Sequence[Tuple[str, int]]) -> None:
        self.stands_for: Dict[str, Sequence[Tuple[str, int]]] = dict(stands_for)
        self.silent: List[str] = []
        self.asked: List[str] = []

    def begin(self, names: Sequence[str]) -> "Dict[str, asyncio.Task[Answer]]":
        return {name: asyncio.ensure_future(self._answer(name)) for name in names}

    async def _answer(self, name: str) -> Answer:
        self.asked.append(name)
        await asyncio.sleep(60 if name in self.silent else 0)
        found = tuple(self.stands_for.get(name, ()))
        return Answer(name, found, "" if found else "no such name")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_answers_serve_for_their_time_and_no_longer() -> None:
    names, clock = Names(a=[("203.0.113.1", 60)], long=[("203.0.113.2", 86400)]), Clock()

    async def main() -> None:
        lookup = Lookup(names.begin, clock)
        assert await lookup.answers(["a", "a"], 1.0) == (Answer("a", (("203.0.113.1", 60),)),)
        clock.now += 45
        assert await lookup.answers(["a"], 1.0) == (Answer("a", (("203.0.113.1", 15),)),)
        assert names.asked == ["a"]
        await lookup.answers(["a"], 1.0, max_age=30)
        assert names.asked == ["a", "a"]
        clock.now += 60
        await lookup.answers(["a", "long"], 1.0)
        clock.now += lookup_module.AGE_LIMIT
        await lookup.answers(["long"], 1.0)
        assert names.asked == ["a", "a", "a", "long", "long"]

    asyncio.run(main())


def test_the_lack_of_an_answer_serves_for_a_moment() -> None:
    names, clock = Names(), Clock()

    async def main() -> None:
        lookup = Lookup(names.begin, clock)
        for _ in range(2):
            assert (await lookup.answers(["no"], 1.0))[0].error == "no such name"
        assert names.asked == ["no"]
        clock.now += lookup_module.FAILED_AGE
        await lookup.answers(["no"], 1.0)
        assert names.asked == ["no", "no"]

    asyncio.run(main())


def test_a_name_is_asked_once_at_a_time_and_a_silent_one_delays_only_itself() -> None:
    names = Names(a=[("203.0.113.1", 60)])
    names.silent.append("dead")

    async def main() -> None:
        lookup = Lookup(names.begin)
        found = await asyncio.gather(*(lookup.answers(["dead", "a"], 0.1) for _ in range(5)))
        assert set(found) == {(Answer("dead", (), "no answer in time"), Answer("a", (("203.0.113.1", 60),)))}
        assert sorted(names.asked) == ["a", "dead"]
        lookup.close()

    asyncio.run(main())


def test_names_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup_module, "NAMES_LIMIT", 3)

    async def main() -> int:
        lookup = Lookup(Names().begin)
        await lookup.answers([f"n{number}" for number in range(10)], 5.0)
        return len(lookup)

    assert asyncio.run(main()) == 3


class Log:
    def __init__(self) -> None:
        self.events: List[str] = []

    def bind(self, **_: Any) -> "Log":
        return self

    def info(self, event: str, **_: Any) -> None:
        self.events.append(event)

    warning = error = critical = info


class Kernel:
    """Namespaces by inode: what is loaded in each, how often; those in ``broken`` fail."""

    def __init__(self) -> None:
        self.loaded: Dict[int, List[Ruleset]] = {}
        self.broken: List[int] = []

    def renew(
        self, state: State, known: Record, answers: Answers, before: Optional[Ruleset], facts_of: Any
    ) -> Optional[Ruleset]:
        if known.netns in self.broken:
            raise KernelError("broken")
        record = state.record(known.netns)
        if record is None or record.ident != known.ident:
            return None
        ruleset = compile_ruleset(record.policy, facts_of(record, answers), record.generation)
        self.loaded.setdefault(known.netns, []).append(ruleset)
        return ruleset

    def addresses(self, netns: int) -> List[str]:
        return sorted(str(element.network.network_address) for element in self.loaded[netns][-1].allowed)


def facts(record: Record, answers: Answers) -> Facts:
    from ipaddress import ip_address

    return Facts(tuple((a.name, tuple((ip_address(text), ttl) for text, ttl in a.addresses)) for a in answers))


class World:
    """A state folder, namespaces that are files (an inode is an inode), a DNS and a kernel."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = State(str(folder / "rcc"))
        self.names = Names(a=[("203.0.113.1", 60)], b=[("203.0.113.2", 60)])
        self.kernel = Kernel()
        self.log = Log()

    def record(self, name: str, wanted: Policy, **changes: Any) -> Record:
        place = self.folder / name
        place.touch()
        netns = os.stat(place).st_ino
        member = Member(name * 64, name, name)
        resolv_conf = str(self.folder / f"{name}.resolv.conf")
        record = Record(
            netns, str(place), (member,), wanted, "label", (), 1, f"{netns}.1", (), resolv_conf, "", (), False, 1.0
        )._replace(**changes)
        with self.state:
            self.state.write_record(record)
        return record

    def run(self, *steps: Callable[[], object]) -> None:
        async def main() -> None:
            lookup = Lookup(self.names.begin)
            refresher = Refresher(
                self.state,
                lookup,
                Nobody(),
                self.log,
                facts_of=facts,
                pace=FAST,
                renew=self.kernel.renew,
                jitter=lambda: 1.0,
            )
            running = asyncio.ensure_future(refresher.run())
            try:
                for step in steps:
                    end = time.monotonic() + 20
                    while not step():
                        assert not running.done() and time.monotonic() < end, "it did not come to that"
                        await asyncio.sleep(0.01)
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                lookup.close()

        asyncio.run(main())


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_every_record_is_taken_up_and_new_ones_are_seen(world: World) -> None:
    one = world.record("a", policy("a"))
    later: List[Record] = []

    def add() -> bool:
        later.append(world.record("b", policy("b")))
        return True

    world.run(
        lambda: one.netns in world.kernel.loaded,
        add,
        lambda: later[0].netns in world.kernel.loaded,
    )
    assert world.kernel.addresses(one.netns) == ["203.0.113.1"]
    assert world.kernel.addresses(later[0].netns) == ["203.0.113.2"]


def test_one_that_fails_stops_no_other(world: World) -> None:
    bad, good = world.record("a", policy("a")), world.record("b", policy("b", refresh=1))
    world.kernel.broken.append(bad.netns)
    world.run(lambda: world.log.events.count("refresh_failed") > 2, lambda: len(world.kernel.loaded[good.netns]) > 2)
    world.kernel.broken.clear()
    world.run(lambda: bad.netns in world.kernel.loaded)


def test_a_silent_name_stops_no_other(world: World) -> None:
    world.names.silent.append("dead")
    one, other = world.record("a", policy("a", "dead")), world.record("b", policy("b"))
    world.run(lambda: other.netns in world.kernel.loaded)
    assert one.netns not in world.kernel.loaded


def test_a_policy_that_has_changed_is_taken_up(world: World) -> None:
    record = world.record("a", policy("a"))
    world.run(
        lambda: record.netns in world.kernel.loaded,
        lambda: world.record("a", policy("b"), generation=2, ident="new"),
        lambda: world.kernel.loaded[record.netns][-1].generation == 2,
    )
    assert world.kernel.addresses(record.netns) == ["203.0.113.2"]


def test_a_change_of_resolv_conf_is_taken_up_at_once(world: World) -> None:
    record = world.record("a", policy("a", refresh=86400))
    world.run(
        lambda: record.netns in world.kernel.loaded,
        lambda: Path(record.resolv_conf).write_text("nameserver 192.0.2.1\n"),
        lambda: len(world.kernel.loaded[record.netns]) == 2,
    )


def test_a_failed_name_is_asked_for_again_soon(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup_module, "FAILED_AGE", 0.01)
    world.names.stands_for.clear()
    record = world.record("a", policy("a", refresh=86400))

    def comes_back() -> bool:
        world.names.stands_for["a"] = [("203.0.113.9", 60)]
        return True

    world.run(
        lambda: len(world.kernel.loaded.get(record.netns, ())) > 2,
        comes_back,
        lambda: world.kernel.addresses(record.netns) == ["203.0.113.9"],
    )


def test_a_namespace_that_is_gone_is_forgotten_and_others_stay(world: World) -> None:
    gone, stays = world.record("a", policy("a")), world.record("b", policy("b"))
    replaced = world.record("c", policy("b"))

    def end() -> bool:
        os.unlink(gone.path)
        os.rename(world.folder / "other", replaced.path)
        return True

    (world.folder / "other").touch()
    world.run(
        lambda: len(world.kernel.loaded) == 3,
        end,
        lambda: [record.netns for record in world.state.records()] == [stays.netns],
    )
    assert world.log.events.count("forgotten") == 2


def test_a_record_that_has_changed_meanwhile_is_not_forgotten(world: World) -> None:
    known = world.record("a", policy("a"))
    os.unlink(known.path)
    with world.state:
        world.state.write_record(known._replace(generation=2))
    assert not forget_if_gone(world.state, known)
    assert world.state.record(known.netns) is not None


def test_a_namespace_with_another_process_in_it_is_found_there(world: World) -> None:
    own = inode_of(OWN)
    known = world.record("a", policy("a"), netns=own, path="/proc/4194305/ns/net")
    assert not forget_if_gone(world.state, known)
    found = world.state.record(own)
    assert found is not None and inode_of(found.path) == own
    assert find_namespace(1) is None


def test_seconds_until_the_next_refresh(world: World) -> None:
    async def main() -> None:
        lookup = Lookup(world.names.begin)
        refresher = Refresher(world.state, lookup, Nobody(), world.log, pace=Pace(), jitter=lambda: 1.0)
        record = world.record("a", policy("a", refresh=300))
        loaded = compile_ruleset(record.policy, facts(record, (Answer("a", (("203.0.113.1", 60),)),)), 1)
        assert refresher._seconds(record, None, 0) == 300
        assert refresher._seconds(record, loaded, 0) == 300
        assert all(element.lifetime == 750 for element in loaded.allowed), "a refresh may fail twice"
        short = loaded._replace(allowed=tuple(e._replace(lifetime=100) for e in loaded.allowed))
        assert refresher._seconds(record, short, 0) == 50
        assert [refresher._seconds(record, loaded, failures) for failures in (1, 2, 3, 4, 99)] == [5, 10, 20, 40, 300]

    asyncio.run(main())


RULESET = compile_ruleset(policy("a"), Facts(), 1)


def test_the_first_refresh_trusts_nothing_to_be_there() -> None:
    text = render_refresh(None, RULESET)
    assert "flush set inet rcc special4" in text and "flush set inet rcc resolvers4" in text
    assert "chain" not in text and "table" not in text and "rule " not in text
    assert render_refresh(RULESET, RULESET) == ""
    assert "flush set inet rcc private4\n" in text and "private_names" not in text


def test_gateways(tmp_path: Path) -> None:
    head = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
    (tmp_path / "route").write_text(
        head
        + "eth0\t00000000\t0100580A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
        + "eth1\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n"
        + "eth0\t0000580A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
    )
    assert [str(address) for address in default_gateways(str(tmp_path))] == ["10.88.0.1"]
    zero = "0" * 32
    (tmp_path / "ipv6_route").write_text(
        f"{zero} 00 {zero} 00 fd000000000000000000000000000001 00000400 00000001 00000000 00000003     eth0\n"
        f"fd000000000000000000000000000000 40 {zero} 00 {zero} 00000100 00000001 00000000 00000001     eth0\n"
    )
    assert [str(address) for address in default_gateways(str(tmp_path))] == ["10.88.0.1", "fd00::1"]
    assert default_gateways(str(tmp_path / "none")) == ()


def test_the_log_is_bounded_and_one_json_object_a_line(tmp_path: Path) -> None:
    path = tmp_path / "agent.log"
    open_log(str(path)).info("started", name="a\nb\x1b")
    assert path.read_text().count("\n") == 1 and "\x1b" not in path.read_text()
    bounded = BoundedFile(str(path), limit=1000)
    for _ in range(100):
        bounded.info("x" * 99)
    assert sorted(os.listdir(tmp_path)) == ["agent.log", "agent.log.1"]
    assert max(os.stat(tmp_path / name).st_size for name in os.listdir(tmp_path)) <= 1000


def test_distribution_packages_go_last_and_once() -> None:
    path = ["/usr/lib/rcc"]
    add_distribution_packages(path)
    found = list(path)
    add_distribution_packages(path)
    assert path == found and path[0] == "/usr/lib/rcc"
    assert not [folder for folder in path if "local" in folder]
