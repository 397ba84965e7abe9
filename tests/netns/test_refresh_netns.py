"""The agent's refreshing against a real ruleset in a real namespace: addresses come, and go by their lifetime."""

import asyncio
import contextlib
import os
import signal
import socket
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Sequence, Tuple

import pytest
from nameserver import NameServer, eventually
from nobody import Nobody
from pair import WORLD4, Pair, entered, family_of
from rcc.app.facts import record_facts
from rcc.app.lookup import Lookup
from rcc.app.refresh import Pace, Refresher
from rcc.core import compile as compiling
from rcc.core.compile import compile_ruleset
from rcc.core.names import Answer, Answers
from rcc.core.policy import HostRule, Policy, Ports, Where
from rcc.core.render_nft import render_nft
from rcc.system import agent_client, agent_start
from rcc.system.netns import OWN, inode_of
from rcc.system.nft import Nft
from rcc.system.state import Member, Record, State

pytestmark = pytest.mark.netns

OLD, NEW, OTHER = "198.51.100.7", "198.51.100.8", "2001:db8::8"
PORTS = (Ports("udp", 7000, 7000), Ports("udp", 8000, 8010))
POLICY = Policy("test", egress=(HostRule("a.example", False, PORTS, False, Where()),), dns_refresh=1, dns_mode="static")
FAST = Pace(least=0.2, retry=0.2, rescan=0.3, folder=0.1, young=60.0, young_look=0.05, gone=0.1)
TOKEN = b"token of the test"
KEEPER = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", "..", "hooks", "rcc-keeper"))


class Log:
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.lines: List[Tuple[str, Dict[str, Any]]] = []

    def bind(self, **_: Any) -> "Log":
        return self

    def info(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))

    warning = error = critical = info


class Box:
    """A namespace on record, and a name whose addresses the test sets."""

    def __init__(self, lab: Pair, folder: Path) -> None:
        self.lab = lab
        self.state = State(str(folder / "rcc"))
        self.answer = Answer("a.example", ((OLD, 1),))
        self.log = Log()
        self.resolv_conf = folder / "resolv.conf"
        self.resolv_conf.write_text("")
        path = f"/proc/{os.getpid()}/fd/{lab.box}"
        netns = inode_of(lab.box)
        member = Member("c" * 64, "box", "run1")
        self.record = Record(
            netns, path, (member,), POLICY, "label", (), 1, f"{netns}.1", (), str(self.resolv_conf), "", (), False, 1.0
        )
        with entered(lab.box):
            Nft().load(render_nft(self.ruleset((self.answer,)), self.record.ident))
        with self.state:
            self.state.write_record(self.record)

    def ruleset(self, answers: Answers) -> Any:
        return compile_ruleset(POLICY, record_facts(self.record, answers), 1)

    def begin(self, names: Sequence[str]) -> "Dict[str, asyncio.Task[Answer]]":
        async def answer() -> Answer:
            return self.answer

        return {name: asyncio.ensure_future(answer()) for name in names}

    def elements(self, name: str) -> str:
        with entered(self.lab.box):
            from nftables import Nftables

            return str(Nftables().cmd(f"list set inet rcc {name}")[1])

    def passes(self, address: str, port: int) -> bool:
        """Whether a new flow reaches the other side."""
        made = self.lab.open_socket(self.lab.box, family_of(address), socket.SOCK_DGRAM)
        with contextlib.suppress(OSError):
            made.sendto(TOKEN, (address, port))
        return [f for f in self.lab.arrived() if f.destination == address and f.destination_port == port] != []


@pytest.fixture
def box(lab: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    monkeypatch.setattr(compiling, "SHORTEST", 1)
    yield Box(lab, tmp_path)


def run(box: Box, *steps: Callable[[], object]) -> None:
    """Run a refresher until each step in turn has become true."""

    async def main() -> None:
        refresher = Refresher(box.state, Lookup(box.begin), Nobody(), box.log, pace=FAST)
        running = asyncio.ensure_future(refresher.run())
        try:
            for step in steps:
                await asyncio.wait_for(_until(step), 20)
                assert inode_of(OWN) == home, "the event loop has left its namespace"
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    home = inode_of(OWN)
    asyncio.run(main())


async def _until(step: Callable[[], object]) -> None:
    while not step():
        await asyncio.sleep(0.05)


def test_without_rules_everything_arrives(lab: Pair, box: Box) -> None:
    with entered(lab.box):
        Nft().remove()
    assert box.passes(OLD, 7000) and box.passes(NEW, 7000) and box.passes(OTHER, 7000)


def test_a_new_address_opens_and_the_old_one_closes_with_its_lifetime(box: Box) -> None:
    assert box.passes(OLD, 7000) and box.passes(OLD, 8005)
    assert not box.passes(NEW, 7000) and not box.passes(OTHER, 7000)
    box.answer = Answer("a.example", ((NEW, 1), (OTHER, 1)))
    run(
        box,
        lambda: box.passes(NEW, 7000) and box.passes(NEW, 8005) and box.passes(OTHER, 7000),
        lambda: not box.passes(OLD, 7000) and not box.passes(OLD, 8005),
        lambda: OLD not in box.elements("allowed_names4_1") and OLD not in box.elements("allowed_name_ranges4_1"),
    )
    assert box.passes(NEW, 7000) and not box.passes(NEW, 7001)


def test_what_does_not_change_stays_beyond_its_lifetime(box: Box) -> None:
    loaded = len(box.log.lines)
    ticks: List[int] = []

    def refreshed() -> bool:
        assert box.passes(OLD, 7000), "it closed between two refreshes"
        ticks.append(1)
        return len(ticks) > 80  # 4 s and more: twice the lifetime

    run(box, refreshed)
    assert [event for event, _ in box.log.lines[loaded:]] == ["refreshed"], "only changes are logged"


def test_an_outage_closes_when_the_lifetime_ends_and_the_end_of_it_opens_again(box: Box) -> None:
    box.answer = Answer("a.example", (), "no server answers")
    run(box, lambda: not box.passes(OLD, 7000))
    box.answer = Answer("a.example", ((OLD, 1),))
    run(box, lambda: box.passes(OLD, 7000))


def test_only_elements_change(box: Box) -> None:
    with entered(box.lab.box):
        from nftables import Nftables

        before = Nftables().cmd("list chains inet")[1]
    box.answer = Answer("a.example", ((NEW, 1),))
    run(box, lambda: NEW in box.elements("allowed_names4_1"))
    after = box.ruleset((box.answer,))
    with entered(box.lab.box):
        assert Nftables().cmd("list chains inet")[1] == before
        Nft().read_back(after, box.record.ident)


def test_special_and_private_answers_open_nothing(box: Box) -> None:
    box.answer = Answer("a.example", (("127.0.0.1", 60), ("10.77.0.1", 60), ("169.254.169.254", 60), (NEW, 60)))
    run(box, lambda: box.passes(NEW, 7000))
    assert not box.passes(WORLD4, 7000)


def test_a_resolv_conf_that_is_written_late_counts(box: Box) -> None:
    """With --userns Podman writes it after the hooks; only servers that the engine can have written do."""
    assert not box.passes(WORLD4, 53)
    run(box, lambda: [event for event, _ in box.log.lines if event == "refreshed"])
    assert not box.passes(WORLD4, 53)
    box.resolv_conf.write_text(f"nameserver {WORLD4}\nnameserver {NEW}\n")
    run(box, lambda: box.passes(WORLD4, 53))
    assert not box.passes(NEW, 53)


def test_a_table_of_somebody_else_is_left_alone(box: Box) -> None:
    ruleset = box.ruleset(())
    with entered(box.lab.box):
        Nft().load(render_nft(ruleset, "other.1"))
    run(box, lambda: [event for event, _ in box.log.lines if event == "refresh_failed"])
    assert not box.passes(OLD, 7000)
    with entered(box.lab.box):
        Nft().read_back(ruleset, "other.1")


def test_a_record_of_an_inode_that_names_another_namespace_changes_nothing(box: Box) -> None:
    with box.state:
        box.state.write_record(box.record._replace(path=f"/proc/{os.getpid()}/fd/{box.lab.world}"))
    box.answer = Answer("a.example", ((NEW, 1),))
    run(box, lambda: [event for event, _ in box.log.lines if event == "refresh_failed"])
    assert NEW not in box.elements("allowed4")


def test_the_agent_as_a_process(box: Box) -> None:
    """All of it: names from a server on loopback here, rules in the namespace there, no hook that tells of it."""
    with tempfile.TemporaryDirectory(prefix="rcc-") as folder, NameServer() as server:
        state = State(os.path.join(folder, "rcc"))
        Path(folder, "resolv.conf").write_text(server.resolv_conf, encoding="ascii")
        argv = ["/usr/bin/python3", "-IS", KEEPER, "--root", state.root, "--", "--hosts", ""]
        argv += ["--resolv-conf", os.path.join(folder, "resolv.conf")]
        server.add("a.example", "A", NEW, ttl=1)
        pong = agent_start.ensure(state.root, argv, 20.0)
        try:
            assert not box.passes(NEW, 7000)
            with state:
                state.write_record(box.record)
            eventually(lambda: box.passes(NEW, 7000))
            server.add("a.example", "AAAA", OTHER, ttl=1)
            eventually(lambda: box.passes(OTHER, 7000))
            with state:
                state.write_record(box.record._replace(path=f"/proc/{os.getpid()}/fd/{box.lab.world}"))
            os.kill(pong.keeper, signal.SIGKILL)
            os.kill(pong.pid, signal.SIGKILL)
            assert agent_start.ensure(state.root, argv, 20.0).pid != pong.pid
            assert agent_client.ping(state.root, 5.0).version == pong.version
        finally:
            agent_client.stop(state.root, 5.0)
