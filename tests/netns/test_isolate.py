"""Isolating and releasing real namespaces: again, together, after each other, and with what is left of others."""

import os
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Sequence

import pytest
from pair import Pair, entered
from rcc.app.isolate import isolate
from rcc.app.release import forget_ended, release
from rcc.core.errors import KernelError, Refused
from rcc.core.names import Answer, Answers
from rcc.core.policy import CidrRule, HostRule, Policy, Ports, Where
from rcc.system.netns import inode_of
from rcc.system.nft import Nft
from rcc.system.state import Member, Record, Settled, State

pytestmark = pytest.mark.netns

PORT = (Ports("tcp", 443, 443),)
ONE = CidrRule(ip_network("11.0.0.1/32"), PORT, False, Where())
TWO = CidrRule(ip_network("11.0.0.2/32"), PORT, False, Where())
NAME = HostRule("a.example", False, PORT, False, Where())


class Known:
    """Names that are known already; counts how often somebody said that records have changed."""

    told = 0

    def answers(self, names: Sequence[str]) -> Answers:
        return tuple(Answer(name, (("11.0.0.9", 60),)) for name in names)

    def serve(self, record: Record) -> None:
        self.told += 1


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(str(tmp_path / "rcc"))


@pytest.fixture
def path(lab: Pair) -> str:
    return f"/proc/{os.getpid()}/fd/{lab.box}"


def settled(run: str, *rules: Any, **more: Any) -> Settled:
    policy = Policy("p", egress=rules, ingress=more.pop("ingress", "none"), dns_mode="static")
    member = Member(run * 64, f"box-{run}", run)
    return Settled(member, policy, "label", (), more.pop("published", ()), "", "", ())


def ident(lab: Pair) -> Any:
    with entered(lab.box):
        return Nft().present()


def runs(state: State, lab: Pair) -> Any:
    record = state.record(inode_of(lab.box))
    return None if record is None else [member.run for member in record.members]


def test_the_same_again_changes_nothing(state: State, lab: Pair, path: str) -> None:
    names = Known()
    first = isolate(state, settled("a", NAME), path, names, bare=False)
    again = isolate(state, settled("a", NAME), path, names, bare=False)
    assert again == first and ident(lab) == first.ident and first.generation == 1
    assert names.told == 2


def test_the_strictest_holds_and_a_new_generation_judges_old_flows(state: State, lab: Pair, path: str) -> None:
    isolate(state, settled("a", ONE, TWO), path, Known(), bare=False)
    narrower = isolate(state, settled("b", TWO), path, Known(), bare=False)
    assert (narrower.policy.egress, narrower.generation) == ((TWO,), 2)
    wider = isolate(state, settled("c", ONE, TWO), path, Known(), bare=False)
    assert (wider.policy.egress, wider.generation) == ((TWO,), 2)
    assert runs(state, lab) == ["a", "b", "c"]
    apart = isolate(state, settled("d", ONE), path, Known(), bare=False)
    assert apart.policy.egress == (), "what neither both allow is closed"


def test_a_record_of_another_namespace_with_this_inode_counts_for_nothing(state: State, lab: Pair, path: str) -> None:
    web = (Ports("tcp", 80, 80),)
    old = isolate(state, settled("a", ONE, TWO, ingress="published", published=web), path, Known(), bare=True)
    with entered(lab.box):
        Nft().remove()  # as if the inode were used again
    new = isolate(state, settled("b", ONE, ingress="published"), path, Known(), bare=False)
    assert (new.members[0].run, len(new.members), new.published, new.bare) == ("b", 1, (), False)
    assert old.published == web


@pytest.mark.parametrize("lose", ["record", "version"])
def test_a_lost_record_lets_nobody_widen_what_is_loaded(state: State, lab: Pair, path: str, lose: str) -> None:
    first = isolate(state, settled("a"), path, Known(), bare=False)
    if lose == "record":
        state.remove_record(first.netns)
    else:
        state.write_record(first._replace(ident="other.1"))
    with pytest.raises(Refused, match="lost"):
        isolate(state, settled("b", TWO), path, Known(), bare=False)
    assert ident(lab) == first.ident


def test_a_joiner_is_not_let_in_where_the_rules_were_changed(state: State, lab: Pair, path: str) -> None:
    isolate(state, settled("a", ONE), path, Known(), bare=False)
    with entered(lab.box):
        Nft().load("insert rule inet rcc output accept\n")
    with pytest.raises(KernelError, match="not those that rcc loaded"):
        isolate(state, settled("b", ONE), path, Known(), bare=False)
    assert runs(state, lab) == ["a"]


def test_the_hosts_own_network_is_never_touched(state: State) -> None:
    with pytest.raises(Refused, match="host's own network"):
        isolate(state, settled("a", ONE), "/proc/self/ns/net", Known(), bare=False)
    assert list(state.records()) == []


def test_no_members_end_strips_the_others(state: State, lab: Pair, path: str) -> None:
    for run in "ab":
        isolate(state, settled(run, ONE), path, Known(), bare=True)
    release(state, run="a")
    assert runs(state, lab) == ["b"] and ident(lab) is not None
    release(state, run="a")
    release(state, run="no-such-run")
    assert runs(state, lab) == ["b"] and ident(lab) is not None


@pytest.mark.parametrize("bare", [True, False])
def test_the_last_ones_end_opens_only_what_an_unlabelled_one_shares(
    state: State, lab: Pair, path: str, bare: bool
) -> None:
    isolate(state, settled("a", ONE), path, Known(), bare=bare)
    release(state, run="a")
    assert runs(state, lab) is None
    assert (ident(lab) is None) is bare, "a namespace of its own stays closed until it ends"


def test_a_late_poststop_of_the_run_before_strips_nothing(state: State, lab: Pair, path: str) -> None:
    """podman restart: the new namespace is made first, the old run's poststop comes after it."""
    isolate(state, settled("b", ONE), path, Known(), bare=True)
    release(state, run="a", container="b" * 64)
    assert runs(state, lab) == ["b"] and ident(lab) is not None


def test_an_end_that_nobody_ran_for_is_found_later(state: State, lab: Pair, path: str) -> None:
    """poststop of a namespace of its own is touch(1): whoever looks next forgets the start."""
    for run in "ab":
        isolate(state, settled(run, ONE), path, Known(), bare=False)
    Path(state.end_of("a")).touch()
    isolate(state, settled("c", ONE), path, Known(), bare=False)
    assert runs(state, lab) == ["b", "c"] and state.ended() == []
    for run in ("b", "c", "no-such-run"):
        Path(state.end_of(run)).touch()
    forget_ended(state)
    assert runs(state, lab) is None and state.ended() == []
    assert ident(lab) is not None, "the rules go with the namespace, never before it"


def test_without_a_run_only_what_is_gone_is_forgotten(state: State, lab: Pair, path: str) -> None:
    record = isolate(state, settled("a", ONE), path, Known(), bare=True)
    release(state, container="a" * 64)
    assert runs(state, lab) == ["a"] and ident(lab) is not None
    state.write_record(record._replace(path="/proc/0/ns/net"))
    release(state, container="a" * 64)
    assert runs(state, lab) is None


def test_a_place_that_is_none_is_refused_and_not_remembered(state: State, path: str) -> None:
    with pytest.raises(KernelError):
        isolate(state, settled("a", ONE), "/etc/passwd", Known(), bare=False)
    assert list(state.records()) == []
