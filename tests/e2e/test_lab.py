"""The lab itself: it reaches all of its far sides and nothing of the machine, and leaves nothing behind."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from typing import Any, Dict, List, Tuple

import pytest

LAB = os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lab")
ENTER = os.path.join(LAB, "enter")
GUARD = 120  # seconds after which a test gives up; none depends on it
METADATA = ("169.254.169.254", "fd00:ec2::254")
# Every kind of place where something could stay.
PLACES = ("/tmp", "/var/tmp", "/dev/shm", "/run", "/root", "/home", "/etc", "/usr/share", "/var/lib/containers")
DUMMY = "lab-dummy"  # a link that a test adds to the lab host
ENDINGS = ("exit", "command killed", "SIGINT", "SIGTERM", "SIGHUP", "SIGKILL")

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.getuid() != 0, reason="root is needed to build the lab"),
]


def enter(*words: str, stdin: bytes = b"", environment: "Dict[str, str] | None" = None) -> Tuple[int, bytes, bytes]:
    """Status, standard output and standard error of `enter`."""
    done = subprocess.run(
        [ENTER, *words],
        input=stdin,
        capture_output=True,
        check=False,
        timeout=GUARD,
        env=None if environment is None else {**os.environ, **environment},
    )
    return done.returncode, done.stdout, done.stderr


def url(scheme: str, address: str, token: str) -> str:
    return f"{scheme}://{f'[{address}]' if ':' in address else address}/{token}"


def addresses(lab: Any, *names: str) -> List[str]:
    return [lab.env[f"RCC_LAB_{name}_{family}"] for name in names for family in ("IP4", "IP6")]


# What is there


def test_a_plain_container_reaches_everything(lab: Any) -> None:
    """The twin of every "it does not arrive": HTTP and TLS at each address, seen by the recorder where it is plain."""
    network = "slirp4netns" if lab.rootless else "bridge"
    token = "tok" + secrets.token_hex(8)
    everywhere = addresses(lab, "NAME", "OTHER", "LAN")
    urls = [url(scheme, address, token) for scheme in ("http", "https") for address in everywhere]
    urls += [url("http", address, token) for address in METADATA]
    podman = f"podman run --rm --network {network} $RCC_LAB_IMAGE"
    code, out, err = lab.run(f"{podman} curl -gsSk {' '.join(urls)}", timeout=60)
    assert code == 0, err
    said = [lab.env["RCC_LAB_NAME"]] * 2 + [lab.env["RCC_LAB_OTHER"]] * 2 + ["lan.lab.example"] * 2
    assert out.splitlines() == [f"this is {name}" for name in said * 2 + ["metadata"] * 2]
    arrived = {(frame["destination"], frame["dport"]) for frame in lab.record(token)}
    assert arrived == {(address, 80) for address in [*everywhere, *METADATA]}


ECHO = """
import socket, sys
token, addresses = sys.argv[1].encode(), sys.argv[2:]
for address in addresses:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as s:
            s.settimeout(20)
            s.connect((address, 7000))
            s.send(token)
            assert s.recv(100) == token, (address, kind)
"""


def test_echo_over_tcp_and_udp(lab: Any) -> None:
    network = "slirp4netns" if lab.rootless else "bridge"
    token = "tok" + secrets.token_hex(8)
    everywhere = addresses(lab, "NAME", "OTHER", "LAN")
    podman = f'podman run --rm --network {network} $RCC_LAB_IMAGE python3 -c "$1" {token} {" ".join(everywhere)}'
    code, _, err = lab.run(["sh", "-c", podman, "sh", ECHO], timeout=60)
    assert code == 0, err
    arrived = {(frame["destination"], frame["protocol"], frame["dport"]) for frame in lab.record(token)}
    assert arrived == {(address, protocol, 7000) for address in everywhere for protocol in ("tcp", "udp")}
    for frame in lab.record(token):
        assert frame["payload"] == token
        assert frame["side"] == ("lan" if frame["destination"] in addresses(lab, "LAN") else "internet")
        assert frame["source"] != frame["destination"] and frame["sport"] and frame["time"] > 0


@pytest.mark.parametrize("network", ["bridge", "slirp4netns"])
def test_names_in_every_network(lab: Any, network: str) -> None:
    podman = f"podman run --rm --network {network} $RCC_LAB_IMAGE"
    for name in ("NAME", "OTHER"):
        code, out, err = lab.run(f"{podman} curl -sS http://$RCC_LAB_{name}/", timeout=60)
        assert (code, out) == (0, f"this is {lab.env[f'RCC_LAB_{name}']}\n"), err


def test_no_network_is_no_network(lab: Any) -> None:
    token = "tok" + secrets.token_hex(8)
    podman = "podman run --rm --network none $RCC_LAB_IMAGE"
    code, _, _ = lab.run(f"{podman} curl -s http://$RCC_LAB_NAME_IP4/{token}", timeout=60)
    assert code != 0
    assert lab.record(token) == []


def test_the_image_has_what_is_promised(lab: Any) -> None:
    script = "for name in sh python3 curl dig ip; do command -v $name || exit; done"
    code, _, err = lab.run(f"podman run --rm $RCC_LAB_IMAGE sh -c '{script}'", timeout=60)
    assert code == 0, err


def test_an_image_can_be_made_of_the_image(lab: Any) -> None:
    build = "printf 'FROM %s\\nLABEL mine=1\\n' $RCC_LAB_IMAGE | podman build -q -t mine -f - ."
    code, _, err = lab.run(f"{build} && podman run --rm mine true && podman rmi mine", timeout=60)
    assert code == 0, err


def test_the_zone_is_served_as_it_is_now(lab: Any) -> None:
    dig = "podman run --rm $RCC_LAB_IMAGE dig +time=20 +noall +comments +answer"
    keep = lab.run("cat $RCC_LAB_ZONE").out
    try:
        token = "tok" + secrets.token_hex(8)
        lab.run(f"printf '{token}.example 7 CNAME %s\\n' $RCC_LAB_NAME >> $RCC_LAB_ZONE")
        for flag in ("+notcp", "+tcp"):
            code, out, err = lab.run(f"{dig} {flag} {token}.example AAAA", timeout=60)
            assert code == 0 and "NOERROR" in out and lab.env["RCC_LAB_NAME_IP6"] in out, (out, err)
            assert [f"{token}.example.", "7", "IN", "CNAME"] in [line.split()[:4] for line in out.splitlines()]
        queries = [frame for frame in lab.record(token) if frame["dport"] == 53]
        assert {frame["protocol"] for frame in queries} == {"udp", "tcp"}
        lab.run(f"sed -i /{token}/d $RCC_LAB_ZONE")
        assert "NXDOMAIN" in lab.run(f"{dig} {token}.example A", timeout=60).out
    finally:
        lab.run("cat > $RCC_LAB_ZONE", stdin=keep)


def test_rcc_is_as_packages_install_it(lab: Any) -> None:
    for path in (
        "/usr/libexec/rcc/rcc-hook",
        "/usr/lib/rcc/rcc/hook.py",
        "/usr/bin/rcc",
        "/usr/share/rcc/profiles/default.yaml",
        "/usr/share/containers/oci/hooks.d/rcc.json",
        "/etc/containers/containers.conf.d/50-rcc.conf",
    ):
        assert lab.run(["test", "-r", path]).code == 0, path
    code, _, err = lab.run("touch $RCC_LAB_PROFILES/mine.yaml && rm $RCC_LAB_PROFILES/mine.yaml")
    assert code == 0, err


def test_without_rcc_there_is_none() -> None:
    places = "/usr/bin/rcc /usr/l*/rcc /usr/share/rcc /etc/containers/containers.conf.d /usr/share/containers/oci/*"
    code, out, err = enter("--without-rcc", "sh", "-c", f"ls -d {places} 2>&-")
    assert code != 0 and out == b"", err


# The way out, which there is not


def test_the_lab_host_has_no_way_to_the_machines_uplink(lab: Any) -> None:
    links = {link["ifname"] for link in json.loads(lab.run("ip -json link").out)}
    assert links - {"podman0"} == {"lo", "internet", "lan"}
    assert set(lab.run("ls /sys/class/net").out.split()) == links
    for family in ("-4", "-6"):
        routes = json.loads(lab.run(f"ip {family} -json route").out)
        assert [route["dev"] for route in routes if route["dst"] == "default"] == ["internet"]
        assert {route["dev"] for route in routes} <= links
    assert os.readlink("/proc/self/ns/net") != lab.run("readlink /proc/self/ns/net").out.strip()


def test_the_far_sides_end_there(rootful: Any) -> None:
    for side in ("internet", "lan"):
        code, out, err = rootful.run(f"nsenter --net=/run/netns/{side} ip -json link")
        assert code == 0, err
        assert {link["ifname"] for link in json.loads(out)} == {"lo", "host"}
        assert rootful.run(f"nsenter --net=/run/netns/{side} cat /proc/sys/net/ipv4/ip_forward").out == "0\n"


# What `enter` promises


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["true"], 0),
        (["--", "sh", "-c", "exit 3"], 3),
        (["--", "sh", "-c", "kill -9 $$"], 128 + 9),
        (["--rootless", "sh", "-c", "exit 4"], 4),
        (["no-such-command"], 127),
        (["/etc/passwd"], 126),
        ([], 64),
        (["--no-such-option", "true"], 64),
    ],
)
def test_the_status_is_the_commands(words: List[str], status: int) -> None:
    code, _, err = enter(*words)
    assert code == status, err


def test_input_and_output_pass_through() -> None:
    data = secrets.token_bytes(200_000)
    assert enter("--", "cat", stdin=data) == (0, data, b"")
    assert enter("--", "sh", "-c", "echo out; echo err >&2; cat") == (0, b"out\n", b"err\n")


def test_arguments_and_environment_pass_through() -> None:
    code, out, _ = enter("--", "printf", "%s|", "a b", "", "-x", "--")
    assert (code, out) == (0, b"a b||-x|--|")
    mine = {"MINE": "kept", "http_proxy": "http://127.0.0.1:1", "CONTAINERS_CONF": "/nonexistent", "PYTHONPATH": "/x"}
    code, out, _ = enter("--", "env", environment=mine)
    lines = out.decode().splitlines()
    assert "MINE=kept" in lines
    assert not [line for line in lines if line.startswith(("http_proxy", "CONTAINERS_CONF", "PYTHONPATH"))]


def test_the_user_of_a_rootless_lab_is_nobody_else() -> None:
    script = 'id -u; grep Cap /proc/self/status; touch /etc/x 2>&-; echo $?; test -w "$HOME" -a -w "$XDG_RUNTIME_DIR"'
    code, out, err = enter("--rootless", "sh", "-c", script)
    words = out.decode().split()
    assert code == 0, err
    assert words[0] != "0" and words[-1] != "0"
    assert int(words[words.index("CapEff:") + 1], 16) == int(words[words.index("CapPrm:") + 1], 16) == 0


def test_only_root_can_enter() -> None:
    """From a copy: the checkout may lie where only root can read it."""
    drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        shutil.copytree(os.path.dirname(ENTER), os.path.join(folder, "lab"))
        done = subprocess.run([*drop, os.path.join(folder, "lab", "enter"), "true"], capture_output=True, check=False)
    assert done.returncode == 77 and b"root" in done.stderr


STAY = """
for place in $PLACES; do echo mine > $place/$TOKEN; done
podman run -d --name $TOKEN $RCC_LAB_IMAGE sleep 86400 >&2 || exit
podman volume create $TOKEN >&2
setsid sleep 86401 &
ip link add $DUMMY type dummy
mkdir /run/$TOKEN-mount && mount -t tmpfs $TOKEN /run/$TOKEN-mount
nsenter --net=/run/netns/internet readlink /proc/self/ns/net
nsenter --net=/run/netns/lan readlink /proc/self/ns/net
podman inspect -f '{{.State.Pid}}' $TOKEN | xargs -I@ readlink /proc/@/ns/net /proc/@/ns/mnt
readlink /proc/self/ns/net /proc/self/ns/mnt /proc/self/ns/pid
echo ready
"""


def traces(token: str) -> List[str]:
    """What the machine would show of a lab that left something.  Others may be changing the machine meanwhile."""
    with open("/proc/self/mountinfo", encoding="utf-8") as stream:
        found = [line for line in stream if token in line or "/run/lab" in line]
    links = json.loads(subprocess.run(["ip", "-json", "link"], capture_output=True, check=True).stdout)
    found += [link["ifname"] for link in links if link["ifname"] in ("internet", "lan", "podman0", DUMMY)]
    places = [os.path.join(place, token) for place in PLACES]
    places += ["/run/lab", "/run/netns/internet", "/run/netns/lan"]
    return found + [place for place in places if os.path.exists(place)]


def processes(namespaces: List[str]) -> Dict[str, str]:
    """The processes in any of these namespaces: number and start, which together are nobody else's ever."""
    found = {}
    for pid in os.listdir("/proc"):
        try:
            inside = {os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("net", "mnt", "pid")}
        except OSError:
            continue
        if inside & set(namespaces):
            found[pid] = _start(pid)
    return found


def _start(pid: str) -> str:
    """When a process started (proc(5), stat's field 22); empty when there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            return stream.read().rpartition(")")[2].split()[19]
    except OSError:
        return ""


@pytest.mark.parametrize("ending", ENDINGS)
def test_nothing_stays(ending: str) -> None:
    token = "tok" + secrets.token_hex(8)
    locks = set(os.listdir("/dev/shm"))
    last = {"exit": "read -r go; exit 5", "command killed": "read -r go; kill -9 $$"}.get(ending, "exec sleep 86400")
    process = subprocess.Popen(
        [ENTER, "--", "bash", "-c", STAY + last],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TOKEN": token, "PLACES": " ".join(PLACES), "DUMMY": DUMMY},
    )
    assert process.stdout is not None and process.stderr is not None
    made = []
    for line in process.stdout:
        if line == "ready\n":
            break
        made.append(line.strip())
    assert len(set(made)) == 7, (made, process.stderr.read() if process.poll() is not None else "")
    inside = processes(made)
    assert len(inside) > 8, "the command, its daemon, a container and the servers of the far sides"
    if ending.startswith("SIG"):
        process.send_signal(signal.Signals[ending])
    _, err = process.communicate("go\n", timeout=GUARD)  # ends only when nobody holds its output any more
    wanted = {"exit": 5, "command killed": 137, "SIGKILL": -9}
    assert process.returncode == wanted.get(ending, 128 + getattr(signal, ending, 0)), err
    deadline = time.monotonic() + GUARD
    while any(_start(pid) == start for pid, start in inside.items()):
        assert time.monotonic() < deadline, "processes of the lab are still there"
        time.sleep(0.01)
    assert traces(token) == []
    assert not [name for name in set(os.listdir("/dev/shm")) - locks if "libpod" in name]


def test_two_at_once_do_not_meet() -> None:
    """Both run at the same time, each with its own zone, containers, files and record."""
    tokens = ["tok" + secrets.token_hex(8) for _ in range(2)]
    script = """
    set -e
    echo mine > /etc/rcc/$TOKEN; echo "$TOKEN.example 5 A $RCC_LAB_NAME_IP4" >> $RCC_LAB_ZONE
    podman run -d --name same $RCC_LAB_IMAGE sleep 86400 > /dev/null
    echo ready; read -r go
    podman exec same curl -sS http://$TOKEN.example/$TOKEN
    arrived $TOKEN > /dev/null; arrived $OTHER > /dev/null && exit 9
    podman ps -q | wc -l; ls /etc/rcc | grep -c tok; grep -c '^tok' $RCC_LAB_ZONE
    """
    running = []
    for mine, other in (tokens, tokens[::-1]):
        running.append(
            subprocess.Popen(
                [ENTER, "--", "bash", "-c", script],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "TOKEN": mine, "OTHER": other},
            )
        )
    for process in running:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in running:
        out, err = process.communicate("go\n", timeout=GUARD)
        assert process.returncode == 0, err
        assert out.split("\n")[1:4] == ["1", "1", "1"], out


# The record and the session


def test_markers_are_not_in_the_record_and_replies_are_not_arrivals(rootful: Any) -> None:
    token = "tok" + secrets.token_hex(8)
    rootful.run(f"curl -s http://$RCC_LAB_OTHER_IP4/{token}")
    frames = rootful.frames()
    assert not [frame for frame in frames if frame["payload"].startswith("lab marker")]
    assert [frame["destination"] for frame in frames if token in frame["payload"]] == [rootful.env["RCC_LAB_OTHER_IP4"]]
    assert not [frame for frame in frames if frame.get("sport") == 80]


def test_arrived_answers_in_a_shell(lab: Any) -> None:
    token = "tok" + secrets.token_hex(8)
    assert lab.run(["arrived", token]).code == 1
    lab.run(f"curl -s http://$RCC_LAB_LAN_IP4/{token}")
    code, out, err = lab.run(["arrived", token])
    assert code == 0, err
    assert json.loads(out)["side"] == "lan"
    assert lab.run(["arrived"]).code == 64


def test_a_session_tells_what_happened(rootful: Any) -> None:
    assert rootful.run("cat; echo err >&2; exit 3", stdin="in") == (3, "in", "err\n")
    assert rootful.run(["no-such-command"]).code == 127
    late = rootful.run("echo before; sleep 86400", timeout=1)
    assert (late.code, late.out) == (124, "before\n") and "timed out" in late.err
    held = rootful.run("setsid sleep 86400 & echo out", timeout=1)
    assert held.code == 124 and "keeps its output open" in held.err
    assert rootful.run("echo still here").out == "still here\n"


def test_a_lab_that_ends_says_so() -> None:
    from session import Lab, LabError

    with Lab(with_rcc=False) as lab, pytest.raises(LabError, match="ended"):
        lab.run("kill -9 $PPID")
    with pytest.raises(LabError, match="not in the lab"):
        lab.run("true")


def test_a_lost_frame_makes_silence_worthless() -> None:
    """A recorder that says it lost frames: no answer, not "none arrived"."""
    script = """
    echo '{"side": "lan", "time": 0, "dropped": 2}' >> $RCC_LAB_RECORD
    for i in 1 2; do arrived tok; echo $?; done
    """
    code, out, err = enter("--without-rcc", "sh", "-c", script)
    assert code == 0 and out.split() == [b"2", b"2"], err
    assert b"lost 2 frames" in err
