"""The smallest policy that would have allowed what a container did."""

import pytest
from activity_samples import BASE, BUSY, asked, destination, odd
from rcc.app.check import check_text
from rcc.core.explain import explain, rule_text
from rcc.core.learn import MANY, learned_rules, render_learned
from rcc.core.policy import Policy
from rcc.core.policy_yaml import parse_layer


def test_what_was_used_is_what_is_learned() -> None:
    text = render_learned(BUSY, "now")
    report = check_text(text.encode(), "p.yaml", (), "profile")
    assert not report.problems
    policy = Policy("p", egress=parse_layer(text.encode(), "p.yaml").egress or ())
    assert explain(policy, "api.example.com:443").allowed and explain(policy, "203.0.113.9:8000").allowed
    for closed in ("api.example.com:22", "idle.example.com:443", "evil.example:443", "203.0.113.9:443"):
        assert not explain(policy, closed).allowed
    assert "#  - host: evil.example  # 4 times" in text and "#   idle.example.com" in text
    both = parse_layer(render_learned(BUSY, "now", refused=True).encode(), "p.yaml")
    assert explain(Policy("p", egress=both.egress or ()), "evil.example:443").allowed


def test_nothing_used_is_nothing_allowed() -> None:
    assert "egress: []" in render_learned(BASE, "now") and learned_rules(BASE) == ()


@pytest.mark.parametrize("count", [MANY - 1, MANY])
def test_wildcards_only_where_there_are_many(count: int) -> None:
    names = [f"a{number}.cdn.example" for number in range(count)]
    used = tuple(destination(f"198.51.100.{number + 1}", 443, name) for number, name in enumerate(names))
    rules = learned_rules(BASE._replace(names=tuple(map(asked, names)), used=used))
    assert len(rules) == (1 if count == MANY else count)
    other = (*used, destination("198.51.100.99", 8443, names[0]))
    assert len(learned_rules(BASE._replace(used=other))) == count, "on other ports it is another family"


@pytest.mark.parametrize("suffix", ["github.io", "com", "co.uk", "s3.amazonaws.com"])
def test_no_wildcard_under_a_suffix_that_strangers_share(suffix: str) -> None:
    names = [f"a{number}.{suffix}" for number in range(MANY * 2)]
    used = tuple(destination(f"198.51.100.{number + 1}", 443, name) for number, name in enumerate(names))
    assert len(learned_rules(BASE._replace(used=used))) == MANY * 2


def test_private_peers_and_the_host() -> None:
    activity = BASE._replace(
        names=(asked("db", "10.89.0.3", peer=True), asked("wiki.corp.example", "10.1.2.3")),
        used=(
            destination("10.89.0.3", 5432, "db"),
            destination("10.1.2.3", 443, "wiki.corp.example"),
            destination("192.0.2.1", 11434),
            destination("169.254.169.254", 80, "a.example"),
            destination("10.1.2.3", 53, protocol="udp"),
        ),
        host=("192.0.2.1",),
    )
    texts = sorted(map(rule_text, learned_rules(activity)))
    assert texts == [
        "169.254.169.254/32 80/tcp (private)",
        "host.containers.internal 11434/tcp (private)",
        "peers 5432/tcp",
        "wiki.corp.example 443/tcp (private)",
    ]
    assert not check_text(render_learned(activity, "now").encode(), "p.yaml", (), "profile").problems


def test_no_name_breaks_what_is_learned() -> None:
    text = render_learned(odd(), "now")
    assert not check_text(text.encode(), "p.yaml", (), "profile").problems
    assert all(line.isprintable() for line in text.splitlines())
    assert not [line for line in text.splitlines() if "script" in line and not line.startswith("#")]
