"""Names: addresses that change, names that are dead, slow or doubled."""

import json
import time
from typing import Any, Iterator

import pytest
from arrivals import Target, arrived, sender
from conftest import write_profile


@pytest.fixture(autouse=True)
def zone(request: pytest.FixtureRequest) -> Iterator[None]:
    lab = request.getfixturevalue("lab" if "lab" in request.fixturenames else "rootful")
    keep = lab.run("cat $RCC_LAB_ZONE")[1]
    yield
    lab.run(f"cat > $RCC_LAB_ZONE <<'EOF'\n{keep}\nEOF")
    lab.run("podman rm -f -t 0 -a", timeout=60)


def reaches(lab: Any, container: str, address: str, name: str = "") -> bool:
    """Whether a datagram from the container to ``address`` arrives, after it has asked for ``name``."""
    token = f"tok{time.monotonic_ns()}"
    code, _, err = lab.run(f"podman exec {container} {sender(token, [Target('udp', address, 7000, name)])}", timeout=30)
    assert code == 0, err
    return bool(arrived(lab, token))


def test_an_address_that_changes_is_followed_and_the_old_one_expires(rootful: Any) -> None:
    lab = rootful
    one, two = lab.env["RCC_LAB_NAME_IP4"], lab.env["RCC_LAB_OTHER_IP4"]
    lab.run(f"printf 'moving.example 1 A {one}\\n' >> $RCC_LAB_ZONE")
    write_profile(
        lab,
        "moving",
        "version: 1\negress:\n  - host: moving.example\n    ports: [7000/udp]\ndns: {mode: static, refresh: 2s}\n",
    )
    code, _, err = lab.run("podman run -d --name mover --label rcc=moving $RCC_LAB_IMAGE sleep 300", timeout=60)
    assert code == 0, err
    assert reaches(lab, "mover", one) and not reaches(lab, "mover", two)
    lab.run(f"sed -i 's/^moving.example.*/moving.example 1 A {two}/' $RCC_LAB_ZONE")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (reaches(lab, "mover", two) and not reaches(lab, "mover", one)):
        time.sleep(1)
    assert reaches(lab, "mover", two), "the new address is open"
    assert not reaches(lab, "mover", one), "the old one has expired"


def test_a_dead_and_a_doubled_name_stop_nothing_and_open_nothing(rootful: Any) -> None:
    lab = rootful
    write_profile(
        lab,
        "dead",
        "version: 1\negress:\n  - host: nowhere.example\n    ports: [7000/udp]\n"
        f"  - host: {lab.env['RCC_LAB_NAME']}\n    ports: [7000/udp]\n"
        f"  - host: {lab.env['RCC_LAB_NAME'].upper()}.\n    ports: [7000/udp]\n",
    )
    code, _, err = lab.run("podman run -d --name patient --label rcc=dead $RCC_LAB_IMAGE sleep 300", timeout=60)
    assert code == 0, err
    assert reaches(lab, "patient", lab.env["RCC_LAB_NAME_IP4"], lab.env["RCC_LAB_NAME"])
    assert not reaches(lab, "patient", lab.env["RCC_LAB_OTHER_IP4"], "nowhere.example")


def test_a_name_that_answers_with_a_private_address_opens_nothing(rootful: Any) -> None:
    lab = rootful
    lan = lab.env["RCC_LAB_LAN_IP4"]
    lab.run(f"printf 'rebind.example 60 A {lan}\\n' >> $RCC_LAB_ZONE")
    for private, wanted in (("false", False), ("true", True)):
        write_profile(
            lab,
            "rebind",
            f"version: 1\negress:\n  - host: rebind.example\n    ports: [7000/udp]\n    private: {private}\n",
        )
        code, _, err = lab.run(
            f"podman run -d --name rebind{private} --label rcc=rebind $RCC_LAB_IMAGE sleep 300", timeout=60
        )
        assert code == 0, err
        assert reaches(lab, f"rebind{private}", lan, "rebind.example") is wanted


def test_a_silent_resolver_delays_but_stops_nothing(rootful: Any) -> None:
    """The names of the policy cannot be asked for: the container starts, closed."""
    lab = rootful
    text = "version: 1\negress:\n  - host: never-asked-before.example\n    ports: [7000/udp]\ndns: {mode: static}\n"
    write_profile(lab, "slow", text)
    lab.run("cp /etc/resolv.conf resolv.keep; echo nameserver 192.168.77.250 > /etc/resolv.conf")
    try:
        code, _, err = lab.run("podman run -d --name slow --label rcc=slow $RCC_LAB_IMAGE sleep 300", timeout=60)
    finally:
        lab.run("cat resolv.keep > /etc/resolv.conf; rm resolv.keep")
    assert code == 0, err
    assert not reaches(lab, "slow", lab.env["RCC_LAB_NAME_IP4"])


def test_without_the_agent_everything_stays_as_closed_as_it_was(lab: Any) -> None:
    kill = "pkill -9 -f '^/usr/bin/python3 -IS /usr/libexec/rcc/rcc-' && sleep 0.2"
    code, _, err = lab.run("podman run -d --name orphan --label rcc=1 $RCC_LAB_IMAGE sleep 300", timeout=60)
    assert code == 0, err
    assert reaches(lab, "orphan", lab.env["RCC_LAB_NAME_IP4"], lab.env["RCC_LAB_NAME"])
    assert lab.run(kill)[0] == 0, "the agent ran"
    assert reaches(lab, "orphan", lab.env["RCC_LAB_NAME_IP4"]), "what was open stays open for its time"
    assert not reaches(lab, "orphan", lab.env["RCC_LAB_OTHER_IP4"])
    # The next start does the work itself and brings another agent, which takes over what is on record.
    code, _, err = lab.run("podman run -d --name next --label rcc=1 $RCC_LAB_IMAGE sleep 300", timeout=60)
    assert code == 0, err
    assert not reaches(lab, "next", lab.env["RCC_LAB_OTHER_IP4"])
    lab.run(kill)
    assert lab.run("podman rm -f -t 0 orphan next")[0] == 0
    assert json.loads(lab.run("rcc ps --json")[1]) == [], "poststop does without the agent, too"


def test_show_and_explain_name_the_deciding_line(rootful: Any) -> None:
    lab = rootful
    code, _, err = lab.run("podman run -d --name shown --label rcc=1 $RCC_LAB_IMAGE sleep 300", timeout=60)
    assert code == 0, err
    out = lab.run("rcc show shown")[1]
    assert lab.env["RCC_LAB_NAME"] in out and "default.yaml:3:" in out
    code, out, _ = lab.run("rcc explain --json $RCC_LAB_NAME:443")
    assert code == 0 and json.loads(out)["allowed"] and "default.yaml:3:" in json.loads(out)["where"]
    code, out, _ = lab.run("rcc explain --json --container shown $RCC_LAB_OTHER:443")
    assert code == 1 and not json.loads(out)["allowed"]
    assert lab.run("rcc show nobody")[0] != 0
    code, _, err = lab.run("rcc check $RCC_LAB_PROFILES/default.yaml")
    assert code == 0, err
