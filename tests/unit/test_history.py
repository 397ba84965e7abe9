"""Which names stood for which addresses: on disk, bounded, and never in the way."""

import os
from ipaddress import ip_address
from pathlib import Path
from typing import List

from rcc.system.history import PAIRS, History

ONE, TWO, SIX = ip_address("203.0.113.1"), ip_address("203.0.113.2"), ip_address("2001:db8::1")


def test_pairs_survive_the_process(tmp_path: Path) -> None:
    history = History(str(tmp_path))
    history.note(7, "a.example", [ONE, SIX])
    history.note(7, "b.example", [ONE])
    history.note(7, "a.example", [ONE, TWO])
    history.note(8, "c.example", [TWO])
    for known in (history, History(str(tmp_path))):
        assert known.names_of(7) == {ONE: ("a.example", "b.example"), SIX: ("a.example",), TWO: ("a.example",)}
        assert known.names_of(8) == {TWO: ("c.example",)} and known.names_of(9) == {}


def test_only_what_is_new_is_written(tmp_path: Path) -> None:
    history = History(str(tmp_path))
    for _ in range(100):
        history.note(7, "a.example", [ONE])
    assert (tmp_path / "history" / "7").read_text() == "a.example 203.0.113.1\n"
    assert os.stat(tmp_path / "history" / "7").st_mode & 0o777 == 0o600


def test_it_is_bounded(tmp_path: Path) -> None:
    history = History(str(tmp_path))
    for number in range(PAIRS + 10):
        history.note(7, f"n{number}.example", [ONE])
    for known in (history, History(str(tmp_path))):
        names = known.names_of(7)[ONE]
        assert len(names) <= PAIRS and names[-1] == f"n{PAIRS + 9}.example"


def test_what_has_gone_is_forgotten(tmp_path: Path) -> None:
    history = History(str(tmp_path))
    history.note(7, "a.example", [ONE])
    history.note(8, "a.example", [ONE])
    History(str(tmp_path)).keep_only([8])
    assert os.listdir(tmp_path / "history") == ["8"]
    history.drop(8)
    history.drop(8)
    assert os.listdir(tmp_path / "history") == [] and history.names_of(8) == {}


def test_a_damaged_file_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    (tmp_path / "history").mkdir()
    (tmp_path / "history" / "7").write_bytes(
        b"a.example 203.0.113.1\nx\n\xff\xff\nb.example nonsense\nb.example 203.0."
    )
    assert History(str(tmp_path)).names_of(7) == {ONE: ("a.example",)}


def test_a_disk_that_takes_nothing_is_told_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "history").write_text("no folder")
    told: List[str] = []
    history = History(str(tmp_path), told.append)
    history.note(7, "a.example", [ONE])
    history.note(7, "b.example", [ONE])
    assert len(told) == 1 and history.names_of(7) == {ONE: ("a.example", "b.example")}
