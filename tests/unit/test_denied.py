"""What was refused, and the line that would allow it: no more than that, and `rcc check` takes it."""

import json
from typing import Dict

import pytest
from activity_samples import BASE, BUSY, NOW, ODD, destination, odd
from rcc.app import denied
from rcc.core.activity import Activity, Destination, RefusedName
from rcc.core.explain import explain
from rcc.core.policy import Policy
from rcc.core.policy_yaml import parse_layer
from rcc.core.suggest import refusals


def lines_of(activity: Activity) -> Dict[str, str]:
    return {refusal.what: refusal.line for refusal in refusals(activity)}


def allows(line: str, target: str) -> bool:
    layer = parse_layer(f"version: 1\negress:\n  {line}\n".encode(), "p.yaml")
    return explain(Policy("p", egress=layer.egress or ()), target).allowed


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("api.example.com", "- host: api.example.com"),
        ("db", "- {host: db, private: true}"),
        ("a\\046b.example", ""),
        ("com", "- {host: com, private: true}"),
        ("_srv.example.com", "- host: _srv.example.com"),
        (ODD, ""),
    ],
)
def test_a_refused_name(name: str, line: str) -> None:
    activity = BASE._replace(refused=(RefusedName(name, "A", 1, NOW, NOW),))
    (refusal,) = refusals(activity)
    assert refusal.line == line and (line or refusal.why)
    if line:
        assert allows(line, f"{name}:443")


@pytest.mark.parametrize(
    ("one", "line"),
    [
        (destination("198.51.100.7", 22, "api.example.com"), "- {host: api.example.com, ports: [22]}"),
        (destination("198.51.100.7", 443, ODD, "api.example.com"), "- {host: api.example.com, ports: [443]}"),
        (destination("198.51.100.7", 7, protocol="udp"), "- {cidr: 198.51.100.7, ports: [7/udp]}"),
        (destination("2001:db8::7", 22), '- {cidr: "2001:db8::7", ports: [22]}'),
        (destination("10.1.2.3", 5432), "- {cidr: 10.1.2.3, ports: [5432], private: true}"),
        (destination("10.1.2.3", 5432, "db.corp.example"), "- {host: db.corp.example, ports: [5432], private: true}"),
        (destination("169.254.169.254", 80, "a.example"), "- {cidr: 169.254.169.254, ports: [80], private: true}"),
        (destination("198.51.100.7", 53, protocol="udp"), ""),
        (destination("198.51.100.7", 853), ""),
        (destination("198.51.100.7", 0, protocol="132"), ""),
    ],
)
def test_a_denied_address(one: Destination, line: str) -> None:
    (refusal,) = refusals(BASE._replace(denied=(one,)))
    assert refusal.line == line and (line or refusal.why)
    if line:
        host = f"[{one.address}]" if ":" in one.address else one.address
        target = line.partition("host: ")[2].partition(",")[0] or host
        assert allows(line, f"{target}:{one.port}/{one.protocol}")


def test_the_host_itself_is_named_and_metadata_is_warned_of() -> None:
    activity = BASE._replace(denied=(destination("192.0.2.1", 11434),), host=("192.0.2.1",))
    assert lines_of(activity) == {
        "192.0.2.1:11434/tcp": "- {host: host.containers.internal, ports: [11434], private: true}"
    }
    (refusal,) = refusals(BASE._replace(denied=(destination("169.254.169.254", 80),)))
    assert "credentials" in refusal.why


def test_record_types_of_a_name_stand_together_and_the_last_comes_first() -> None:
    found = refusals(BUSY)
    assert [refusal.what for refusal in found] == ["evil.example A AAAA", "192.168.1.7:80/tcp", "198.51.100.7:22/tcp"]
    assert (found[0].times, found[0].first, found[0].last, found[0].process) == (4, NOW - 50, NOW - 4, "curl")


def test_denied_for_people() -> None:
    text = "\n".join(denied.denied_lines([BUSY, BASE], NOW))
    assert "evil.example A AAAA by curl: 4 times, since 50s, last 4s ago\n      - host: evil.example" in text
    assert "198.51.100.7:22/tcp (api.example.com): 3 times" in text
    assert text.endswith("box (profile default): nothing was refused")
    assert denied.denied_lines([], NOW) == ["no isolated container runs"]
    assert all(line.isprintable() for line in denied.denied_lines([odd()], NOW))
    assert json.loads(json.dumps(denied.denied_data([BUSY])))[0]["refused"][0]["line"] == "- host: evil.example"


def test_follow_tells_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    more = (BUSY.refused[0]._replace(times=5), BUSY.refused[1], RefusedName("n.example", "A", 1, NOW, NOW))
    again = BUSY._replace(refused=more)
    rounds = [(BUSY,), (BUSY,), (again,), (again._replace(ended=NOW),)]
    monkeypatch.setattr(denied, "read_activities", lambda _: rounds.pop(0))
    monkeypatch.setattr(denied.time, "sleep", lambda _: None)
    told = [[(refusal.what, times) for _, refusal, times in news] for news in denied.follow("box")]
    assert told == [[], [], [("evil.example A AAAA", 2), ("n.example A", 1)], []]
    line = denied.news_line(BUSY, refusals(BUSY)[0], 2, NOW)
    assert "box: evil.example A AAAA by curl 2 times  - host: evil.example" in line
