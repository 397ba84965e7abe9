"""The DNS gateway beside dnsmasq with its nft set option: latency at two rates, the highest rate, CPU time a query.

    ROUNDS=9  for quieter medians

One container has rcc's label; in the network namespace of another, without it, run two dnsmasq, for a list of 10 names
and for one of 1,000.  Both are asked from inside by the same client, both ask the same upstream, which answers at once.
*cached* names are allowed and have been asked for before; *uncached* ones are allowed, have TTL 0 and take turns;
*refused* ones are on no list.
"""

import itertools
import os
import statistics
import subprocess
import sys
import time
from typing import Any, Callable, Counter, Dict, List, NamedTuple, Sequence

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

import place
from dns_load import ask_once
from measure import goal, interleaved, percentile

ROUNDS = int(os.environ.get("ROUNDS", "3"))
RATES = {100: 150, 1000: 1000, 0: 3000}  # queries/s (0: as many as are answered) and how many are sent in a round
OUTSTANDING = 32
REFUSED, NXDOMAIN = "5", "3"  # RFC 1035 section 4.1.1
CACHED, UNCACHED = 10, 990
ASKED = {
    "cached": ("c%d.bench.example", CACHED),
    "uncached": ("z%d.bench.example", UNCACHED),
    "refused": ("r%d.other.example", 1000),
}
TEN, THOUSAND = "10 names", "1,000 names"
LISTS = {
    TEN: [f"c{number}.bench.example" for number in range(CACHED)],
    THOUSAND: [f"c{number}.bench.example" for number in range(CACHED)]
    + [f"z{number}.bench.example" for number in range(UNCACHED)],
}


class Server(NamedTuple):
    """One resolver: who asks it and where; ``pids`` are its processes."""

    client: place.Worker
    address: str
    pids: Callable[[], Sequence[int]]


class Run(NamedTuple):
    """One load: what dns_load.py printed, and what it took beside it."""

    figures: Dict[str, Any]
    cpu: float  # microseconds of the server's processes a query
    upstream: float  # queries that reached the upstream, for each one asked


def dnsmasq(netns: str, names: Sequence[str], address: str) -> Sequence[int]:
    """Start one that forwards ``names`` and what is below them, fills a set, refuses the rest; its process."""
    path = f"/run/dnsmasq-{address}.conf"
    with open(path, "w", encoding="ascii") as stream:
        stream.write(f"no-resolv\nno-hosts\ncache-size=2000\nuser=root\npid-file=\nlisten-address={address}\n")
        stream.write("bind-interfaces\n")
        for name in names:
            stream.write(f"server=/{name}/{place.FAR}\nnftset=/{name}/4#inet#bench#answers\n")
    command = ["nsenter", f"--net={netns}", "dnsmasq", "--keep-in-foreground", f"--conf-file={path}"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    if process.poll() is not None:
        sys.exit("dnsmasq did not start")
    return [process.pid]


def servers(netns: str) -> Dict[str, Server]:
    """All resolvers, running; dnsmasq in a namespace without rcc.

    The labelled containers ask the upstream's address: rcc turns them to the gateway.
    """
    found = {}
    plain = place.Worker("plain", "dns_load.py")
    table = "table inet bench { set answers { type ipv4_addr; flags timeout; timeout 10m; }; }"
    subprocess.run(["nsenter", f"--net={netns}", "nft", table], check=True)
    for number, (title, names) in enumerate(LISTS.items()):
        address = f"127.0.0.{number + 1}"
        pids = dnsmasq(netns, names, address)
        found[f"dnsmasq, {title}"] = Server(plain, address, lambda pids=pids: pids)  # type: ignore[misc]
        profile = f"bench{number}"
        hosts = "".join(f"  - host: {name}\n" for name in names)
        place.write_profile(profile, "version: 1\negress:\n" + hosts)
        place.container(profile, "--label", f"rcc={profile}")
        found[f"rcc, {title}"] = Server(place.Worker(profile, "dns_load.py"), place.FAR, place.agent_pids)
    return found


def filled(netns: str) -> bool:
    """Whether dnsmasq put the uncached names' addresses into its set."""
    command = ["nsenter", f"--net={netns}", "nft", "list", "set", "inet", "bench", "answers"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return listed.count("expires") >= UNCACHED


def load(server: Server, kind: str, rate: int, numbers: "itertools.count[int]") -> Run:
    """One run of the client.  Each begins with other names than the one before."""
    template, modulo = ASKED[kind]
    count = RATES[rate]
    pids = server.pids()
    first = next(numbers) * count % modulo
    before, ran = upstream_count(), place.cpu_seconds(pids)
    figures = server.client.ask(server.address, template, first, modulo, count, rate, OUTSTANDING)
    ran = place.cpu_seconds(pids) - ran
    return Run(figures, ran / count * 1e6, (upstream_count() - before) / count)


def upstream_count() -> int:
    """How many queries the upstream has had."""
    return int.from_bytes(ask_once(place.FAR, "count.bench.example")[-4:], "big")


def right(kind: str, figures: Dict[str, Any]) -> int:
    """How many answers were of the kind that was asked for."""
    if kind != "refused":
        return int(figures["addresses"])
    return sum(number for code, number in figures["codes"].items() if code in (REFUSED, NXDOMAIN))


def oddities(kind: str, runs: List[Run]) -> str:
    """Why a figure is worth less than it looks; empty when all is as it should be."""
    found = []
    asked = sum(run.figures["asked"] for run in runs)
    good = sum(right(kind, run.figures) for run in runs)
    if good < asked:
        codes: Counter[str] = Counter()
        for run in runs:
            codes.update(run.figures["codes"])
        lost = sum(run.figures["lost"] for run in runs)
        found.append(f"{asked - good} of {asked} not as expected: rcodes {dict(codes)}, lost {lost}")
    upstream = statistics.median(run.upstream for run in runs)
    if abs(upstream - (kind == "uncached")) > 0.05:
        found.append(f"{upstream:.2f} queries went upstream for each one asked")
    return "; ".join(found)


def show(kind: str, rate: int, found: Dict[str, List[Run]]) -> Dict[str, float]:
    """Print one table; the medians of what can be believed: microseconds, or queries/s for the highest rate."""
    print(f"\n{kind} names, " + (f"{rate} queries/s" if rate else f"highest rate ({OUTSTANDING} outstanding)"))
    medians: Dict[str, float] = {}
    base = 0.0
    for name, runs in found.items():
        each = [figure(run.figures, rate) for run in runs if run.figures["latencies"]]
        if not each:
            print(f"  {name:22} no answer at all")
            continue
        median = statistics.median(each)
        base = base or median
        latencies = [latency for run in runs for latency in run.figures["latencies"]]
        print(
            f"  {name:22} {median:8.0f} {'us' if rate else '/s'}  ({min(each):.0f} to {max(each):.0f})"
            f"  99%: {percentile(latencies, 0.99):6.0f} us  x{median / base:.2f}"
            f"  cpu {statistics.median(run.cpu for run in runs):4.0f} us"
        )
        odd = oddities(kind, runs)
        if odd:
            print(f"    VOID: {odd}")
        else:
            medians[name] = median
    sys.stdout.flush()
    return medians


def figure(figures: Dict[str, Any], rate: int) -> float:
    """What a round counts as: its median latency, or answers a second."""
    if rate:
        return statistics.median(figures["latencies"])
    return len(figures["latencies"]) / float(figures["seconds"])


def goals(cached: Dict[str, float], rate: int) -> None:
    """The goals for one rate, as far as there are figures."""
    ours, theirs, more = (cached.get(name) for name in (f"rcc, {TEN}", f"dnsmasq, {TEN}", f"rcc, {THOUSAND}"))
    if not (ours and theirs and more):
        print(f"  VOID: cached at {rate}/s: no figures to judge by")
    if ours and theirs:
        times = ours / theirs
        goal(f"cached at {rate}/s: {times:.2f} times dnsmasq's median (goal: at most 2)", times <= 2)
    if ours and more:
        times = more / ours
        goal(f"at {rate}/s, 1,000 names in the policy cost {times:.2f} times what 10 do (goal: 1.1)", times <= 1.1)


def main() -> None:
    """All tables, then the goals."""
    place.build_far_side()
    place.start(place.FAR_NETNS, "dns_upstream.py", place.FAR)
    place.use_resolver(place.FAR)
    netns = place.container("plain")
    every = servers(netns)
    numbers = itertools.count()
    print(f"DNS gateway beside dnsmasq (medians of {ROUNDS} rounds; cpu: of the server, for each query)")
    medians = {}
    for kind in ASKED:
        asked = {name: server for name, server in every.items() if kind != "uncached" or THOUSAND in name}
        for rate in RATES:
            found = interleaved(
                {
                    name: (lambda server=server: load(server, kind, rate, numbers))  # type: ignore[misc]  # noqa: B023
                    for name, server in asked.items()
                },
                ROUNDS,
            )
            medians[kind, rate] = show(kind, rate, found)
    print()
    if not filled(netns):
        print("  VOID: dnsmasq put no address into its set")
    for rate in (100, 1000):
        goals(medians["cached", rate], rate)


if __name__ == "__main__":
    main()
