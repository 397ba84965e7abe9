"""The agent's log: bounded in size and rate, one line an event whatever a container puts into it."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any, List

import pytest
import structlog
from rcc.system import agent_log
from rcc.system.agent_log import BURST, TEXT_LIMIT, BoundedFile, Throttle, is_journal, open_log, wrap


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Lines:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.lines: List[str] = []

    def info(self, line: str) -> None:
        self.lines.append(line)

    warning = error = critical = info

    def data(self) -> List[Any]:
        return [json.loads(line) for line in self.lines]


def lines_of(path: Path) -> List[Any]:
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


def test_lines_are_json_with_level_and_time(tmp_path: Path) -> None:
    path = tmp_path / "agent.log"
    log = open_log(str(path)).bind(pid=7)
    log.info("started", version="1")
    log.error("failed", error="no")
    first, second = lines_of(path)
    assert (first["event"], first["level"], first["pid"], first["version"]) == ("started", "info", 7, "1")
    assert (second["event"], second["level"]) == ("failed", "error") and second["timestamp"].endswith("Z")
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_file_never_grows_beyond_twice_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "agent.log"
    sink = BoundedFile(str(path), limit=1000)
    for number in range(200):
        sink.info(f"line {number:03d} " + "x" * 40)
        assert path.stat().st_size <= 1000
    assert sorted(os.listdir(tmp_path)) == ["agent.log", "agent.log.1"]
    kept = (path.with_suffix(".log.1").read_text() + path.read_text()).splitlines()
    assert kept[-1].startswith("line 199") and [line[:8] for line in kept] == sorted(line[:8] for line in kept)


def test_two_writers_follow_each_other_to_the_new_file(tmp_path: Path) -> None:
    path = tmp_path / "agent.log"
    one, two = BoundedFile(str(path), limit=500), BoundedFile(str(path), limit=500)
    for number in range(30):
        one.info(f"one {number}")
        two.info(f"two {number}")
    assert path.read_text().splitlines()[-2:] == ["one 29", "two 29"]
    path.unlink()
    one.info("again")
    assert path.read_text() == "again\n"


def test_a_full_disk_is_told_once_there_is_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "agent.log"
    sink = BoundedFile(str(path))
    sink.info("before")
    room = [False]
    real = os.write

    def write(descriptor: int, data: Any) -> int:
        if room[0]:
            return real(descriptor, data)
        return real(descriptor, data[:3])  # what a nearly full disk takes

    monkeypatch.setattr(agent_log.os, "write", write)
    for _ in range(5):
        sink.info("lost")
    room[0] = True
    sink.info("after")
    text = path.read_text().splitlines()
    assert text[0] == "before" and text[-1] == "after"
    assert json.loads(text[-2]) == {"lost": 5, "event": "log_written_again"}


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    clock = Clock()
    folder = tmp_path / "gone"
    sink = BoundedFile(str(folder / "agent.log"), clock=clock)
    sink.info("lost")
    folder.mkdir()
    sink.info("lost too: it is not tried every time")
    clock.now += 2
    sink.info("found")
    lost, found = (folder / "agent.log").read_text().splitlines()
    assert json.loads(lost)["lost"] == 2 and found == "found"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("")
    (tmp_path / "agent.log").symlink_to(tmp_path / "target")
    BoundedFile(str(tmp_path / "agent.log")).info("secret")
    assert (tmp_path / "target").read_text() == ""


def test_an_event_that_comes_often_is_written_at_a_bounded_rate() -> None:
    clock, sink = Clock(), Lines()
    log = wrap(sink, clock)
    for number in range(10_000):
        log.info("dns_refused", name=f"{number}.example")
    log.info("started")
    assert len(sink.lines) == BURST + 1, "another event is not held back"
    clock.now += 2.5
    log.info("dns_refused", name="late.example")
    assert sink.data()[-1]["suppressed"] == 10_000 - BURST
    clock.now += 3600
    for _ in range(10_000):
        log.info("dns_refused")
    assert len(sink.lines) == 2 * BURST + 2


def test_events_are_bounded_too() -> None:
    throttle = Throttle(Clock())
    for number in range(10_000):
        with contextlib.suppress(structlog.DropEvent):
            throttle(None, "", {"event": str(number)})
    assert len(throttle._buckets) <= agent_log.EVENTS_LIMIT + 1


@pytest.mark.parametrize("text", ["a\nb", "\x1b[2J", "\x7f", "\u202e", "\ud800", "\u2028", "x" * 10**6])
def test_no_text_breaks_a_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "agent.log"
    log = open_log(str(path))
    log.info("dns_refused", name=text, more=[text], deeper={"a": [[[[[text]]]]]}, **{"key": text})
    raw = path.read_bytes()
    assert raw.count(b"\n") == 1 and raw.endswith(b"\n") and len(raw) < 10 * TEXT_LIMIT
    assert all(32 <= byte < 127 for byte in raw[:-1])
    assert json.loads(raw)["name"][:TEXT_LIMIT] == text[:TEXT_LIMIT]


def test_the_journal_gets_levels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    found = os.fstat(writer)
    assert is_journal(f"{found.st_dev}:{found.st_ino}", writer)
    assert not is_journal("", writer) and not is_journal("1:2", writer) and not is_journal("1:2", 9999)
    log = wrap(agent_log.Journal(writer))
    log.info("one")
    log.error("two")
    os.close(writer)
    with open(reader, encoding="ascii") as stream:
        one, two = stream.read().splitlines()
    assert one.startswith('<6>{"') and two.startswith('<3>{"') and json.loads(two[3:])["event"] == "two"
    os.close(os.open(os.devnull, os.O_RDONLY))
    log.info("gone")  # nobody hears it, and nothing happens


def test_an_error_carries_its_traceback_cut_to_size(tmp_path: Path) -> None:
    path = tmp_path / "agent.log"
    log = open_log(str(path))
    try:
        raise ValueError("x" * 5000)
    except ValueError:
        log.critical("failed", exc_info=True)
    (line,) = lines_of(path)
    assert "Traceback" in line["exception"] and len(line["exception"]) <= TEXT_LIMIT + 3
