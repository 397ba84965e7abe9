"""What becomes of a question, by name and type alone."""

from typing import Any

import pytest
from rcc.core import dns_message as dns
from rcc.core.dns_filter import ASK, EMPTY, OTHER_TYPES, REFUSE, WILD_LIMIT, Budget, Decision, decide
from rcc.core.openings import Openings
from rcc.core.policy import HTTPS, HostRule, InternetRule, PeersRule, Policy, Where

RULES = (
    HostRule("api.corp.example", False, (HTTPS,), False, Where()),
    HostRule("cdn.example", True, (HTTPS,), False, Where()),
    HostRule("www.cdn.example", False, (HTTPS,), False, Where()),
)
LIST = Openings(Policy("list", egress=RULES), ())
INTERNET = Openings(Policy("internet", egress=(InternetRule((), Where()),)), ())
NOTHING = Openings(Policy("offline"), ())
PEERS = Openings(Policy("peers", egress=(PeersRule((HTTPS,), Where()),)), ())
EVERY_TYPE = (*range(1, 66), 99, 108, 249, 250, 251, 252, 253, 254, 255, 256, 257, 32768, 65280, 65535)


def question(name: str, qtype: int = dns.A, plain: bool = True) -> Any:
    return dns.Question(1, 0, name, plain, qtype, b"\0\0\1\0\1")


@pytest.mark.parametrize("qtype", EVERY_TYPE)
def test_every_type_of_an_allowed_name(qtype: int) -> None:
    wanted = ASK if qtype in (dns.A, dns.AAAA) or qtype in OTHER_TYPES else EMPTY
    for openings, name in ((LIST, "api.corp.example"), (LIST, "www.cdn.example"), (INTERNET, "any.example")):
        assert decide(openings, question(name, qtype)) == Decision(wanted)
    assert not OTHER_TYPES & {dns.HTTPS, dns.SVCB, dns.ANY, dns.OPT}


@pytest.mark.parametrize("qtype", EVERY_TYPE)
def test_every_type_under_a_wildcard(qtype: int) -> None:
    wanted = Decision(ASK, "cdn.example") if qtype in (dns.A, dns.AAAA) else Decision(EMPTY)
    assert decide(LIST, question("a.b.cdn.example", qtype)) == wanted


@pytest.mark.parametrize("qtype", EVERY_TYPE)
@pytest.mark.parametrize(
    "name",
    [
        "other.example",
        "x.api.corp.example",
        "evilcdn.example",
        "api.corp.example.evil.example",
        "net",
        "7.2.0.192.in-addr.arpa",
        "8.b.d.0.1.0.0.2.ip6.arpa",
        "localhost",
    ],
)
def test_no_type_of_another_name_is_asked(name: str, qtype: int) -> None:
    for openings in (LIST, NOTHING, PEERS):
        assert decide(openings, question(name, qtype)) == Decision(REFUSE)


@pytest.mark.parametrize("name", ["corp.example", "example", "cdn.example"])
def test_names_above_allowed_ones_are_empty(name: str) -> None:
    assert decide(LIST, question(name)) == Decision(EMPTY)
    assert decide(NOTHING, question(name)) == Decision(REFUSE)


def test_the_root_is_empty() -> None:
    for openings in (LIST, INTERNET, NOTHING):
        assert decide(openings, question("", dns.NS)) == Decision(EMPTY)


@pytest.mark.parametrize("name", ["7.2.0.192.in-addr.arpa", "8.b.d.0.ip6.arpa"])
def test_reverse_names_are_never_asked(name: str) -> None:
    assert decide(INTERNET, question(name, dns.PTR)) == Decision(REFUSE)


@pytest.mark.parametrize("name", ["host.containers.internal", "host.docker.internal"])
def test_the_hosts_names_are_never_asked(name: str) -> None:
    rules = (HostRule(name, False, (HTTPS,), True, Where()),)
    for openings in (INTERNET, Openings(Policy("x", egress=rules), ())):
        assert decide(openings, question(name)) == Decision(EMPTY)


def test_a_name_that_only_looks_like_an_allowed_one() -> None:
    assert decide(LIST, question("api.corp.example", plain=False)) == Decision(REFUSE)
    assert decide(INTERNET, question("api.corp.example", plain=False)) == Decision(REFUSE)


def test_long_names_under_a_wildcard() -> None:
    short = ("x" * 49 + ".") * 2
    assert len(short) == WILD_LIMIT
    assert decide(LIST, question(short + "cdn.example")).what == ASK
    assert decide(LIST, question("y" + short + "cdn.example")).what == REFUSE


def test_a_budget() -> None:
    budget = Budget(3, 2.0)
    assert [budget.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert [budget.take(100.5) for _ in range(2)] == [True, False]
    assert [budget.take(10_000.0) for _ in range(4)] == [True, True, True, False]
