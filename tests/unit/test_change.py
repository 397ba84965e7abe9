"""Changes of running containers: read from words, applied to policies, kept in records."""

from typing import Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rcc.core.change import (
    ALLOW,
    DENY,
    Change,
    change_from_data,
    change_to_data,
    changed,
    live,
    profile_text,
    with_change,
    yaml_lines,
)
from rcc.core.change_text import parse_change
from rcc.core.errors import RccError
from rcc.core.explain import explain
from rcc.core.layers import merge_profile
from rcc.core.policy import HTTPS, Policy, Ports
from rcc.core.sources import PROFILE, Source

TEXT = b"""version: 1
egress:
  - host: api.example.com
    ports: [443, 8000-8010]
  - host: "*.cdn.example.com"
  - cidr: 203.0.113.7
    ports: [22]
  - cidr: 198.51.100.0/24
    ports: [443]
"""
NTP = Ports("udp", 123, 123)


def policy(text: bytes = TEXT) -> Policy:
    return merge_profile("p", (Source("user", PROFILE, "p", "p.yaml", text),))


def without(before: Policy, changes: "list[Change]") -> Policy:
    return changed(before, before, changes)


@pytest.mark.parametrize(
    ("verb", "text", "target", "ports"),
    [
        (ALLOW, "a.example", "a.example", (HTTPS,)),
        (ALLOW, "A.Example.:123/udp", "a.example", (NTP,)),
        (ALLOW, "*.a.example", "*.a.example", (HTTPS,)),
        (ALLOW, "203.0.113.7:123/udp", "203.0.113.7", (NTP,)),
        (ALLOW, "[2001:DB8::1]:123/udp", "2001:db8::1", (NTP,)),
        (ALLOW, "2001:db8::1", "2001:db8::1", (HTTPS,)),
        (DENY, "a.example", "a.example", ()),
        (DENY, "a.example:443", "a.example", (HTTPS,)),
        (DENY, "[2001:db8::1]", "2001:db8::1", ()),
        (DENY, "[2001:db8::1]:443", "2001:db8::1", (HTTPS,)),
        (DENY, "nas", "nas", ()),
    ],
)
def test_words(verb: str, text: str, target: str, ports: Tuple[Ports, ...]) -> None:
    change = parse_change(verb, text)
    assert (change.verb, change.target, change.ports) == (verb, target, ports)
    assert change.is_address is (target[0] == "2")
    assert change_from_data(change_to_data(change)) == change


@pytest.mark.parametrize(
    "text", ["", "https://a.example", "a b", "*", "*.com", "*.203.0.113.7", "localhost", "a.example:x", "nas"]
)
def test_words_that_are_refused(text: str) -> None:
    with pytest.raises(RccError):
        parse_change(ALLOW, text)


def test_an_address_is_not_allowed_for_a_while() -> None:
    with pytest.raises(RccError, match="--for"):
        parse_change(ALLOW, "203.0.113.7", until=1.0)


def test_what_is_allowed_is_a_line_of_a_profile() -> None:
    changes = (
        parse_change(ALLOW, "b.example:123/udp"),
        parse_change(ALLOW, "203.0.113.9"),
        parse_change(DENY, "x.example"),
    )
    own = Source("user", PROFILE, "p", "p.yaml", TEXT)
    live_profile = Source("user", PROFILE, "more", "more", profile_text("p", changes))
    found = merge_profile("more", (own, live_profile))
    assert explain(found, "b.example:123/udp").allowed and explain(found, "203.0.113.9").allowed
    assert explain(found, "api.example.com").allowed and not explain(found, "b.example").allowed
    assert yaml_lines(changes[0]) == ['  - host: "b.example"', "    ports: [123/udp]"]
    assert yaml_lines(parse_change(ALLOW, "db", private=True))[-1] == "    private: true"


@pytest.mark.parametrize(
    ("denied", "closed", "open_still"),
    [
        ("api.example.com", ["api.example.com", "api.example.com:8005"], ["a.cdn.example.com"]),
        ("api.example.com:443", ["api.example.com"], ["api.example.com:8005"]),
        ("api.example.com:8005", ["api.example.com:8005"], ["api.example.com:8004", "api.example.com:8006"]),
        ("*.cdn.example.com", ["a.cdn.example.com"], ["api.example.com"]),
        ("*.example.com", ["a.cdn.example.com", "api.example.com"], ["203.0.113.7:22"]),
        ("203.0.113.7", ["203.0.113.7:22"], ["api.example.com"]),
        ("nowhere.example", [], ["api.example.com"]),
    ],
)
def test_what_is_denied_is_closed(denied: str, closed: "list[str]", open_still: "list[str]") -> None:
    found = without(policy(), [parse_change(DENY, denied)])
    assert not [target for target in closed if explain(found, target).allowed]
    assert [target for target in open_still if explain(found, target).allowed] == open_still


@pytest.mark.parametrize("denied", ["a.cdn.example.com", "198.51.100.9"])
def test_what_cannot_be_denied_alone_is_refused(denied: str) -> None:
    with pytest.raises(RccError, match="allows"):
        without(policy(), [parse_change(DENY, denied)])


def test_nothing_can_be_denied_beside_the_internet() -> None:
    with pytest.raises(RccError, match="internet"):
        without(policy(b"version: 1\negress:\n  - internet: true\n"), [parse_change(DENY, "a.example")])


def test_a_later_change_takes_the_place_of_earlier_ones() -> None:
    one, other = parse_change(ALLOW, "a.example:80"), parse_change(ALLOW, "a.example:443")
    deny = parse_change(DENY, "a.example")
    assert with_change((one, other), one._replace(verb=DENY)) == (other, one._replace(verb=DENY))
    assert with_change((one, other), deny) == (deny,)
    assert with_change((deny,), one) == (deny, one)
    many = tuple(Change(ALLOW, f"n{number}.example", (HTTPS,)) for number in range(200))
    with pytest.raises(RccError, match="200"):
        with_change(many, one)


def test_changes_are_made_one_after_the_other() -> None:
    changes = (parse_change(DENY, "api.example.com"), parse_change(ALLOW, "api.example.com:123/udp"))
    own = Source("user", PROFILE, "p", "p.yaml", TEXT)
    merged = merge_profile("more", (own, Source("user", PROFILE, "more", "more", profile_text("p", changes))))
    found = changed(policy(), merged, changes)
    assert explain(found, "api.example.com:123/udp").allowed, "what is allowed later is open"
    assert not explain(found, "api.example.com").allowed, "and brings nothing else back"
    assert not explain(changed(policy(), merged, changes[::-1]), "api.example.com:123/udp").allowed


def test_what_has_run_out_does_not_hold() -> None:
    changes = (Change(ALLOW, "a.example", (HTTPS,), until=10.0), Change(ALLOW, "b.example", (HTTPS,)))
    assert live(changes, 9.9) == changes and live(changes, 10.0) == changes[1:]


NAMES = st.sampled_from(["api.example.com", "b.example", "a.cdn.example.com", "*.cdn.example.com", "203.0.113.7"])
PORTS = st.sampled_from(["", ":443", ":8005", ":22", ":123/udp"])


@given(st.lists(st.tuples(NAMES, PORTS), max_size=4))
def test_a_denial_never_leaves_its_target_open(words: "list[tuple[str, str]]") -> None:
    changes = [parse_change(DENY, name + port) for name, port in words]
    try:
        found = without(policy(), changes)
    except RccError:
        return  # told, and nothing changes
    for change in changes:
        for span in change.ports or (HTTPS, Ports("tcp", 8005, 8005), Ports("tcp", 22, 22)):
            target = change.target.replace("*.", "x.")
            assert not explain(found, f"{target}:{span}").allowed
