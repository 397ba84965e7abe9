"""What the agent's log tells of containers: once, by name, and never more than a bounded number of lines."""

from ipaddress import ip_address
from typing import Any, Dict, List, Tuple

from rcc.app.tell import LINES_BURST, Teller
from rcc.core.notes import DENIED, NOTED_SECONDS, Noted, Notes, Total
from rcc.core.policy import Policy
from rcc.system.state import Member, Record

ONE = ip_address("198.51.100.7")
SIX = ip_address("2001:db8::7")


class Log:
    def __init__(self) -> None:
        self.lines: List[Tuple[str, Dict[str, Any]]] = []

    def info(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))

    @property
    def events(self) -> List[str]:
        return [event for event, _ in self.lines]


def record(netns: int, *names: str, since: float = 1.0) -> Record:
    members = tuple(Member(name[0] * 64, name, f"run-{name}") for name in names)
    return Record(netns, "/x", members, Policy("work"), "label", (), 2, "x.2", (), "", "", (), False, since)


def notes(*ports: int, first: float = 1.0, address: Any = ONE) -> Notes:
    left = NOTED_SECONDS - first
    return Notes(
        totals=(Total(DENIED, len(ports), 60),),
        denied=tuple(Noted(address, "tcp", port, 1, 60, left) for port in ports),
        denied_since=tuple(Noted(address, "tcp", port, left=left) for port in ports),
    )


def test_containers_come_join_and_go() -> None:
    log = Log()
    teller = Teller(log, lambda netns: {})
    teller.changed([record(1, "box")], first=True)
    teller.changed([record(1, "box", "side"), record(2, "other")], first=False)
    teller.changed([record(1, "side")], first=False)
    teller.changed([record(1, "side")], first=False)
    assert [(event, fields["netns"], fields["containers"]) for event, fields in log.lines] == [
        ("resumed", 1, ["box"]),
        ("isolated", 1, ["side"]),
        ("isolated", 2, ["other"]),
        ("ended", 1, ["box"]),
        ("ended", 2, ["other"]),
    ]
    assert (log.lines[0][1]["profile"], log.lines[0][1]["mode"], log.lines[0][1]["generation"]) == (
        "work",
        "enforce",
        2,
    )


def test_a_destination_is_told_once_with_its_names() -> None:
    log = Log()
    teller = Teller(log, lambda netns: {ONE: ("a.example", "b.example")})
    box = record(1, "box")
    teller.changed([box], first=False)
    log.lines.clear()
    teller.denied(box, notes(22))
    teller.denied(box, notes(22))
    teller.denied(box, notes(22, 25))
    teller.denied(box, notes(80, address=SIX))
    assert [fields["destinations"] for _, fields in log.lines] == [
        ["198.51.100.7:22/tcp (a.example, b.example)"],
        ["198.51.100.7:25/tcp (a.example, b.example)"],
        ["[2001:db8::7]:80/tcp"],
    ]


def test_what_an_agent_before_this_one_has_told_is_not_told_again() -> None:
    log = Log()
    teller = Teller(log, lambda netns: {})
    box = record(1, "box")
    teller.changed([box], first=True)
    log.lines.clear()
    teller.denied(box, notes(22, first=3600.0))
    assert log.lines == []
    teller.denied(box, notes(22, 25))
    assert [fields["count"] for _, fields in log.lines] == [1]


def test_another_container_in_a_namespace_of_the_same_inode_is_another_one() -> None:
    log = Log()
    teller = Teller(log, lambda netns: {})
    for since in (1.0, 2.0):
        box = record(1, "box", since=since)
        teller.changed([box], first=False)
        teller.denied(box, notes(22))
    assert log.events.count("denied") == 2


def test_lines_are_bounded_and_what_was_held_back_is_told_with_the_next() -> None:
    log = Log()
    now = [0.0]
    teller = Teller(log, lambda netns: {}, lambda: now[0])
    box = record(1, "box")
    teller.changed([box], first=False)
    log.lines.clear()
    for port in range(1, 101):
        teller.denied(box, notes(*range(1, port + 1)))
    assert len(log.lines) == LINES_BURST
    now[0] = 120.0
    teller.denied(box, notes(*range(1, 101)))
    assert sum(fields["count"] for _, fields in log.lines) == 100


def test_one_that_has_ended_is_not_told_of_and_leaves_nothing() -> None:
    log = Log()
    teller = Teller(log, lambda netns: {})
    box = record(1, "box")
    teller.changed([box], first=False)
    teller.denied(box, notes(22))
    teller.changed([], first=False)
    log.lines.clear()
    teller.denied(box, notes(25))
    assert log.lines == [] and not teller._known and not teller._lines
