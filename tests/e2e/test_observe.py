"""`rcc denied`, `learn`, `top`, `report`, `metrics`: what a container did is known, named and of use."""

import json
import secrets
import shlex
import time
from typing import Any, Iterator

import pytest
from arrivals import Target, arrived, sender
from conftest import write_profile

# Two names, one of them refused where the policy has only the first; an address and a port that are closed.
DOINGS = """
curl -sk -m 5 -o /dev/null https://$NAME/
curl -sk -m 5 -o /dev/null https://$OTHER/
curl -s -m 5 -o /dev/null http://$NAME:22/
curl -s -m 5 -o /dev/null http://$LAN_IP4/
"""

TALK = """
import socket, time
s = socket.create_connection(("NAME", 7000))
while True:
    s.send(b"x" * 2000); s.recv(9000); time.sleep(0.1)
"""


@pytest.fixture(autouse=True)
def clean(lab: Any) -> Iterator[None]:
    words = {key[8:]: value for key, value in lab.env.items() if key.startswith("RCC_LAB_")}
    write_profile(lab, "one", "version: 1\negress:\n  - host: {NAME}\n    ports: [443, 7000/udp]\n".format(**words))
    write_profile(lab, "study", "version: 1\nmode: learn\n")
    yield
    lab.run("podman rm -f -t 0 -a", timeout=60)


def ok(lab: Any, command: str) -> str:
    code, out, err = lab.run(command, timeout=60)
    assert code == 0, (command, out, err)
    return str(out)


def start(lab: Any, profile: str, name: str = "box") -> str:
    code, _, err = lab.run(f"podman run -d --name {name} --label rcc={profile} $RCC_LAB_IMAGE sleep 600", timeout=60)
    assert code == 0, err
    return str(err)


def does(lab: Any, script: str, name: str = "box") -> None:
    for key in ("OTHER_IP4", "LAN_IP4", "NAME", "OTHER"):
        script = script.replace(f"${key}", lab.env[f"RCC_LAB_{key}"])
    lab.run(f"podman exec {name} sh -c {shlex.quote(script)}", timeout=60)


def refused(lab: Any, name: str = "box") -> Any:
    (row,) = json.loads(ok(lab, f"rcc denied --json {name}"))
    return {refusal["what"].split()[0]: refusal for refusal in row["refused"]}


def test_what_was_refused_by_name_address_port_and_process(lab: Any) -> None:
    name, other, lan = lab.env["RCC_LAB_NAME"], lab.env["RCC_LAB_OTHER"], lab.env["RCC_LAB_LAN_IP4"]
    start(lab, "one")
    assert refused(lab) == {}
    does(lab, DOINGS)
    does(lab, DOINGS)
    found = refused(lab)
    assert found[other]["line"] == f"- host: {other}" and found[other]["process"] == "curl"
    ssh = found[f"{lab.env['RCC_LAB_NAME_IP4']}:22/tcp"]
    assert ssh["line"] == f"- {{host: {name}, ports: [22]}}" and ssh["names"] == [name]
    assert ssh["times"] >= 2 and ssh["first"] < ssh["last"] <= time.time() + 1
    assert found[f"{lan}:80/tcp"]["line"] == f"- {{cidr: {lan}, ports: [80], private: true}}"
    text = ok(lab, "rcc denied")
    assert f"{other} A" in text and "by curl" in text and f"- host: {other}" in text


def test_the_log_tells_every_decision(lab: Any) -> None:
    name, other, lan = lab.env["RCC_LAB_NAME"], lab.env["RCC_LAB_OTHER"], lab.env["RCC_LAB_LAN_IP4"]
    log = "$XDG_RUNTIME_DIR/rcc/agent.log" if lab.rootless else "/run/rcc/agent.log"
    box = f"told-{secrets.token_hex(4)}"
    start(lab, "one", box)
    does(lab, DOINGS, box)
    time.sleep(6)
    ok(lab, f"rcc allow {box} {other}:443")
    does(lab, "curl -s -m 5 -o /dev/null http://$OTHER_IP4:8080/", box)
    ok(lab, f"podman rm -f -t 0 {box}")
    time.sleep(2)
    lines = [json.loads(line) for line in ok(lab, f"grep -h {box} {log}").splitlines()]
    told = [line["event"] for line in lines]
    assert [event for event in told if event != "reloaded"] == ["isolated", "denied", "allow", "denied", "ended"]
    assert (lines[0]["profile"], lines[0]["mode"], lines[0]["dns"]) == ("one", "enforce", "gateway")
    assert {f"{lan}:80/tcp", f"{lab.env['RCC_LAB_NAME_IP4']}:22/tcp ({name})"} <= set(lines[1]["destinations"])
    short = ok(lab, f"grep -h dns_refused {log} | grep {other} | tail -n 1")
    assert json.loads(short)["process"] == "curl"


def test_the_line_that_is_told_is_the_line_that_opens_it(lab: Any) -> None:
    other = lab.env["RCC_LAB_OTHER"]
    start(lab, "one")
    does(lab, "curl -sk -m 5 -o /dev/null https://$OTHER/")
    line = refused(lab)[other]["line"]
    profile = ok(lab, "cat $RCC_LAB_PROFILES/one.yaml") + f"  {line}\n"
    write_profile(lab, "one", profile)
    ok(lab, "rcc reload box")
    out = ok(lab, f"podman exec box curl -sk -m 5 https://{other}/")
    assert other in out
    assert refused(lab)[other]["times"] >= 1, "what was refused before a reload is not forgotten"


def test_follow(lab: Any) -> None:
    other = lab.env["RCC_LAB_OTHER"]
    start(lab, "one")
    does(lab, "getent hosts before.example")
    following = "(timeout 8 rcc denied --follow box > /tmp/followed) & sleep 3"
    lab.run(f"{following}; podman exec box getent hosts {other}; wait", 60)
    out = ok(lab, "cat /tmp/followed")
    assert f"box: {other} A" in out and f"- host: {other}" in out and "before.example" not in out


def test_what_is_learned_is_what_it_needs(lab: Any) -> None:
    name, other = lab.env["RCC_LAB_NAME"], lab.env["RCC_LAB_OTHER"]
    said = start(lab, "study")
    assert "mode learn" in said and "every public address is open" in said, "loudly"
    assert "LEARNING" in ok(lab, "rcc ps") and "LEARNING" in ok(lab, "rcc show box")
    does(lab, "curl -sk -m 5 -o /dev/null https://$NAME/; curl -s -m 5 -o /dev/null http://$OTHER:80/")
    does(lab, "curl -s -m 5 -o /dev/null http://$LAN_IP4/; getent hosts only-asked.example")
    assert lab.env["RCC_LAB_LAN_IP4"] + ":80/tcp" in refused(lab), "the LAN stays closed"
    ok(lab, "rcc learn box -o $RCC_LAB_PROFILES/learned.yaml")
    text = ok(lab, "cat $RCC_LAB_PROFILES/learned.yaml")
    assert ok(lab, "rcc check $RCC_LAB_PROFILES/learned.yaml").endswith("profile: ok\n")
    assert name in text and "ports: [80/tcp]" in text
    assert f"#  - {{cidr: {lab.env['RCC_LAB_LAN_IP4']}" in text and "#   only-asked.example" in text
    start(lab, "learned", "careful")
    assert name in ok(lab, f"podman exec careful curl -sk -m 5 https://{name}/")
    assert other in ok(lab, f"podman exec careful curl -s -m 5 http://{other}:80/")
    closed = (("udp", lab.env["RCC_LAB_NAME_IP4"], name), ("tcp", lab.env["RCC_LAB_OTHER_IP4"], other))
    for target in (Target(protocol, address, 7000, host) for protocol, address, host in closed):
        for container, wanted in (("box", True), ("careful", False)):
            token = "tok" + secrets.token_hex(6)
            ok(lab, f"podman exec {container} {sender(token, [target])}")
            assert bool(arrived(lab, token)) is wanted, (container, target)


def test_what_is_known_outlives_the_container_and_the_agent(lab: Any) -> None:
    other, ssh = lab.env["RCC_LAB_OTHER"], f"{lab.env['RCC_LAB_NAME_IP4']}:22/tcp"
    start(lab, "one", "night")
    does(lab, DOINGS, "night")
    time.sleep(6)  # an agent writes down what it knows every five seconds
    ok(lab, "pkill -9 -f libexec/rcc/[r]cc-; sleep 0.5; rcc ps")
    found = refused(lab, "night")
    assert other in found and found[ssh]["names"], "which name it was is known as well"
    ok(lab, "podman rm -f -t 0 night")
    deadline = time.monotonic() + 20
    while "ended" not in lab.run("rcc denied night")[1]:
        assert time.monotonic() < deadline
        time.sleep(0.3)
    assert {other, ssh} <= set(refused(lab, "night"))
    assert other in ok(lab, "rcc report night") and lab.env["RCC_LAB_NAME"] in ok(lab, "rcc learn night")
    code, _, err = lab.run("rcc report nobody")
    assert code != 0 and "nobody" in err


def test_top_metrics_and_report(lab: Any) -> None:
    name, other = lab.env["RCC_LAB_NAME"], lab.env["RCC_LAB_OTHER"]
    write_profile(lab, "tcp", f"version: 1\negress:\n  - host: {name}\n    ports: [7000]\n")
    start(lab, "tcp")
    words = shlex.join(["python3", "-c", TALK.replace("NAME", name)])
    ok(lab, f"podman exec -d box {words}")
    does(lab, "getent hosts $OTHER")
    time.sleep(1)
    out = ok(lab, "rcc top -n 2 -d 1")
    second = out[out.rindex("rcc top") :]
    assert "box" in second and f"{name}:7000/tcp python3 established" in second and other in second
    assert " KiB" in next(line for line in second.splitlines() if line.startswith("box"))
    metrics = ok(lab, "rcc metrics")
    assert metrics.endswith("# EOF\n") and "rcc_dns_results_total{" in metrics
    sent = next(
        line for line in metrics.splitlines() if "rcc_traffic_bytes_total" in line and 'direction="sent"' in line
    )
    assert 'name="box"' in sent and float(sent.split()[-1]) > 2000
    ok(lab, "rcc report box -o /tmp/report.html")
    page = ok(lab, "cat /tmp/report.html")
    for word in (name, other, f"- host: {other}", "python3", "<svg", "The policy in force", "7000/tcp"):
        assert word in page
    assert ok(lab, "rcc metrics").count("# EOF") == 1
    ok(lab, "podman rm -f -t 0 box")
    assert "rcc_namespaces 0" in ok(lab, "rcc metrics")
    assert "no isolated container runs" in ok(lab, "rcc top -n 1") and "no isolated container" in ok(lab, "rcc denied")


def test_static_mode_knows_what_the_kernel_knows(lab: Any) -> None:
    name = lab.env["RCC_LAB_NAME"]
    write_profile(lab, "static", f"version: 1\ndns: {{mode: static}}\negress:\n  - host: {name}\n")
    start(lab, "static")
    does(lab, DOINGS)
    found = refused(lab)
    assert f"{lab.env['RCC_LAB_NAME_IP4']}:22/tcp" in found and f"{lab.env['RCC_LAB_LAN_IP4']}:80/tcp" in found
    deadline = time.monotonic() + 20  # the agent has taken the names over from the hook two seconds after the start
    while f'host: "{name}"' not in ok(lab, "rcc learn box"):
        assert time.monotonic() < deadline
        time.sleep(0.3)
