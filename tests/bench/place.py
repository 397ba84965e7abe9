"""What the benches of the agent stand on, inside the lab: a far side of their own, containers, rcc's processes.

The lab records every frame that reaches its own far sides, in Python: that would be what is measured.  So there is
another far side here, which nobody watches: network namespace `bench`, 11.0.2.2 to 11.0.2.9, behind a
link of its own.
"""

import glob
import json
import os
import subprocess
import sys
import time
from typing import Any, List, Sequence

HERE = os.path.dirname(os.path.realpath(__file__))
IMAGE = os.environ["RCC_LAB_IMAGE"]
PROFILES = os.environ["RCC_LAB_PROFILES"]
NEAR, FAR = "11.0.2.1", "11.0.2.2"  # public-looking, because rcc closes special ranges by themselves
PATIENCE = 5.0  # seconds
FAR_NETNS = "/run/netns/bench"
PROGRAMS = (b"/usr/libexec/rcc/rcc-agent", b"/usr/libexec/rcc/rcc-keeper")


def ip(lines: Sequence[str], netns: str = "") -> None:
    """Lines of ip(8), one process for all."""
    command = ["ip", *(["-n", netns] if netns else []), "-batch", "-"]
    subprocess.run(command, input="\n".join(lines) + "\n", text=True, check=True)


def build_far_side() -> None:
    """Make the far side and its link."""
    ip(
        [
            "netns add bench",
            "link add bench type veth peer name host netns bench",
            f"addr add {NEAR}/24 dev bench",
            "link set bench up",
        ]
    )
    far = ["link set lo up", *(f"addr add 11.0.2.{last}/24 dev host" for last in range(2, 10)), "link set host up"]
    far.append(f"route add default via {NEAR}")
    ip(far, netns="bench")


def use_resolver(address: str) -> None:
    """Make it the lab host's resolver, for whatever starts from now on."""
    with open("/etc/resolv.conf", "w", encoding="ascii") as stream:
        stream.write(f"nameserver {address}\n")


def write_profile(name: str, text: str) -> None:
    """Write a profile of the admin's, whole or not at all."""
    path = os.path.join(PROFILES, f"{name}.yaml")
    with open(path + ".new", "w", encoding="utf-8") as stream:
        stream.write(text)
    os.rename(path + ".new", path)


def start(netns: str, program: str, *words: str) -> "subprocess.Popen[str]":
    """Run a program of this folder in a network namespace until the lab ends; it has said that it is ready."""
    command = ["nsenter", f"--net={netns}", "/usr/bin/python3", "-I", os.path.join(HERE, program), *words]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        sys.exit(f"{program} did not start")
    return process


def container(name: str, *flags: str) -> str:
    """Start a container that sleeps; the path of its network namespace."""
    subprocess.run(
        ["podman", "run", "-d", "--name", name, *flags, IMAGE, "sleep", "3600"], check=True, stdout=subprocess.DEVNULL
    )
    found = subprocess.run(
        ["podman", "inspect", "-f", "{{.State.Pid}}", name], check=True, capture_output=True, text=True
    )
    return f"/proc/{found.stdout.strip()}/ns/net"


def resolves(name: str, host: str) -> bool:
    """Whether a container's resolver knows a name, after PATIENCE at most."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        command = ["podman", "exec", name, "getent", "ahostsv4", host]
        if subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode == 0:
            return True
        time.sleep(0.2)
    return False


class Worker:
    """A program of this folder inside a container; ``ask`` has it do one job and gives what it printed."""

    def __init__(self, name: str, program: str) -> None:
        with open(os.path.join(HERE, program), encoding="utf-8") as stream:
            text = stream.read()
        command = ["podman", "exec", "-i", name, "python3", "-c", text]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, *words: object) -> Any:
        """One job: arguments as a line of JSON there, the result as one back."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"a program in a container failed at {words}")
        return json.loads(line)


def agent_pids() -> List[int]:
    """The processes of rcc's agent in this lab, its keeper and the spare included."""
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as stream:
                words = stream.read().split(b"\0")
        except OSError:
            continue
        if set(PROGRAMS) & set(words[:4]):
            found.append(int(path.split("/")[2]))
    return found


def pss(pids: Sequence[int]) -> float:
    """Proportional set size of processes in MB (10^6 bytes): proc(5), smaps_rollup."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as stream:
            total += sum(int(line.split()[1]) for line in stream if line.startswith("Pss:"))
    return total * 1024 / 1e6


def cpu_seconds(pids: Sequence[int]) -> float:
    """What all threads of processes have run: sched-stats.rst, in nanoseconds, where stat(5) has ticks."""
    total = 0
    for pid in pids:
        for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
            with open(path, encoding="ascii") as stream:
                total += int(stream.read().split()[0])
    return total / 1e9
