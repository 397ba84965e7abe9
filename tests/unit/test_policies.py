"""What was understood of the policy files last time holds only while every one of them is what it was."""

import os
import time
from pathlib import Path
from typing import Any

import pytest
from rcc.app import policies as policies_module
from rcc.app.policies import Policies
from rcc.core.errors import ConfigError, Refused
from rcc.system.state import State


class Machine:
    """A root of files with the three layers."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / "home"
        for folder in ("usr/share/rcc/profiles", "etc/rcc/profiles", "home/.config/rcc/profiles", "run"):
            (root / folder).mkdir(parents=True)
        self.write("usr/share/rcc/profiles/default.yaml", "version: 1\negress: []\n")

    def write(self, name: str, text: str) -> None:
        """A file, old enough for its stamp to be trusted."""
        path = self.root / name
        path.write_text(text, encoding="utf-8")
        self.age()

    def age(self) -> None:
        # ctime cannot be set back, so the clock of the reader is what moves.
        self.now = time.time_ns() + 10_000_000_000

    def policies(self) -> Policies:
        return Policies(State(str(self.root / "run/rcc")), str(self.root), str(self.home))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    from rcc.system import configfiles

    made = Machine(tmp_path)
    monkeypatch.setattr(configfiles.time, "time_ns", lambda: made.now)
    return made


def forbid_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise AssertionError("the files were read")

    monkeypatch.setattr(policies_module, "read_sources", fail)


def test_the_second_time_nothing_is_read(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    first = machine.policies()
    settings, policy = first.settings(), first.profile("default")
    assert policy.egress == () and settings.default_profile == "default" and not settings.locked
    forbid_reading(monkeypatch)
    second = machine.policies()
    assert second.profile("default") == policy
    assert second.settings().to_data() == settings.to_data()


def test_another_profile_joins_the_cache(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.write("etc/rcc/profiles/other.yaml", "version: 1\negress:\n  - host: a.example.org\n")
    machine.policies().settings()
    machine.policies().profile("default")
    assert machine.policies().profile("other").egress
    forbid_reading(monkeypatch)
    again = machine.policies()
    assert again.settings() and again.profile("default") and again.profile("other").egress


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("etc/rcc/profiles/default.yaml", "version: 1\negress:\n  - host: new.example.org\n"),
        ("home/.config/rcc/profiles/default.yaml", "version: 1\negress:\n  - host: new.example.org\n"),
        ("usr/share/rcc/profiles/default.yaml", "version: 1\negress:\n  - host: new.example.org\n"),
    ],
)
def test_a_new_or_changed_file_counts_at_once(machine: Machine, name: str, text: str) -> None:
    assert machine.policies().profile("default").egress == ()
    machine.write(name, text)
    assert machine.policies().profile("default").egress != ()


def test_a_file_that_is_gone_counts_at_once(machine: Machine) -> None:
    machine.write("etc/rcc/profiles/default.yaml", "version: 1\negress:\n  - host: a.example.org\n")
    assert machine.policies().profile("default").egress
    os.unlink(machine.root / "etc/rcc/profiles/default.yaml")
    assert machine.policies().profile("default").egress == ()


def test_a_lock_that_appears_counts_at_once(machine: Machine) -> None:
    assert not machine.policies().settings().locked
    machine.write("etc/rcc/rcc.yaml", "version: 1\nlock:\n  isolate: always\n")
    assert machine.policies().settings().locked


def test_another_users_home_is_another_cache(machine: Machine, tmp_path: Path) -> None:
    machine.write("home/.config/rcc/profiles/mine.yaml", "version: 1\negress: []\n")
    assert machine.policies().profile("mine")
    with pytest.raises(Refused):
        Policies(State(str(tmp_path / "run/rcc")), str(tmp_path), str(tmp_path / "nobody")).profile("mine")


def test_broken_files_are_never_remembered_as_good(machine: Machine) -> None:
    machine.policies().profile("default")
    machine.write("etc/rcc/profiles/default.yaml", "version: 1\negress: nonsense\n")
    for _ in range(2):
        with pytest.raises(ConfigError):
            machine.policies().profile("default")


def test_a_cache_of_nonsense_is_an_error_or_nothing_never_a_wider_policy(machine: Machine) -> None:
    machine.policies().profile("default")
    cache = machine.root / "run/rcc/cache/policies.json"
    text = cache.read_text()
    for broken in ("", "{}", text[: len(text) // 2], '{"version": 1, "signature": []}'):
        cache.write_text(broken)
        assert machine.policies().profile("default").egress == ()
