"""Many isolated network namespaces on one host: the agent's memory, what a start costs, how fast all are reloaded.

    SCALE=200  for fewer than 1,000

The namespaces hold no containers: they are made with ip(8) and isolated by rcc's own code as its hook does it, and each
then asks its gateway for the names of its policy.  Whole `podman run`s are measured before there are any, and at last.
"""

import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Dict, List, Set, Tuple

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
sys.path.insert(1, "/usr/lib/rcc")

import place
from dns_load import ask_once
from measure import goal, report, rounds, seconds
from rcc.app.isolate import isolate
from rcc.app.policies import Policies
from rcc.app.resolve import AgentNames
from rcc.core.errors import RccError
from rcc.system.netns import inside
from rcc.system.owner import state_root
from rcc.system.state import Member, Settled, State

SCALE = int(os.environ.get("SCALE", "1000"))
STEP, STARTS, RELOADS = 100, 7, 5
NAMES = [f"c{number}.bench.example" for number in range(10)]
PROFILE = "scale"
# A link of its own for the prober: what reaches its far end has left an isolated namespace.
SENDER, RECEIVER, RECEIVER_NETNS = "11.0.3.1", "11.0.3.2", "/run/netns/probed"
OPEN, CLOSED = 7001, 7002


def write_profile(turn: int) -> None:
    """The policy of all; each ``turn`` has another last rule, so that a reload has something to do."""
    rules = [f"  - host: {name}\n" for name in NAMES]
    rules.append(f"  - cidr: {RECEIVER}/32\n    ports: [{OPEN}/udp]\n")
    rules.append(f"  - cidr: 11.0.4.{turn % 250 + 1}/32\n")
    place.write_profile(PROFILE, "version: 1\negress:\n" + "".join(rules))


def path_of(number: int) -> str:
    return f"/run/netns/scale{number}"


def make_namespaces(numbers: List[int]) -> None:
    """Make some; address and route let a program send at all, and what is not redirected stays inside."""
    place.ip([f"netns add scale{number}" for number in numbers])
    for number in numbers:
        place.ip(["link set lo up", "addr add 10.99.0.2/32 dev lo", "route add default dev lo"], netns=f"scale{number}")


def isolated(state: State, number: int) -> float:
    """Isolate one namespace as the hook does; the seconds that it took."""
    known = {"container": secrets.token_hex(32), "name": f"scale{number}", "run": secrets.token_hex(8)}
    more = {"profile": PROFILE, "image_profile": ""}
    member = Member(**known, **{key: value for key, value in more.items() if key in Member._fields})
    began = time.monotonic()
    settled = Settled(
        member=member,
        policy=Policies(state).profile(PROFILE),
        source="the bench",
        notes=(),
        published=(),
        resolv_conf="/etc/resolv.conf",
        hosts="",
        dns_servers=(),
    )
    isolate(state, settled, path_of(number), AgentNames(state.root), bare=False)
    return time.monotonic() - began


def ask_all(numbers: List[int]) -> Tuple[int, int]:
    """Ask the gateway of each namespace for all names: how many were answered with an address, of how many."""

    def ask() -> int:
        good = 0
        for name in NAMES:
            try:
                good += ask_once(place.FAR, name)[6:8] > b"\0\0"
            except OSError:
                break
        return good

    found = 0
    for number in numbers:
        good = inside(path_of(number), ask)
        if not good:
            break  # two seconds each, otherwise
        found += good
    return found, len(numbers) * len(NAMES)


def settle_down() -> float:
    """Wait until the agent has nothing more to do; the share of a processor that it then still takes."""
    share = 1.0
    for _ in range(60):
        pids = place.agent_pids()
        before = place.cpu_seconds(pids)
        time.sleep(1)
        share = max(place.cpu_seconds(pids) - before, 0.0)
        if share < 0.02:
            break
    return share


def starts(title: str, empty: str) -> Dict[str, float]:
    """Whole starts, without rcc and with the label; medians in milliseconds."""
    run = ["run", "--rm", place.IMAGE, "true"]
    label = ["run", "--rm", "--label", f"rcc={PROFILE}", place.IMAGE, "true"]
    found = rounds(
        {
            "no rcc": lambda: seconds(["podman", "--hooks-dir", empty, *run]),
            f"rcc, --label rcc={PROFILE}": lambda: seconds(["podman", *label]),
        },
        STARTS,
    )
    medians = report(f"podman run, {title} (medians of {STARTS})", found, "no rcc")
    bare, labelled = medians.values()
    return {"bare": bare, "labelled": labelled}


class Prober:
    """Datagrams out of namespace 0, every millisecond, and their count at the far end of its link."""

    def __init__(self) -> None:
        place.ip(["netns add probed", "link add probe netns scale0 type veth peer name probe netns probed"])
        for netns, address in (("scale0", SENDER), ("probed", RECEIVER)):
            place.ip([f"addr add {address}/24 dev probe", "link set probe up"], netns=netns)
        ports = [str(OPEN), str(CLOSED)]
        self._receiver = place.start(RECEIVER_NETNS, "udp_probe.py", "receive", RECEIVER, *ports)
        self._sender = place.start(path_of(0), "udp_probe.py", "send", RECEIVER, *ports)

    def close(self) -> None:
        """End both programs."""
        for process in (self._sender, self._receiver):
            process.communicate()

    def arrived(self) -> "Dict[str, float]":
        """What came since this was asked for last: `open`, `closed`, and `gap`, the longest wait of `open`."""
        assert self._receiver.stdin is not None and self._receiver.stdout is not None
        time.sleep(0.05)
        self._receiver.stdin.write("\n")
        self._receiver.stdin.flush()
        return dict(json.loads(self._receiver.stdout.readline()))


def reload_all(prober: Prober, count: int) -> None:
    """Reload all namespaces, each time with another policy, while datagrams knock."""
    times, generations = [], []
    prober.arrived()
    for turn in range(RELOADS + 1):
        write_profile(turn + 1)
        began = time.monotonic()
        done = subprocess.run(["rcc", "reload", "--all"], capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"\nreload: not measured, it failed: {(done.stderr or done.stdout).strip()[:300]}")
            return
        if turn:
            times.append(time.monotonic() - began)
        state = State(state_root())
        generations.append(sorted({record.generation for record in state.records()}))
    came = prober.arrived()
    report(
        f"rcc reload --all, {count} namespaces, each time another policy (medians of {RELOADS})",
        {"reload": [took * 1000 for took in times]},
        "reload",
    )
    print(f"  generations of the records after each: {generations}")
    print(f"  meanwhile: {came['open']:.0f} allowed datagrams arrived, the longest gap {came['gap'] * 1000:.0f} ms")
    goal(f"{max(times):.2f} s at most for {count} (goal: 2 s)", max(times) <= 2)
    goal(f"{came['closed']:.0f} forbidden datagrams arrived meanwhile (goal: none)", not came["closed"])


def grow(state: State) -> Tuple[List[float], List[float], float]:
    """All steps: the medians of isolating one, the agent's memory, its share of a processor at last."""
    costs, memory = [], []
    share = 0.0
    before: Set[int] = set()
    print(f"\nisolated namespaces, {len(NAMES)} names each, all asked for (medians of each {STEP})")
    for low in range(0, SCALE, STEP):
        numbers = list(range(low, low + STEP))
        make_namespaces(numbers)
        if not low:
            prober = Prober()
            open_before = prober.arrived()
        try:
            times = [isolated(state, number) * 1000 for number in numbers]
        except RccError as error:
            print(f"  VOID: no further than {low} to {low + STEP}: {error}", flush=True)
            break
        good, asked = ask_all(numbers)
        share = settle_down()
        costs.append(statistics.median(times))
        pids = place.agent_pids()
        memory.append(place.pss(pids))
        odd = "" if good == asked else f"  VOID: {good} of {asked} names answered"
        if low and not set(pids) & before:
            odd += "  VOID: the agent has died"
        before = set(pids)
        print(
            f"  {low + STEP:5}: {costs[-1]:6.1f} ms to isolate one (at most {max(times):.0f}),"
            f" agent {memory[-1]:6.1f} MB PSS in {len(pids)} processes, idle at {share:.1%} of a processor{odd}",
            flush=True,
        )
        if not low:
            if not open_before["closed"]:
                print("  VOID: no forbidden datagram arrived before the namespace was isolated either")
            reload_all(prober, STEP)
            prober.close()
    return costs, memory, share


def main() -> None:
    """All tables, then the goals."""
    place.build_far_side()
    place.start(place.FAR_NETNS, "dns_upstream.py", place.FAR)
    place.use_resolver(place.FAR)
    write_profile(0)
    empty = tempfile.mkdtemp(prefix="bench-none-")
    first = starts("no other isolated namespace", empty)
    costs, memory, share = grow(State(state_root()))
    reached = len(costs) * STEP
    last = starts(f"{reached} isolated namespaces", empty)
    print()
    if reached < SCALE:
        goal(f"{reached} namespaces could be isolated (goal: {SCALE})", False)
    if not reached:
        return
    goal(f"the agent has {memory[-1]:.1f} MB for {reached} namespaces (goal: under 100)", memory[-1] < 100)
    each = (memory[-1] - memory[0]) / max(len(memory) - 1, 1)
    print(f"          {each:.1f} MB for each further {STEP}; at rest it takes {share:.1%} of a processor")
    times = costs[-1] / costs[0]
    goal(f"isolating one of the last {STEP} costs {times:.2f} times one of the first {STEP} (goal: 1.1)", times <= 1.1)
    added = [medians["labelled"] - medians["bare"] for medians in (first, last)]
    text = f"a labelled start adds {added[1]:.0f} ms, {added[0]:.0f} ms before (goal: no more, within 5 % of a start)"
    goal(text, added[1] <= added[0] + 0.05 * first["bare"])


if __name__ == "__main__":
    main()
