"""What containers have done: gathered, counted, kept whole."""

import json
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Dict, List

import pytest
from activity_samples import BASE, BUSY, NOW, odd
from rcc.app.dns_tally import EVENTS, NAMES, REFUSED, Tally
from rcc.app.memory import Memory
from rcc.app.observe import Seen, activity_of, names_by_address, with_seen
from rcc.core.activity import Activity, Destination, Event, activity_from_data, activity_to_data
from rcc.core.errors import AgentError
from rcc.core.notes import Noted, Notes, Total, denials
from rcc.core.policy import Policy
from rcc.system.state import PAST, Member, Record


@pytest.mark.parametrize("activity", [BASE, BUSY, odd()])
def test_it_comes_back_whole(activity: Activity) -> None:
    assert activity_from_data(json.loads(json.dumps(activity_to_data(activity)))) == activity


WRONG = ({"version": 99}, {"names": 3}, {"names": [{}]}, {"queries": []}, {"containers": None})


@pytest.mark.parametrize("change", WRONG)
def test_what_is_none_is_an_error(change: Dict[str, Any]) -> None:
    with pytest.raises(AgentError):
        activity_from_data({**activity_to_data(BUSY), **change})


RECORD = Record(
    4026532000, "/proc/0/ns/net", (Member("c" * 64, "box", "run1"),), Policy("default"), "label", (), 3, "4026532000.3",
    (), "", "", (), False, NOW - 100,
)  # fmt: skip


def test_the_kernels_notes_get_names_and_times() -> None:
    one = ip_address("198.51.100.7")
    notes = Notes(
        totals=(Total("denied", 3, 180), Total("sent", 10, 1000)),
        denied=(Noted(one, "tcp", 22, 3, 180, 86400 - 10.0),),
        denied_since=(Noted(one, "tcp", 22, left=86400 - 50.0),),
        used=(Noted(one, "tcp", 443, 1, 60, 86400 - 5.0),),
    )
    assert denials(notes)[0].first == 50.0
    asked_for = [("b.example", ("198.51.100.7",)), ("a.example", ("198.51.100.7",))]
    names = names_by_address({one: ("a.example",)}, asked_for)
    found = with_seen(activity_of(RECORD), Seen(notes), names, NOW)
    both = ("a.example", "b.example")
    assert found.denied == (Destination("198.51.100.7", "tcp", 22, 3, 0, NOW - 50, NOW - 10, both),)
    assert found.used[0].last == NOW - 5 and found.sent == 1000 and dict(found.totals)["denied"] == 3
    assert found.title == "box" and found.profile == "default"


def test_a_tally_goes_on_where_another_ended() -> None:
    first = Tally()
    for _ in range(3):
        first.asked()
    first.answered("a.example", ("198.51.100.7",), 1.0)
    first.answered("a.example", ("198.51.100.8",), 2.0, peer=True)
    first.refused("b.example", "A", 3.0, "curl")
    first.event(Event(1.0, "isolated", "x"))
    kept = activity_from_data(json.loads(json.dumps(activity_to_data(first.put_into(activity_of(RECORD))))))
    second = Tally()
    second.restore(kept)
    assert second.put_into(activity_of(RECORD)) == kept
    second.answered("a.example", ("198.51.100.9",), 5.0)
    (row,) = second.put_into(activity_of(RECORD)).names
    assert (row.times, row.first, row.last) == (3, 1.0, 5.0)
    assert row.addresses == ("198.51.100.7", "198.51.100.8", "198.51.100.9")


def test_a_tally_is_bounded() -> None:
    tally = Tally()
    for number in range(NAMES + REFUSED + EVENTS):
        tally.answered(f"{number}.example", (), float(number))
        tally.refused(f"{number}.example", "A", float(number))
        tally.event(Event(float(number), "x", "y"))
    found = tally.put_into(activity_of(RECORD))
    assert (len(found.names), len(found.refused), len(found.events)) == (NAMES, REFUSED, EVENTS)
    assert found.names[-1].name == f"{NAMES + REFUSED + EVENTS - 1}.example"


class Log:
    def __init__(self) -> None:
        self.events: List[str] = []

    def error(self, event: str, **_: Any) -> None:
        self.events.append(event)


def test_memory_keeps_what_runs_and_the_last_that_ended(tmp_path: Path) -> None:
    log = Log()
    memory = Memory(str(tmp_path / "rcc"), log)
    assert memory.load(RECORD) is None and not list(memory.past())
    memory.save(BUSY)
    assert memory.load(RECORD) == BUSY
    assert memory.load(RECORD._replace(since=5.0)) is None, "another namespace had that inode"
    for number in range(PAST + 5):
        memory.end(BUSY._replace(ended=NOW + number))
    assert memory.load(RECORD) is None
    found = list(memory.past())
    assert len(found) == PAST and found[0].ended == NOW + PAST + 4
    (tmp_path / "rcc" / "past" / sorted(p.name for p in (tmp_path / "rcc" / "past").iterdir())[-1]).write_text("{}")
    assert len(list(memory.past())) == PAST - 1 and not log.events


def test_a_folder_that_cannot_be_written_is_told_once(tmp_path: Path) -> None:
    log = Log()
    memory = Memory(str(tmp_path / "rcc"), log)
    (tmp_path / "rcc" / "activity").write_text("in the way")
    for _ in range(3):
        memory.save(BUSY)
    assert log.events == ["activity_not_kept"]
