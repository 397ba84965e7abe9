"""The state folder: round trips, bounds, strangers."""

import os
import posix
from pathlib import Path
from typing import Any

import pytest
from rcc.core.errors import RccError
from rcc.core.policy import HTTPS, HostRule, Policy, Ports, Where
from rcc.system import state as state_module
from rcc.system.owner import owner_uid, state_root
from rcc.system.state import Member, Outcome, Record, Settled, State, own_directory

POLICY = Policy("default", egress=(HostRule("a.example", False, (HTTPS,), False, Where("f.yaml", 1, 2)),))
MEMBER = Member("c" * 64, "box", "run1")
RECORD = Record(
    4026532000,
    "/run/netns/x",
    (MEMBER,),
    POLICY,
    "label",
    ("note",),
    1,
    "id",
    (Ports("tcp", 80, 80),),
    "/r",
    "/h",
    ("1.1.1.1",),
    False,
    1.5,
)
SETTLED = Settled(MEMBER, POLICY, "label", (), (), "", "", ())


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(str(tmp_path / "rcc"))


def test_a_record_comes_back_as_it_was(state: State) -> None:
    with state:
        state.write_record(RECORD)
    assert state.record(RECORD.netns) == RECORD
    assert list(state.records()) == [RECORD]
    state.remove_record(RECORD.netns)
    state.remove_record(RECORD.netns)
    assert state.record(RECORD.netns) is None


def test_a_record_takes_its_place_when_the_body_has_ended_well(state: State) -> None:
    state.write_record(RECORD)
    after = RECORD._replace(generation=2)
    with pytest.raises(ValueError), state.replacing_record(after):
        assert state.record(RECORD.netns) == RECORD
        raise ValueError
    assert state.record(RECORD.netns) == RECORD
    with state.replacing_record(after):
        assert state.record(RECORD.netns) == RECORD
    assert state.record(RECORD.netns) == after
    assert os.listdir(os.path.join(state.root, "netns")) == [f"{RECORD.netns}.json"], "nothing is left beside"


def test_a_full_disk_is_found_out_before_anything_changes(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    state.write_record(RECORD)
    monkeypatch.setattr(state_module.json, "dump", full)
    with pytest.raises(RccError, match="No space left") as raised, state.replacing_record(RECORD):
        pytest.fail("the body has run")
    assert "nothing has changed" in raised.value.hint
    assert state.record(RECORD.netns) == RECORD and len(os.listdir(os.path.join(state.root, "netns"))) == 1


def test_what_was_settled_waits_until_it_is_dropped(state: State) -> None:
    state.write_settled(SETTLED)
    assert state.read_settled("run1") == SETTLED
    state.drop_settled("run1")
    assert state.read_settled("run1") is None


@pytest.mark.parametrize(
    "text", ["", "[]", "null", '{"version": 99}', '{"version": 1}', '{"version": 1, "netns": "x"}', "\xff"]
)
def test_what_is_no_record_counts_as_absent(state: State, text: str) -> None:
    with state:
        state.write_record(RECORD)
    Path(state.root, "netns", f"{RECORD.netns}.json").write_text(text, encoding="latin-1")
    assert state.record(RECORD.netns) is None
    assert list(state.records()) == []


def test_what_nobody_came_for_is_dropped_in_time(state: State) -> None:
    state.write_settled(SETTLED)
    os.utime(os.path.join(state.root, "pending", "run1.json"), (0, 0))
    state.write_settled(SETTLED._replace(member=MEMBER._replace(run="run2")))
    assert state.read_settled("run1") is None
    assert state.read_settled("run2") is not None


def test_outcomes_are_bounded_and_newest_first(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_module, "OUTCOMES", 3)
    for moment in range(6):
        state.add_outcome(Outcome(float(moment), "c" * 64, "box", "refused", "m", "h", ""))
    assert [outcome.time for outcome in state.outcomes()] == [5.0, 4.0, 3.0]


def test_a_folder_of_others_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o777)
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("open", "link"):
        with pytest.raises(RccError, match="private folder"):
            own_directory(str(tmp_path / name))


def test_a_link_in_place_of_a_record_is_not_followed(state: State, tmp_path: Path) -> None:
    with state:
        state.write_record(RECORD)
    path = Path(state.root, "netns", f"{RECORD.netns}.json")
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RccError):
        state.record(RECORD.netns)


@pytest.mark.parametrize(
    ("uid_map", "uid", "expected"),
    [
        ("0 0 4294967295", 0, 0),
        ("0 1000 1\n1 100000 65536", 0, 1000),
        ("0 1000 1\n1 100000 65536", 5, 100004),
        ("", 7, 7),
    ],
)
def test_the_owner_is_known_by_the_uid_map(uid_map: str, uid: int, expected: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(posix, "getuid", lambda: uid)
    assert owner_uid(uid_map) == expected


def test_state_roots(tmp_path: Path) -> None:
    prefix = str(tmp_path)
    assert state_root(0, prefix) == f"{prefix}/run/rcc"
    assert state_root(1000, prefix) == f"{prefix}/tmp/rcc-1000"
    (tmp_path / "run/user/1000").mkdir(parents=True)
    assert state_root(1000, prefix) == f"{prefix}/run/user/1000/rcc"
