"""The command line: help, exit codes, words and JSON."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from rcc import cli, commands
from rcc.core.errors import EX_CONFIG, EX_NOINPUT, EX_OK, EX_USAGE
from rcc.core.policy import HTTPS, HostRule, Policy, Where
from rcc.system.state import Member, Outcome, Record, State

RULE = HostRule("a.example", False, (HTTPS,), False, Where("/etc/rcc/profiles/default.yaml", 3, 5))
RECORD = Record(
    netns=4026532000,
    path="/proc/0/ns/net",
    members=(Member("c" * 64, "box", "run1"),),
    policy=Policy("default", egress=(RULE,)),
    source="label",
    notes=("the capability NET_RAW was dropped",),
    generation=1,
    ident="4026532000.1",
    published=(),
    resolv_conf="",
    hosts="",
    dns_servers=(),
    bare=False,
    since=0.0,
)


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> State:
    made = State(str(tmp_path / "rcc"))
    monkeypatch.setattr(commands, "_state", lambda: made)
    return made


def run(capsys: Any, *words: str) -> "tuple[int, str, str]":
    code = cli.main(words)
    out, err = capsys.readouterr()
    return code, out, err


def test_help_names_every_command(capsys: Any) -> None:
    code, out, _ = run(capsys, "--help")
    assert code == EX_OK
    words = " ".join(out.split())
    assert all(f"{command.name} {command.help}" in words for command in cli.COMMANDS)
    for command in cli.COMMANDS:
        code, out, _ = run(capsys, command.name, "--help")
        assert code == EX_OK and command.help in " ".join(out.split())


@pytest.mark.parametrize("words", [(), ("no-such",), ("show",), ("ps", "--no-such")])
def test_a_wrong_call_is_a_usage_error(capsys: Any, words: Any) -> None:
    code, out, err = run(capsys, *words)
    assert code == EX_USAGE and not out and "usage" in err


def test_ps(capsys: Any, state: State) -> None:
    assert run(capsys, "ps", "--json") == (EX_OK, "[]\n", "")
    with state:
        state.write_record(RECORD)
    code, out, _ = run(capsys, "ps")
    assert code == EX_OK and "box" in out and "default" in out and "c" * 12 in out
    (row,) = json.loads(run(capsys, "ps", "--json")[1])
    assert (row["name"], row["profile"], row["asked_by"]) == ("box", "default", "label")


@pytest.mark.parametrize("name", ["box", "c" * 64, "cccc"])
def test_show_by_name_id_and_beginning(capsys: Any, state: State, name: str) -> None:
    with state:
        state.write_record(RECORD)
    code, out, _ = run(capsys, "show", name)
    assert code == EX_OK
    assert "a.example 443/tcp" in out and "/etc/rcc/profiles/default.yaml:3:5" in out and "NET_RAW was dropped" in out
    assert json.loads(run(capsys, "show", "--json", name)[1])["policy"]["name"] == "default"


def test_a_container_that_is_not_there(capsys: Any, state: State) -> None:
    for words in (("show", "nobody"), ("why", "nobody"), ("show", "")):
        code, out, err = run(capsys, *words)
        assert code == EX_NOINPUT and not out and "rcc ps" in err


def test_an_id_that_begins_like_two_is_none(capsys: Any, state: State) -> None:
    with state:
        state.write_record(RECORD)
        state.write_record(RECORD._replace(netns=1, members=(Member("cc" + "d" * 62, "other", "run2"),)))
    code, _, err = run(capsys, "show", "cc")
    assert code == EX_NOINPUT and "several" in err


def test_why(capsys: Any, state: State) -> None:
    assert "no container" in run(capsys, "why")[1]
    evil = "x\x1b[31m\nrcc: all is well"
    for moment, name in ((1.0, "first"), (time.time(), evil)):
        state.add_outcome(Outcome(moment, "e" * 64, name, "refused", "the cause", "the remedy", "f.yaml:1:2"))
    code, out, _ = run(capsys, "why")
    assert code == EX_OK
    assert "the cause" in out and "the remedy" in out and "f.yaml:1:2" in out and "first" not in out
    assert "\x1b" not in out and "\nrcc: all is well" not in out, "a container's name is no part of the screen"
    assert "first" in run(capsys, "why", "--all")[1]
    assert "first" in run(capsys, "why", "first")[1]
    assert json.loads(run(capsys, "why", "--json")[1])[0]["message"] == "the cause"


def test_check(capsys: Any, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("version: 1\negress:\n  - host: a.example.org\n")
    bad.write_text("version: 1\negress:\n  - hots: a.example.org\ningress: maybe\n")
    assert run(capsys, "check", str(good))[0] == EX_OK
    code, out, _ = run(capsys, "check", str(good), str(bad))
    assert code == EX_CONFIG
    assert f"{bad}:3:" in out and f"{bad}:4:" in out and "host" in out
    assert [report["ok"] for report in json.loads(run(capsys, "check", "--json", str(good), str(bad))[1])] == [
        True,
        False,
    ]


def test_errors_are_a_line_of_cause_and_a_line_of_remedy(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> State:
        raise ValueError("unexpected")

    monkeypatch.setattr(commands, "_state", fail)
    code, _, err = run(capsys, "ps")
    assert code == 70 and "internal error" in err and "--debug" in err and "Traceback" not in err
    with pytest.raises(ValueError, match="unexpected"):
        cli.main(["--debug", "ps"])
