"""What libnftables' answers become, with a library that plays them; the real one is in tests/netns."""

import sys
from types import ModuleType
from typing import Any, Callable, List, Tuple

import pytest
from rcc.core.compile import Facts, compile_ruleset
from rcc.core.errors import KernelError
from rcc.core.policy import Policy
from rcc.system.nft import Nft

Answer = Tuple[int, str, str]
RULES = compile_ruleset(Policy("test"), Facts(), 1)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> "Callable[..., List[str]]":
    """Installs a library that gives these answers in turn, the last one for ever; returns the texts it was given."""

    def install(*answers: Answer) -> List[str]:
        asked: List[str] = []

        class Nftables:
            def cmd(self, text: str) -> Answer:
                asked.append(text)
                return answers[min(len(asked), len(answers)) - 1]

            def set_json_output(self, _: bool) -> None:
                pass

            set_numeric_proto_output = set_json_output

        module: Any = ModuleType("nftables")
        module.Nftables = Nftables
        monkeypatch.setitem(sys.modules, "nftables", module)
        return asked

    return install


@pytest.mark.parametrize(
    ("complaint", "hint"),
    [
        ("netlink: Error: cache initialization failed: Operation not permitted", "another user"),
        ("netlink: Error: cache initialization failed: Protocol not supported", "modprobe nf_tables"),
        ("/dev/stdin:9:1-2: Error: Could not process rule: Operation not supported", "5.10"),
        ("Error: Could not process rule: Message too long", "wmem_max"),
        ("", ""),
    ],
)
def test_complaints_become_cause_and_remedy(library: Any, complaint: str, hint: str) -> None:
    library((1, "", complaint + "\nadd rule inet rcc output\n^^^^\n" if complaint else ""))
    with pytest.raises(KernelError) as caught:
        Nft().load("text")
    assert "\n" not in caught.value.message and caught.value.message.startswith("nf_tables: ")
    assert hint in caught.value.hint


def test_what_is_too_long_goes_in_parts_and_stops_at_the_first_failure(library: Any) -> None:
    too_long = (1, "", "Error: Message too long")
    asked = library(too_long, (0, "", ""))
    Nft().load("one\n\ntwo\n\nthree\n")
    assert asked == ["one\n\ntwo\n\nthree\n", "one", "two", "three\n"]
    asked = library(too_long, (0, "", ""), (1, "", "Error: Invalid argument"))
    with pytest.raises(KernelError, match="Invalid argument"):
        Nft().load("one\n\ntwo\n\nthree\n")
    assert asked[1:] == ["one", "two"]


@pytest.mark.parametrize("answer", ["{", "[]", '{"nftables": 1}', '{"nftables": [1]}', '{"nftables": [{"rule": 1}]}'])
def test_answers_in_unknown_form_are_refused(library: Any, answer: str) -> None:
    library((0, answer, ""))
    with pytest.raises(KernelError):
        Nft().read_back(RULES, "x")


def test_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nftables", None)
    with pytest.raises(KernelError) as caught:
        Nft()
    assert "python3-nftables" in caught.value.hint
