"""Rendered rulesets against files; ``make golden`` rewrites them, and the diff is reviewed."""

import os
from ipaddress import ip_address, ip_network
from typing import Dict

import pytest
from rcc.core.compile import Facts, compile_ruleset
from rcc.core.errors import KernelError
from rcc.core.notes import Noted, Notes, Total
from rcc.core.policy import HTTPS, CidrRule, HostRule, InternetRule, Limits, Policy, Ports, Where
from rcc.core.refresh_nft import render_refresh
from rcc.core.render_nft import PART, render_nft, render_timed
from rcc.core.ruleset import Element, Ruleset

HERE = os.path.dirname(__file__)
NAMES = (
    ("api.example", ((ip_address("198.51.100.7"), 60), (ip_address("2001:db8::7"), 9000))),
    ("api.example", ((ip_address("10.0.0.1"), 60),)),
    ("db.corp.example", ((ip_address("10.1.2.3"), 300), (ip_address("127.0.0.1"), 300))),
)
FULL = Policy(
    "full",
    egress=(
        HostRule("api.example", False, (HTTPS, Ports("udp", 443, 443)), False, Where()),
        HostRule("db.corp.example", False, (Ports("tcp", 5432, 5440),), True, Where()),
        CidrRule(ip_network("203.0.113.0/24"), (Ports("tcp", 8000, 8100),), False, Where()),
        InternetRule((Ports("tcp", 80, 80),), Where()),
    ),
    ingress="published",
    limits=Limits(egress_rate=50_000_000, egress_quota=10 << 30),
    dns_mode="static",
    on_denied="drop",
)
FACTS = Facts(
    answers=NAMES,
    former=(("api.example", ((ip_address("198.51.100.6"), 60),)),),
    host_addresses=(ip_address("192.0.2.1"), ip_address("2001:db8:1::1")),
    resolvers=(ip_address("10.88.0.1"), ip_address("fd00::1")),
    published=(Ports("tcp", 8080, 8080),),
)
NOTES = Notes(
    totals=(Total("denied", 7, 420), Total("malformed", 1, 60)),
    quota_used=4096,
    denied=(Noted(ip_address("192.0.2.9"), "tcp", 22, 7, 420, 86000),),
    denied_since=(Noted(ip_address("192.0.2.9"), "tcp", 22, left=80000),),
    used=(Noted(ip_address("2001:db8::7"), "udp", 443, 1, 60, 10),),
)
OFFLINE = compile_ruleset(Policy("offline"), Facts(), 1)
MOVED = FACTS._replace(answers=(("api.example", ((ip_address("198.51.100.8"), 60), (ip_address("2001:db8::7"), 60))),))

TEXTS: Dict[str, str] = {
    "offline.nft": render_nft(OFFLINE, "4026532000.1"),
    "full.nft": render_nft(compile_ruleset(FULL, FACTS, 258), "4026532000.258", NOTES),
    "moved.nft": render_refresh(compile_ruleset(FULL, FACTS, 258), compile_ruleset(FULL, MOVED, 258)),
}


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_golden(name: str) -> None:
    path = os.path.join(HERE, name)
    if os.environ.get("RCC_GOLDEN"):
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(TEXTS[name])
    with open(path, encoding="utf-8") as stream:
        assert TEXTS[name] == stream.read()


@pytest.mark.parametrize("ident", ["", 'a"b', "a b", "a\n", "\u00e4", "x" * 101])
def test_idents_that_no_comment_holds(ident: str) -> None:
    with pytest.raises(KernelError):
        render_nft(OFFLINE, ident)


@pytest.mark.parametrize("generation", [0, -1, 65536])
def test_generations_beyond_the_mark(generation: int) -> None:
    with pytest.raises(KernelError):
        render_nft(OFFLINE._replace(generation=generation), "x")


def test_nothing_to_change() -> None:
    assert render_refresh(OFFLINE, OFFLINE) == ""


def test_only_the_first_part_has_rules() -> None:
    many = tuple(Element(ip_network(f"2001:db8:{number:x}::1"), HTTPS, 60) for number in range(2 * PART + 1))
    parts = render_nft(Ruleset(1, allowed=many), "x").split("\n\n")
    assert len(parts) == 4
    assert all(part.startswith("add element inet rcc allowed_names6_1 {") for part in parts[1:])
    for part in render_timed(Ruleset(1, allowed=many)).split("\n\n"):
        assert part.count("add element") == 2 and part.count("delete element") == 1
