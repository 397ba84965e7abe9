"""`rcc reload`, `allow` and `deny`: what is forbidden falls silent, what is allowed never stalls."""

import json
import secrets
import shlex
import time
from typing import Any, Iterator

import pytest
from arrivals import Target, arrived, sender
from conftest import write_profile

# Sends a numbered token by each flow ten times a second, and never gives up; the recorder decides what arrived.
TALKER = """
import socket, sys, time
flows = []
for word in sys.argv[1:]:
    protocol, name, port, token = word.split(",")
    address = socket.getaddrinfo(name, int(port), socket.AF_INET)[0][4]
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
    s.settimeout(5)
    s.connect(address)
    s.setblocking(False)
    flows.append((s, token))
print("connected", flush=True)
for number in range(600):
    for s, token in flows:
        try: s.send(f"{token}-{number:03d}.".encode())
        except OSError: pass
        try: s.recv(65536)
        except OSError: pass
    time.sleep(0.1)
"""


@pytest.fixture(autouse=True)
def clean(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    lab = request.getfixturevalue("lab" if "lab" in request.fixturenames else "rootful")
    lab.run("podman rm -f -t 0 -a", timeout=60)


def profile(lab: Any, *names: str, more: str = "") -> None:
    rules = "".join(f"  - host: {name}\n    ports: [7000, 7000/udp]\n" for name in names)
    write_profile(lab, "live", f"version: 1\negress:{' []' if not names else ''}\n{rules}{more}")


def start(lab: Any) -> None:
    code, _, err = lab.run("podman run -d --name live --label rcc=live $RCC_LAB_IMAGE sleep 600", timeout=60)
    assert code == 0, err


def talk(lab: Any, *flows: str) -> None:
    """Start the talker in the container and wait until its flows are up."""
    words = shlex.join(["python3", "-uc", TALKER, *flows])
    code, _, err = lab.run(f"podman exec -d live sh -c {shlex.quote(f'exec {words} > /tmp/talk 2>&1')}")
    assert code == 0, err
    deadline = time.monotonic() + 15
    while "connected" not in (said := lab.run("podman exec live cat /tmp/talk")[1]):
        assert time.monotonic() < deadline, said
        time.sleep(0.2)


def count(lab: Any, token: str) -> int:
    return len(arrived(lab, token))


def goes_on(lab: Any, token: str) -> bool:
    before = count(lab, token)
    time.sleep(1)
    return count(lab, token) > before


def reaches(lab: Any, address: str, name: str) -> bool:
    token = "tok" + secrets.token_hex(6)
    code, _, err = lab.run(f"podman exec live {sender(token, [Target('udp', address, 7000, name)])}", timeout=30)
    assert code == 0, err
    return bool(arrived(lab, token))


def ok(lab: Any, command: str) -> str:
    code, out, err = lab.run(command, timeout=60)
    assert code == 0, (command, out, err)
    return str(out)


def test_a_reload_ends_what_it_forbids_and_keeps_what_it_allows(lab: Any) -> None:
    name, other = lab.env["RCC_LAB_NAME"], lab.env["RCC_LAB_OTHER"]
    profile(lab, name, other)
    start(lab)
    tokens = {key: f"tok{key}{secrets.token_hex(4)}" for key in ("tcpname", "udpname", "tcpother", "udpother")}
    flows = [f"{key[:3]},{name if key.endswith('name') else other},7000,{token}" for key, token in tokens.items()]
    talk(lab, *flows)
    assert all(goes_on(lab, token) for token in tokens.values())
    profile(lab, name)
    out = ok(lab, "rcc reload live")
    assert f"- {other}" in out
    time.sleep(1.5)
    for key, token in tokens.items():
        assert goes_on(lab, token) is key.endswith("name"), key
    assert not reaches(lab, lab.env["RCC_LAB_OTHER_IP4"], other)
    profile(lab, name, other)
    ok(lab, "rcc reload --all")
    assert reaches(lab, lab.env["RCC_LAB_OTHER_IP4"], other)


def test_a_broken_file_changes_nothing_and_says_why(lab: Any) -> None:
    name = lab.env["RCC_LAB_NAME"]
    profile(lab, name)
    start(lab)
    assert reaches(lab, lab.env["RCC_LAB_NAME_IP4"], name)
    profile(lab, name, more="  - hots: x.example\n")
    code, out, err = lab.run("rcc reload live", timeout=60)
    assert code == 78, (out, err)
    assert "live.yaml:5:" in out and "nothing has changed" in out
    assert reaches(lab, lab.env["RCC_LAB_NAME_IP4"], name)
    assert json.loads(ok(lab, "rcc ps --json"))[0]["generation"] == 1


def test_allow_and_deny(lab: Any) -> None:
    name, other = lab.env["RCC_LAB_NAME"], lab.env["RCC_LAB_OTHER"]
    profile(lab, name)
    start(lab)
    assert not reaches(lab, lab.env["RCC_LAB_OTHER_IP4"], other)
    out = ok(lab, f"rcc allow live {other}:7000/udp")
    assert "ports: [7000/udp]" in out
    assert reaches(lab, lab.env["RCC_LAB_OTHER_IP4"], other)
    assert reaches(lab, lab.env["RCC_LAB_NAME_IP4"], name)
    assert f"changed by rcc allow {other} 7000/udp" in ok(lab, "rcc show live")
    ok(lab, "rcc reload live")
    assert reaches(lab, lab.env["RCC_LAB_OTHER_IP4"], other), "a reload keeps what was allowed"
    token = f"tok{secrets.token_hex(4)}"
    talk(lab, f"udp,{other},7000,{token}")
    assert goes_on(lab, token)
    ok(lab, f"rcc deny live {other}")
    time.sleep(1.5)
    assert not goes_on(lab, token)
    assert not reaches(lab, lab.env["RCC_LAB_OTHER_IP4"], other)
    assert reaches(lab, lab.env["RCC_LAB_NAME_IP4"], name)
    ok(lab, f"rcc deny live {name}")
    assert not reaches(lab, lab.env["RCC_LAB_NAME_IP4"], name)


def test_an_allowance_ends_when_its_time_is_over(lab: Any) -> None:
    other = lab.env["RCC_LAB_OTHER"]
    profile(lab)
    start(lab)
    ok(lab, f"rcc allow live {other}:7000/udp --for 6s")
    token = f"tok{secrets.token_hex(4)}"
    talk(lab, f"udp,{other},7000,{token}")
    assert goes_on(lab, token)
    deadline = time.monotonic() + 20
    while goes_on(lab, token):
        assert time.monotonic() < deadline
    assert not reaches(lab, lab.env["RCC_LAB_OTHER_IP4"], other)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("allow live https://x.example", "URL"),
        ("allow live 10.1.2.3", "private"),
        ("allow live 203.0.113.7 --for 5m", "--for is for names"),
        ("allow live x.example --for soon", "duration"),
        ("allow nobody x.example", "nobody"),
        ("reload nobody", "nobody"),
        ("reload", "which container"),
    ],
)
def test_what_is_refused(rootful: Any, words: str, said: str) -> None:
    profile(rootful)
    start(rootful)
    code, out, err = rootful.run(f"rcc {words}")
    assert code != 0 and said in out + err, (out, err)
    assert json.loads(ok(rootful, "rcc ps --json"))[0]["generation"] == 1


def test_a_ceiling_binds_what_is_allowed_at_run_time(rootful: Any) -> None:
    name, other = rootful.env["RCC_LAB_NAME"], rootful.env["RCC_LAB_OTHER"]
    rootful.run(
        "cat > /etc/rcc/rcc.yaml <<'EOF'\nversion: 1\nlock:\n  ceiling:\n    egress:\n"
        f"      - host: {name}\n        ports: [7000, 7000/udp]\nEOF"
    )
    try:
        profile(rootful, name)
        start(rootful)
        code, out, err = rootful.run(f"rcc allow live {other}:7000/udp")
        assert code != 0 and "ceiling" in out + err, (out, err)
        assert not reaches(rootful, rootful.env["RCC_LAB_OTHER_IP4"], other)
    finally:
        rootful.run("rm /etc/rcc/rcc.yaml")
