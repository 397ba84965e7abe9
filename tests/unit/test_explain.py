"""Which line decides about a destination."""

from typing import Tuple

import pytest
from rcc.app.explain import explain_data, explain_lines
from rcc.core.errors import EX_USAGE
from rcc.core.explain import TargetError, explain, parse_target
from rcc.core.layers import merge_profile
from rcc.core.policy import Policy
from rcc.core.sources import PROFILE, Source

TEXT = b"""version: 1
egress:
  - host: api.example.com
  - host: "*.cdn.example.com"
    ports: [443, 443/udp]
  - host: db.corp.example
    ports: [5432]
    private: true
  - cidr: 203.0.113.0/24
    ports: [8000-8100]
  - cidr: 10.1.0.0/16
    ports: [22]
    private: true
  - cidr: 2001:db8::/32
    ports: [443]
"""
INTERNET = b"version: 1\negress:\n  - internet: true\n    ports: [443]\n"


def policy(text: bytes = TEXT) -> Policy:
    return merge_profile("p", (Source("user", PROFILE, "p", "p.yaml", text),))


@pytest.mark.parametrize(
    ("target", "allowed", "line", "word"),
    [
        ("api.example.com", True, 3, "public addresses only"),
        ("API.example.com.:443", True, 3, ""),
        ("api.example.com:443/udp", False, 3, "other ports: 443/tcp"),
        ("api.example.com:80", False, 3, "other ports"),
        ("x.api.example.com", False, 0, "no egress entry"),
        ("a.cdn.example.com:443/udp", True, 4, "host: *.cdn.example.com allows it"),
        ("a.cdn.example.com:80", False, 4, "other ports"),
        ("cdn.example.com", False, 0, "does not include the name"),
        ("db.corp.example:5432", True, 6, "private addresses"),
        ("203.0.113.9:8050", True, 9, "allows it"),
        ("203.0.113.9:8101", False, 9, "other ports"),
        ("203.0.114.9:8050", False, 0, "no egress entry has this address"),
        ("10.1.2.3:22", True, 11, "private: true"),
        ("10.1.2.3:5432", False, 0, "db.corp.example"),
        ("10.2.2.3:22", False, 0, "stays closed"),
        ("169.254.169.254:80", False, 0, "stays closed"),
        ("[fd00:ec2::254]:80", False, 0, "stays closed"),
        ("::ffff:203.0.113.9", False, 0, "stays closed"),
        ("2001:db8::1", True, 14, "allows it"),
        ("[2001:db8::1]:443", True, 14, "allows it"),
        ("[2001:db8::1]", True, 14, "allows it"),
        ("[2001:db8::1]:80", False, 14, "other ports"),
        ("127.0.0.1:5000", True, 0, "itself"),
        ("::1", True, 0, "itself"),
        ("localhost:80", True, 0, "itself"),
        ("198.51.100.1", False, 0, "one of these names stands for it: api.example.com"),
    ],
)
def test_the_line_that_decides(target: str, allowed: bool, line: int, word: str) -> None:
    found = explain(policy(), target)
    assert found.allowed is allowed
    assert found.where.line == line
    assert word in "\n".join(found.why)
    assert (found.rule is None) == (line == 0)


@pytest.mark.parametrize(
    ("target", "allowed"),
    [
        ("any.example:443", True),
        ("any.example:80", False),
        ("198.51.100.1:443", True),
        ("198.51.100.1:443/udp", False),
        ("192.168.1.1:443", False),
        ("[fe80::1]:443", False),
        ("100.64.0.1:443", False),
    ],
)
def test_the_internet_is_every_public_address_and_no_other(target: str, allowed: bool) -> None:
    assert explain(policy(INTERNET), target).allowed is allowed


def test_an_empty_policy_allows_nothing() -> None:
    found = explain(Policy("offline"), "api.example.com")
    assert not found.allowed and "no destination at all" in found.why[0]


def test_with_static_names_a_wildcard_opens_nothing() -> None:
    found = explain(policy(TEXT + b"dns: {mode: static}\n"), "a.cdn.example.com")
    assert not found.allowed and "static" in found.why[0] and found.where.line == 4


@pytest.mark.parametrize("target", ["api.example.com:53/udp", "203.0.113.9:53", "a.example:853", "10.1.2.3:853"])
def test_the_ports_of_dns_are_nobodys(target: str) -> None:
    found = explain(policy(), target)
    assert not found.allowed and ("port 53" in found.why[0] or "port 853" in found.why[0])


def test_a_peer_may_be_meant() -> None:
    found = explain(policy(b"version: 1\negress:\n  - peers: true\n    ports: [5432]\n"), "db:5432")
    assert not found.allowed and "peers: true opens it if it names a container" in "\n".join(found.why)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a.example", "a.example:443/tcp"),
        ("a.example/udp", "a.example:443/udp"),
        ("a.example:53/udp", "a.example:53/udp"),
        (" 192.0.2.1:80 ", "192.0.2.1:80/tcp"),
        ("2001:DB8::1", "[2001:db8::1]:443/tcp"),
        ("[2001:db8::1]:53/udp", "[2001:db8::1]:53/udp"),
        ("bücher.example", "xn--bcher-kva.example:443/tcp"),
    ],
)
def test_a_target_is_read(text: str, shown: str) -> None:
    assert str(parse_target(text)) == shown


@pytest.mark.parametrize(
    "text",
    ["", ":443", "a.example:", "a.example:0", "a.example:80-90", "a.example:443/sctp", "https://a.example", "[::1",
     "[::1]443",
     "a b", "1.2.3.4.5", "192.0.2.0/24", "a.example:443:80x", "[a.example]:443x", "\0", "a" * 5000],
)  # fmt: skip
def test_what_is_no_target_is_refused(text: str) -> None:
    with pytest.raises(TargetError) as raised:
        parse_target(text)
    assert raised.value.exit_code == EX_USAGE and raised.value.message.isprintable()


def test_the_stronger_of_two_lines_is_named() -> None:
    text = b"version: 1\negress:\n  - host: a.example\n  - host: a.example\n    private: true\n"
    why: Tuple[str, ...] = explain(policy(text), "a.example").why
    assert "private addresses" in why[0]


def test_an_explanation_is_lines_and_data() -> None:
    found = explain(policy(), "api.example.com:80")
    assert explain_lines(found) == [
        "api.example.com:80/tcp is not allowed",
        "    decided by p.yaml:3:5",
        "    host: api.example.com is for other ports: 443/tcp",
    ]
    data = explain_data(found)
    assert (data["target"], data["allowed"], data["where"]) == ("api.example.com:80/tcp", False, "p.yaml:3:5")
    assert data["rule"]["host"] == "api.example.com"
    assert explain_data(explain(policy(), "10.2.2.3"))["rule"] is None
