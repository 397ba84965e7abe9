"""The agent beside real containers: killed, missing, without room to write: never wider, and back without help."""

import json
import secrets
import shlex
import time
from typing import Any, Iterator

import pytest
from arrivals import Target, arrived, sender
from conftest import write_profile

# Tries a forbidden address and asks for a forbidden name, all the time, and looks up an allowed name beside.
RESTLESS = """
import socket, sys, time
token, other, name = sys.argv[1:4]
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
end = time.monotonic() + float(sys.argv[4])
good = bad = 0
slowest = 0.0
since = time.monotonic()
while time.monotonic() < end:
    try: udp.sendto(token.encode(), (other, 7000))
    except OSError: pass
    try: socket.getaddrinfo(token + ".example", 80, socket.AF_INET)
    except OSError: pass
    try:
        socket.getaddrinfo(name, 80, socket.AF_INET)
        slowest = max(slowest, time.monotonic() - since)
        since = time.monotonic()
        good += 1
    except OSError:
        bad += 1
    time.sleep(0.01)
print(good, bad, slowest)
"""
AGENT = "libexec/rcc/[r]cc-agent"
KEPT = "libexec/rcc/[r]cc-"  # the agent and its keeper


@pytest.fixture(autouse=True)
def clean(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    lab = request.getfixturevalue("lab" if "lab" in request.fixturenames else "rootful")
    lab.run("podman rm -f -t 0 -a", timeout=60)


def ok(lab: Any, command: str, timeout: float = 60) -> str:
    code, out, err = lab.run(command, timeout=timeout)
    assert code == 0, (command, out, err)
    return str(out)


def start(lab: Any, flags: str = "--label rcc=1", name: str = "box") -> None:
    ok(lab, f"podman run -d --name {name} {flags} $RCC_LAB_IMAGE sleep 600")


def reaches(lab: Any, name: str = "box") -> bool:
    token = "tok" + secrets.token_hex(6)
    target = Target("udp", lab.env["RCC_LAB_NAME_IP4"], 7000, lab.env["RCC_LAB_NAME"])
    ok(lab, f"podman exec {name} {sender(token, [target])}")
    return bool(arrived(lab, token))


def restless(lab: Any, name: str, token: str, seconds: float) -> str:
    words = ["python3", "-c", RESTLESS, token, lab.env["RCC_LAB_OTHER_IP4"], lab.env["RCC_LAB_NAME"], str(seconds)]
    return f"podman exec {name} {shlex.join(words)}"


def test_killed_again_and_again_while_a_container_tries_everything(lab: Any) -> None:
    """A hundred times, now the agent and now its keeper, at any moment."""
    start(lab)
    start(lab, "", "plain")
    token = "tok" + secrets.token_hex(6)
    victim = f"$(pgrep -f {KEPT} | shuf -n 1)"
    kill = f"for n in $(seq 100); do kill -9 {victim} 2>/dev/null; sleep 0.$((n % 4))$((n % 9 + 1)); done"
    out = ok(lab, f"({kill}) & {restless(lab, 'box', token, 30)}; wait", 120)
    good, bad, slowest = out.split()
    print(f"{good} lookups worked, {bad} did not, the slowest waited {float(slowest):.2f} s")
    assert int(good) > 100, out
    assert not arrived(lab, token), "neither the datagrams nor the name"
    ok(lab, restless(lab, "plain", token, 0.5))
    assert arrived(lab, token), "or this proves nothing"
    assert reaches(lab)
    deadline = time.monotonic() + 10
    while ok(lab, f"pgrep -fc {KEPT}").strip() != "3":  # one that works, one that keeps it, and the spare
        assert time.monotonic() < deadline, ok(lab, f"pgrep -fa {KEPT}")
        time.sleep(0.2)


def test_all_agents_at_once_a_hundred_times(rootful: Any) -> None:
    """`pkill rcc-agent` again and again: the keeper is no agent, and brings one back each time."""
    start(rootful)
    token = "tok" + secrets.token_hex(6)
    kill = f"for n in $(seq 100); do pkill -9 -f {AGENT}; sleep 0.1; done"
    ok(rootful, f"({kill}) & {restless(rootful, 'box', token, 15)}; wait", 120)
    assert not arrived(rootful, token) and reaches(rootful)


def test_when_all_of_it_is_killed_the_next_command_brings_it_back(lab: Any) -> None:
    start(lab)
    assert reaches(lab)
    ok(lab, f"pkill -9 -f {KEPT}")
    token = "tok" + secrets.token_hex(6)
    ok(lab, restless(lab, "box", token, 1))
    assert not arrived(lab, token)
    ok(lab, "rcc reload box")
    assert reaches(lab)
    ok(lab, f"pkill -9 -f {KEPT}")
    start(lab, name="next")
    assert reaches(lab) and reaches(lab, "next"), "and so does the next start"


def test_stopped_and_continued_it_goes_on(lab: Any) -> None:
    start(lab)
    ok(lab, f"pkill -STOP -f {KEPT}")
    token = "tok" + secrets.token_hex(6)
    ok(lab, restless(lab, "box", token, 1))
    assert not arrived(lab, token)
    ok(lab, f"pkill -CONT -f {KEPT}")
    deadline = time.monotonic() + 15
    while not reaches(lab):
        assert time.monotonic() < deadline


@pytest.fixture
def cramped(rootful: Any) -> Iterator[Any]:
    """A lab whose state folder is a small file system of its own."""
    from session import Lab

    with Lab() as lab:
        words = {key[8:]: value for key, value in lab.env.items() if key.startswith("RCC_LAB_")}
        write_profile(lab, "default", "version: 1\negress:\n  - host: {NAME}\n    ports: [7000/udp]\n".format(**words))
        write_profile(lab, "both", "version: 1\nextends: default\negress:\n  - host: {OTHER}\n".format(**words))
        ok(lab, "mkdir -m 700 -p /run/rcc && mount -t tmpfs -o size=256k,mode=700 tmpfs /run/rcc")
        yield lab


def test_a_full_disk_refuses_and_widens_nothing(cramped: Any) -> None:
    start(cramped)
    assert reaches(cramped)
    ok(cramped, "dd if=/dev/zero of=/run/rcc/filler bs=1k count=1024 2>/dev/null; test -s /run/rcc/filler")
    code, _, err = cramped.run("podman run --rm --label rcc=1 $RCC_LAB_IMAGE true", timeout=60)
    assert code != 0 and "No space left" in err, err
    write_profile(cramped, "default", "version: 1\negress: []\n")
    code, out, err = cramped.run("rcc reload box", timeout=60)
    assert code != 0 and "No space left" in out + err and "nothing has changed" in out + err, (out, err)
    assert reaches(cramped), "nor has it"
    code, out, err = cramped.run(f"rcc allow box {cramped.env['RCC_LAB_OTHER']}", timeout=60)
    assert code != 0 and "No space left" in out + err
    ok(cramped, f"pkill -9 -f {KEPT}")
    time.sleep(1)
    token = "tok" + secrets.token_hex(6)
    ok(cramped, restless(cramped, "box", token, 1))
    assert not arrived(cramped, token)
    ok(cramped, "rm /run/rcc/filler")
    ok(cramped, "rcc reload box")
    assert not reaches(cramped), "the file says so now"
    ok(cramped, "podman run --rm --label rcc=1 $RCC_LAB_IMAGE true")


def test_a_folder_that_cannot_be_written_refuses(cramped: Any) -> None:
    ok(cramped, "mount -o remount,ro /run/rcc")
    code, _, err = cramped.run("podman run --rm --label rcc=1 $RCC_LAB_IMAGE true", timeout=60)
    assert code != 0 and "Read-only file system" in err, err
    ok(cramped, "podman run --rm $RCC_LAB_IMAGE true")
    ok(cramped, "mount -o remount,rw /run/rcc")
    ok(cramped, "podman run --rm --label rcc=1 $RCC_LAB_IMAGE true")


def test_a_clock_that_is_set_opens_nothing(cramped: Any) -> None:
    """In a time namespace of the agent's own the boot clock is another: lifetimes are the kernel's and the agent's."""
    start(cramped)
    ok(cramped, f"rcc allow box {cramped.env['RCC_LAB_OTHER']}:7000/udp --for 4s")
    record = json.loads(ok(cramped, "cat /run/rcc/netns/*.json"))
    (change,) = record["changes"]
    boot = float(ok(cramped, "cut -d' ' -f1 /proc/uptime"))
    assert abs(change["until"] - boot) < 10, "the boot clock, which nobody can set"
    deadline = time.monotonic() + 20
    while json.loads(ok(cramped, "cat /run/rcc/netns/*.json"))["changes"]:
        assert time.monotonic() < deadline
        time.sleep(0.3)
