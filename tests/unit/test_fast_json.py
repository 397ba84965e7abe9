"""The C scanner alone gives what json.loads gives, on every Python at hand, and refuses what it refuses."""

import glob
import json
import os
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rcc.system import fast_json
from rcc.system.fast_json import loads

HOOKS = os.path.join(os.path.dirname(__file__), "..", "..", "hooks")
TEXTS = [
    b'{"a": [1, -2.5e3, true, false, null, "\\u00e9\\ud83d\\ude00", {}], "a": 2}',
    b' \n\t\r"x" \n',
    b"12345678901234567890",
    b"[]",
]
BAD = [
    b"",
    b" ",
    b"{",
    b"[1,]",
    b"{'a': 1}",
    b'{"a": 1} x',
    b'{"a": 1}{}',
    b'{"a": 1}\0',
    b"NaN",
    b"[Infinity]",
    b"-Infinity",
    b'"\x01"',
    b'"\xff"',
    b"\xef\xbb\xbf{}",
    b"tru",
    b"[" * 100_000,
]


@pytest.mark.parametrize("text", TEXTS)
def test_the_same_as_json(text: bytes) -> None:
    assert loads(text) == json.loads(text)


@pytest.mark.parametrize("text", BAD)
def test_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        loads(text)


def test_bounded() -> None:
    assert loads(b"[1]", limit=3) == [1]
    with pytest.raises(ValueError, match="more than 2 bytes"):
        loads(b"[1]", limit=2)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(json_values)
def test_any_value_survives(value: Any) -> None:
    assert loads(json.dumps(value).encode()) == value
    assert loads(json.dumps(value, ensure_ascii=False, indent=1).encode()) == value


@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_or_refused(data: bytes) -> None:
    try:
        value = loads(data)
    except ValueError:
        return
    assert json.loads(data) == value


def test_without_the_c_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "_json", None)
    monkeypatch.setattr(fast_json, "_SCAN", fast_json._make_scanner())
    for text in TEXTS:
        assert loads(text) == json.loads(text)
    for text in BAD:
        with pytest.raises(ValueError):
            loads(text)


def pythons() -> "list[str]":
    found = [
        path
        for path in glob.glob(os.path.expanduser("~/.pyenv/versions/3.*/bin/python3"))
        if int(path.split("/versions/3.")[1].partition(".")[0]) >= 9
    ]
    return [path for path in [*sorted(found), "/usr/bin/python3", sys.executable] if os.path.exists(path)]


@pytest.mark.parametrize("python", pythons())
def test_every_python_at_hand(python: str) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from rcc.system.fast_json import loads\n"
        "assert 'json' not in sys.modules and 're' not in sys.modules\n"
        f"texts, bad = {TEXTS!r}, {BAD!r}\n"
        "values = [loads(text) for text in texts]\n"
        "def refuses(text):\n"
        "    try: loads(text)\n"
        "    except ValueError: return True\n"
        "assert all(refuses(text) for text in bad), [text for text in bad if not refuses(text)]\n"
        "import json; assert values == [json.loads(text) for text in texts]\n"
    )
    done = subprocess.run([python, "-IS", "-c", script, HOOKS], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
