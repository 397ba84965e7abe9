"""Elements put by netlink, as libnftables lists them and as packets meet them."""

import time
from ipaddress import ip_address
from typing import Any, List

import pytest
from pair import Pair, entered
from rcc.core.compile import Facts, compile_ruleset
from rcc.core.errors import KernelError
from rcc.core.openings import TimedElement, element_of
from rcc.core.policy import Policy, Ports
from rcc.core.render_nft import render_nft
from rcc.core.ruleset import Ruleset
from rcc.system.nft import Nft
from rcc.system.set_elements import Outdated, SetElements
from test_ruleset_in_kernel import probe

pytestmark = pytest.mark.netns

NAME4, NAME6 = "198.51.100.7", "2001:db8::7"


def timed(address: str, low: int = 443, high: int = 0, kind: str = "allowed", seconds: int = 60) -> TimedElement:
    return kind, element_of(ip_address(address), Ports("tcp", low, high or low), seconds)


@pytest.fixture
def ruleset(lab: Pair) -> Ruleset:
    found = compile_ruleset(Policy("test"), Facts(), 7)
    with entered(lab.box):
        Nft().load(render_nft(found, "test.7"))
    return found


@pytest.fixture
def sets(lab: Pair, ruleset: Ruleset) -> Any:
    with entered(lab.box):
        return SetElements()


def test_what_is_put_is_open_and_nothing_else(lab: Pair, sets: SetElements, ruleset: Ruleset) -> None:
    assert not probe(lab, NAME4, "tcp", 443)
    sets.put(7, [timed(NAME4), timed(NAME6), timed(NAME4, 8000, 8010), timed(NAME6, 8000, 8010)])
    for name in (NAME4, NAME6):
        assert probe(lab, name, "tcp", 443) and probe(lab, name, "tcp", 8000) and probe(lab, name, "tcp", 8010)
        for port in (442, 444, 7999, 8011):
            assert not probe(lab, name, "tcp", port)
        assert not probe(lab, name, "udp", 443)
    assert not probe(lab, "198.51.100.8", "tcp", 443)
    with entered(lab.box):
        Nft().read_back(ruleset, "test.7")


def test_a_private_address(lab: Pair, sets: SetElements) -> None:
    sets.put(7, [timed("10.1.2.3")])
    assert not probe(lab, "10.1.2.3", "tcp", 443), "special ranges are judged first"
    sets.put(7, [timed("10.1.2.3", kind="private")])
    assert probe(lab, "10.1.2.3", "tcp", 443)


def test_a_lifetime_starts_anew(lab: Pair, sets: SetElements) -> None:
    sets.put(7, [timed(NAME4, seconds=2), timed("198.51.100.9", seconds=2)])
    deadline = time.monotonic() + 10
    while probe(lab, "198.51.100.9", "tcp", 443) and time.monotonic() < deadline:
        sets.put(7, [timed(NAME4, seconds=2)])
        time.sleep(0.1)
    assert probe(lab, NAME4, "tcp", 443) and not probe(lab, "198.51.100.9", "tcp", 443)


def test_many_at_once_and_again(lab: Pair, sets: SetElements) -> None:
    many: List[TimedElement] = [timed(f"2001:db8::{number:x}") for number in range(1, 1001)]
    for _ in range(3):
        sets.put(7, many)
    assert probe(lab, "2001:db8::3e8", "tcp", 443) and not probe(lab, "2001:db8::3e9", "tcp", 443)


def test_flush(lab: Pair, sets: SetElements) -> None:
    sets.put(7, [timed(NAME4), timed(NAME6, 80, 90)])
    sets.flush(7)
    assert not probe(lab, NAME4, "tcp", 443) and not probe(lab, NAME6, "tcp", 85)


def test_another_generation_takes_nothing(lab: Pair, sets: SetElements, ruleset: Ruleset) -> None:
    for generation in (6, 8):
        with pytest.raises(Outdated):
            sets.put(generation, [timed(NAME4)])
    with entered(lab.box):
        Nft().load(render_nft(ruleset._replace(generation=8), "test.8"))
    with pytest.raises(Outdated):
        sets.put(7, [timed(NAME4)])
    assert not probe(lab, NAME4, "tcp", 443)
    sets.put(8, [timed(NAME4)])
    assert probe(lab, NAME4, "tcp", 443)
    with entered(lab.box):
        Nft().remove()
    with pytest.raises(Outdated):
        sets.put(8, [timed(NAME4)])


def test_an_overlap_is_refused_and_the_socket_goes_on(lab: Pair, sets: SetElements) -> None:
    sets.put(7, [timed(NAME4, 8000, 8010)])
    with pytest.raises(KernelError):
        sets.put(7, [timed(NAME4, 8005, 8020)])
    assert not probe(lab, NAME4, "tcp", 8020)
    sets.put(7, [timed(NAME4)])
    assert probe(lab, NAME4, "tcp", 443)
