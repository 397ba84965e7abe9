"""The agent's protocol: round trips, and nothing but AgentError for everything else."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rcc.core.agent_protocol import (
    NAMES_LIMIT,
    REPLY_LIMIT,
    REQUEST_LIMIT,
    Pong,
    Request,
    parse_answers,
    parse_ok,
    parse_pong,
    parse_request,
    parse_result,
    render_answers,
    render_error,
    render_ok,
    render_pong,
    render_request,
    render_result,
)
from rcc.core.errors import AgentError
from rcc.core.names import Answer

NAMES = st.lists(st.from_regex(r"[a-z0-9_.-]{1,63}", fullmatch=True), max_size=20)
ADDRESSES = st.lists(st.tuples(st.ip_addresses().map(str), st.integers(0, 86400)), max_size=5).map(tuple)
ANSWERS = st.lists(st.builds(Answer, st.text(max_size=50), ADDRESSES, st.text(max_size=50)), max_size=5).map(tuple)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(NAMES, st.floats(0.001, 60))
def test_a_request_comes_back(names: "list[str]", seconds: float) -> None:
    request = Request("resolve", tuple(names), seconds)
    assert parse_request(render_request(request)) == request


@pytest.mark.parametrize("op", ["ping", "rescan", "stop"])
def test_a_request_without_names_comes_back(op: str) -> None:
    assert parse_request(render_request(Request(op))) == Request(op)


@given(st.text(max_size=20), st.dictionaries(st.text(max_size=8), JSON, max_size=4))
def test_a_call_and_its_result_come_back(verb: str, members: "dict[str, Any]") -> None:
    request = parse_request(render_request(Request("call", verb=verb, arguments=members)))
    assert (request.op, request.verb) == ("call", verb)
    assert json.dumps(request.arguments) == json.dumps(members)
    assert json.dumps(parse_result(render_result(members))) == json.dumps(members)


@given(ANSWERS)
def test_answers_come_back(answers: "tuple[Answer, ...]") -> None:
    line = render_answers(answers)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert parse_answers(line) == answers


def test_a_pong_and_an_ok_come_back() -> None:
    pong = Pong("1.2", 3, 4, 5, 6, 7)
    assert parse_pong(render_pong(pong)) == pong
    parse_ok(render_ok())


def test_an_error_comes_back_as_one() -> None:
    for parse in (parse_ok, parse_pong, parse_answers):
        with pytest.raises(AgentError) as caught:
            parse(render_error(AgentError("no luck", hint="try again")))
        assert (caught.value.message, caught.value.hint) == ("no luck", "try again")


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode() + b"\n"))
def test_noise_is_an_error(line: bytes) -> None:
    for parse in (parse_request, parse_ok, parse_pong, parse_answers):
        with pytest.raises(AgentError):
            parse(line)


@given(st.dictionaries(st.sampled_from(["op", "names", "seconds", "ok", "answers", "version", "pid", "error"]), JSON))
def test_wrong_members_are_an_error_or_a_value(members: "dict[str, Any]") -> None:
    line = json.dumps({"v": 1, **members}).encode() + b"\n"
    for parse in (parse_request, parse_ok, parse_pong, parse_answers):
        try:
            parse(line)
        except AgentError:
            continue


@pytest.mark.parametrize(
    "members",
    [
        {"op": "resolve"},
        {"op": "resolve", "names": "a.example", "seconds": 1},
        {"op": "resolve", "names": ["A.example"], "seconds": 1},
        {"op": "resolve", "names": ["a example"], "seconds": 1},
        {"op": "resolve", "names": [""], "seconds": 1},
        {"op": "resolve", "names": ["a" * 254], "seconds": 1},
        {"op": "resolve", "names": [1], "seconds": 1},
        {"op": "resolve", "names": ["a"] * (NAMES_LIMIT + 1), "seconds": 1},
        {"op": "resolve", "names": ["a.example"], "seconds": 0},
        {"op": "resolve", "names": ["a.example"], "seconds": 61},
        {"op": "resolve", "names": ["a.example"], "seconds": True},
        {"op": "resolve", "names": ["a.example"], "seconds": "1"},
        {"op": ["ping"]},
        {"op": None},
    ],
)
def test_requests_that_are_refused(members: "dict[str, Any]") -> None:
    with pytest.raises(AgentError):
        parse_request(json.dumps({"v": 1, **members}).encode() + b"\n")


@pytest.mark.parametrize(
    "answer",
    [
        ["a", [["203.0.113.1", -1]], ""],
        ["a", [["203.0.113.1", 1.5]], ""],
        ["a", [["203.0.113.1", True]], ""],
        ["a", [["not an address", 1]], ""],
        ["a", [[7, 1]], ""],
        ["a", [["203.0.113.1"]], ""],
        ["a", "203.0.113.1", ""],
        ["a", []],
        [1, [], ""],
        ["a", [], None],
    ],
)
def test_answers_that_are_refused(answer: Any) -> None:
    with pytest.raises(AgentError):
        parse_answers(json.dumps({"v": 1, "ok": True, "answers": [answer]}).encode() + b"\n")


def test_another_version_is_told() -> None:
    with pytest.raises(AgentError, match="version 1") as caught:
        parse_request(b'{"v":2,"op":"ping"}\n')
    assert "rcc-agent --stop" in caught.value.hint


def test_stop_is_understood_from_every_version() -> None:
    assert parse_request(b'{"v":2,"op":"stop"}\n') == Request("stop")


def test_long_lines_are_refused_both_ways() -> None:
    with pytest.raises(AgentError):
        parse_request(b" " * REQUEST_LIMIT + b"\n")
    with pytest.raises(AgentError):
        parse_ok(b" " * REPLY_LIMIT + b"\n")
    with pytest.raises(AgentError):
        render_request(Request("resolve", ("a" * REQUEST_LIMIT,), 1.0))
