"""Policies as plain data: the way back is exact, and nothing but a policy comes back."""

import json
import subprocess
import sys
from ipaddress import ip_network
from typing import Any, Callable, Dict

import pytest
from rcc.core.errors import RccError
from rcc.core.policy import CidrRule, HostRule, ImageRules, InternetRule, Limits, PeersRule, Policy, Ports, Where
from rcc.core.policy_json import policy_from_data, policy_to_data, ports_from_text

PORTS = (Ports("tcp", 443, 443), Ports("udp", 8000, 8100))
WHERE = Where("/etc/rcc/profiles/a:b.yaml", 3, 5)
POLICY = Policy(
    "p",
    (
        HostRule("api.example.com", False, PORTS, True, WHERE),
        HostRule("example.com", True, PORTS, False, Where()),
        CidrRule(ip_network("203.0.113.0/24"), PORTS, False, WHERE),
        CidrRule(ip_network("fd00::/8"), PORTS, True, WHERE),
        PeersRule(PORTS, WHERE),
        InternetRule((), WHERE),
    ),
    ingress="published",
    dns_mode="static",
    dns_refresh=60,
    limits=Limits(memory=8 << 30, cpus=0.5, egress_quota=1),
    image=ImageRules(("ghcr.io/acme/*",), True),
    on_denied="drop",
    mode="learn",
    origins=(("ingress", WHERE),),
    files=("/a", "/b"),
)


@pytest.mark.parametrize("policy", [POLICY, Policy("empty")])
def test_the_way_back_is_exact_through_json_too(policy: Policy) -> None:
    data = policy_to_data(policy)
    assert policy_from_data(data) == policy
    assert policy_from_data(json.loads(json.dumps(data))) == policy


def test_the_data_can_be_read_by_people() -> None:
    data = policy_to_data(POLICY)
    assert data["egress"][1] == {
        "host": "*.example.com",
        "ports": ["443/tcp", "8000-8100/udp"],
        "private": False,
        "where": ["", 0, 0],
    }
    assert data["limits"] == {"memory": 8 << 30, "cpus": 0.5, "egress_quota": 1}


def change(path: str, value: Any) -> Callable[[Dict[str, Any]], None]:
    def apply(data: Dict[str, Any]) -> None:
        *parents, last = path.split(".")
        place: Any = data
        for key in parents:
            place = place[int(key)] if isinstance(place, list) else place[key]
        place[last] = value

    return apply


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data.pop("egress"),
        change("name", None),
        change("egress", {}),
        change("egress", None),
        change("egress.0.ports", []),
        change("egress.0.ports", ["0/tcp"]),
        change("egress.0.ports", ["65536/tcp"]),
        change("egress.0.ports", ["443/sctp"]),
        change("egress.0.ports", ["443"]),
        change("egress.0.ports", ["9-8/tcp"]),
        change("egress.0.ports", [443]),
        change("egress.0.private", 1),
        change("egress.0.host", ""),
        change("egress.0.host", "*.*.example.com"),
        change("egress.0.host", "API.example.com"),
        change("egress.0.host", 5),
        change("egress.0.where", ["x"]),
        change("egress.0.where", ["x", "1", 2]),
        change("egress.2.cidr", "203.0.113.1/24"),
        change("egress.2.cidr", 5),
        change("egress.4.peers", False),
        change("ingress", "all"),
        change("ingress", ["none"]),
        change("dns.mode", "off"),
        change("dns.refresh", 0),
        change("dns.refresh", True),
        change("limits.memory", "8G"),
        change("limits.memory", 1.5),
        change("limits.cpus", float("inf")),
        change("limits.cpus", float("nan")),
        change("limits.speed", 1),
        change("image.allow", "x"),
        change("image.require_digest", "no"),
        change("on_denied", "accept"),
        change("mode", "open"),
        change("origins", [["a"]]),
        change("files", [1]),
    ],
)
def test_anything_else_is_refused(spoil: Callable[[Dict[str, Any]], None]) -> None:
    data = policy_to_data(POLICY)
    spoil(data)
    with pytest.raises(RccError, match="no policy"):
        policy_from_data(data)


@pytest.mark.parametrize("data", [None, [], "x", 5, {}, {"name": "x"}])
def test_what_is_no_policy_at_all_is_refused(data: Any) -> None:
    with pytest.raises(RccError):
        policy_from_data(data)


@pytest.mark.parametrize("text", ["", "/", "443/", "0443/tcp", " 443/tcp", "443-443/tcp", "4_4/tcp", "a/tcp"])
def test_ports_have_one_spelling(text: str) -> None:
    with pytest.raises(ValueError):
        ports_from_text(text)


def test_a_start_with_a_cached_policy_imports_no_parser() -> None:
    script = "import sys, rcc.core.policy_json, rcc.core.within, rcc.system.configfiles; print(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-IS", "-c", f"import sys; sys.path[:0] = {['hooks']!r}; {script}"],
        capture_output=True,
        text=True,
        check=True,
    )
    heavy = {"yaml", "json", "dataclasses", "inspect", "pathlib", "subprocess", "logging", "difflib", "encodings.idna"}
    assert not heavy & set(found.stdout.split())
