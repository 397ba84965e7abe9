"""The demo, inside the lab: what a container reaches with `--label rcc=1` and without, in under a screen."""

import hashlib
import os
import statistics
import subprocess
import sys
import time
from typing import Dict, List, Tuple

LAB = {key[8:]: value for key, value in os.environ.items() if key.startswith("RCC_LAB_")}
STARTS = 5
CURL = "curl -sSk -o /dev/null --connect-timeout 3 --max-time 5"


def probes() -> List[Tuple[str, str]]:
    """What is tried: words for the reader, and the command that a container runs."""
    return [
        (f"https://{LAB['NAME']}  (the policy allows it)", f"{CURL} https://{LAB['NAME']}/"),
        ("the same over IPv6", f"{CURL} -6 https://{LAB['NAME']}/"),
        (f"https://{LAB['OTHER']}", f"{CURL} https://{LAB['OTHER']}/"),
        (f"[{LAB['OTHER_IP6']}] over IPv6", f"{CURL} 'https://[{LAB['OTHER_IP6']}]/'"),
        (f"the LAN, {LAB['LAN_IP4']}", f"{CURL} http://{LAB['LAN_IP4']}/"),
        ("cloud metadata, 169.254.169.254", f"{CURL} http://169.254.169.254/"),
    ]


def podman(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["podman", *words], capture_output=True, text=True, check=False)


def start(name: str, label: List[str]) -> None:
    done = podman("run", "-d", "--name", name, *label, LAB["IMAGE"], "sleep", "120")
    if done.returncode:
        sys.exit(f"{name} did not start:\n{done.stderr}")


def reaches(name: str) -> Dict[str, str]:
    """What each probe found, all at once so that the closed ones do not add up."""
    running = {
        words: subprocess.Popen(["podman", "exec", name, "sh", "-c", command], stderr=subprocess.PIPE, text=True)
        for words, command in probes()
    }
    return {words: "answers" if not process.wait() else "closed" for words, process in running.items()}


def host_rules() -> bytes:
    """The host's ruleset but for the numbers of packets that its counters have seen."""
    return subprocess.run(["nft", "-s", "list", "ruleset"], capture_output=True, check=True).stdout


def start_seconds(label: List[str]) -> float:
    began = time.monotonic()
    podman("run", "--rm", *label, LAB["IMAGE"], "true")
    return time.monotonic() - began


def main() -> None:
    with open(os.path.join(LAB["PROFILES"], "default.yaml"), "w", encoding="utf-8") as stream:
        stream.write(f"version: 1\negress:\n  - host: {LAB['NAME']}\n")
    label = ["--label", "rcc=1"]
    # One container at a time, so that the ruleset can be compared; and one before them, because netavark puts its
    # chains elsewhere for the first container of all.
    start_seconds([])
    columns, rules = [], []
    for words in (label, []):
        start("demo", words)
        columns.append(reaches("demo"))
        rules.append(host_rules())
        podman("rm", "-f", "-t", "0", "demo")
    closed, plain = columns
    costs = [(start_seconds(label), start_seconds([])) for _ in range(STARTS)]

    width = max(len(words) for words in closed)
    print(f"\n  {'':{width}}  {'podman run':14}  podman run")
    print(f"  {'':{width}}  --label rcc=1")
    for words, found in closed.items():
        print(f"  {words:{width}}  {found:14}  {plain[words]}")
    same = "identical, byte for byte" if rules[0] == rules[1] else "DIFFERENT"
    print(f"\n  host's ruleset while each runs: {same} (sha256 {hashlib.sha256(rules[0]).hexdigest()[:16]})")
    with_rcc, without = (statistics.median(column) for column in zip(*costs))
    print(f"  a start, median of {STARTS}: {with_rcc:.2f} s labelled, {without:.2f} s unlabelled\n")
    expected = ["answers", "answers", "closed", "closed", "closed", "closed"]
    if list(closed.values()) != expected or set(plain.values()) != {"answers"} or rules[0] != rules[1]:
        sys.exit("the demo did not show what it should")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)  # the lab takes everything with it
