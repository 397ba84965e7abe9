"""Allowed flows beside those of a container without rcc: throughput of one connection, and connections a second.

    ROUNDS=1000  for quieter medians

The containers take turns: one unlabelled, one whose policy allows the far side by address, one by name, which its DNS
gateway opens; and an unlabelled one with a table of one rule that looks at the state of connections, because that alone
makes the kernel track them: what rcc costs beyond it is its own.  The ratio is the median of the rounds' own ratios: a
veth pair on two processors is not a quiet place.
"""

import functools
import os
import subprocess
import sys
from typing import Callable, Dict

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

import place
from measure import goal, interleaved, paired, report

ROUNDS = int(os.environ.get("ROUNDS", "250"))
SINK, HANG_UP = 9000, 9001
MEGABYTES, CONNECTIONS = 40, 150
BASE, TRACKED = "no label", "no label, connections tracked"
BY_ADDRESS, BY_NAME = "allowed by address", "allowed by name"
TABLE = "table inet bench { chain output { type filter hook output priority 0; ct state established accept; }; }"


def variants() -> Dict[str, Callable[[], Dict[str, float]]]:
    """What takes turns.  Each container has an address of the far side for itself: they all come from one address,
    and a port that another one has just left would cost a second of waiting.
    """
    hosts = {BASE: "11.0.2.2", TRACKED: "11.0.2.3", BY_ADDRESS: "11.0.2.4", BY_NAME: "far5.bench.example"}
    rules = {BY_ADDRESS: f"cidr: {hosts[BY_ADDRESS]}/32", BY_NAME: f"host: {hosts[BY_NAME]}"}
    found = {}
    for name, host in hosts.items():
        inside = name.replace(",", "").replace(" ", "-")
        if name in rules:
            place.write_profile(inside, f"version: 1\negress:\n  - {rules[name]}\n    ports: [{SINK}, {HANG_UP}]\n")
        netns = place.container(inside, *(["--label", f"rcc={inside}"] if name in rules else []))
        if name == TRACKED:
            subprocess.run(["nsenter", f"--net={netns}", "nft", TABLE], check=True)
        if name == BY_NAME and not place.resolves(inside, host):
            print(f"VOID: {name}: the gateway does not answer for {host}")
            continue
        worker = place.Worker(inside, "tcp_load.py")
        found[name] = functools.partial(worker.ask, host, SINK, HANG_UP, MEGABYTES, CONNECTIONS)
    return found


def main() -> None:
    """Both tables and the goals."""
    place.build_far_side()
    place.start(place.FAR_NETNS, "dns_upstream.py", place.FAR)
    place.start(place.FAR_NETNS, "tcp_far.py", str(SINK), str(HANG_UP))
    place.use_resolver(place.FAR)
    found = interleaved(variants(), ROUNDS)
    for key, unit, what in (
        ("throughput", "MB/s", f"throughput of one connection, {MEGABYTES} MB (medians of {ROUNDS})"),
        ("connections", "/s", f"connections one after the other, {CONNECTIONS} (medians of {ROUNDS})"),
    ):
        values = {name: [figures[key] for figures in each] for name, each in found.items()}
        report(what, values, BASE, unit, 0)
        for name in values:
            if name == BASE:
                continue
            ratio = paired(values[name], values[BASE])
            if name == TRACKED:
                print(f"          {key}, {name}: {ratio} of no label's, paired by rounds")
            else:
                goal(f"{key}, {name}: {ratio} of no label's, paired by rounds (goal: 0.97)", ratio.median >= 0.97)
                if TRACKED in values:
                    print(f"          {key}, {name}: {paired(values[name], values[TRACKED])} of the tracked one's")


if __name__ == "__main__":
    main()
