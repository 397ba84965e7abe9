"""Whole `podman run`s, one variant after the other in each round, so that a machine that slows down slows all of them.

Prints medians in milliseconds and what rcc adds as ratios within this run: only those mean anything on another machine.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Callable, Dict, List, Sequence, Tuple

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

from measure import goal, report, rounds, seconds

STARTS = int(os.environ.get("STARTS", "12"))
IMAGE = os.environ["RCC_LAB_IMAGE"]
TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
PEER = os.path.join(TOP, ".cache", "bench", "terok", "bin", "terok-shield")
FLOOR = "import os; d=b''.join(iter(lambda: os.read(0, 1 << 20), b'')); os.write(1, d)"
POLICY = "version: 1\negress:\n" + f"  - host: {os.environ['RCC_LAB_NAME']}\n"
HOOK_MODULES = (
    "pass",
    "import _json",
    "import _sqlite3",
    "import json",
    "import typing",
    "import dataclasses",
    "import rcc.hook, rcc.app.select",
    "import rcc.hook, rcc.app.select, rcc.app.admit",
    "import rcc.hook, rcc.app.select, rcc.app.admit, rcc.app.isolate",
    "import rcc.hook, rcc.app.stages, rcc.app.release",
    "import yaml",
)


def hooks_directory(name: str, code: str) -> str:
    """A hooks directory with one precreate hook that runs ``code`` in `python3 -IS`; without code an empty one."""
    folder = tempfile.mkdtemp(prefix=f"bench-{name}-")
    if code:
        hook = {
            "version": "1.0.0",
            "hook": {"path": "/usr/bin/python3", "args": ["python3", "-IS", "-c", code]},
            "when": {"always": True},
            "stages": ["precreate"],
        }
        with open(os.path.join(folder, "floor.json"), "w", encoding="utf-8") as stream:
            json.dump(hook, stream)
    return folder


def starts(network: str, empty: str, floor: str) -> None:
    """labelled, unlabelled, no rcc and the floor on one network."""

    def run(before: Sequence[str], after: Sequence[str]) -> Callable[[], float]:
        return lambda: seconds(["podman", *before, "run", "--rm", f"--network={network}", *after, IMAGE, "true"])

    found = rounds(
        {
            "no rcc": run(["--hooks-dir", empty], []),
            "empty python precreate hook": run(["--hooks-dir", floor], []),
            "rcc, unlabelled": run([], []),
            "rcc, --label rcc=1": run([], ["--label", "rcc=1"]),
        },
        STARTS,
    )
    medians = report(f"podman run --network={network} (medians of {STARTS})", found, "no rcc")
    share = medians["rcc, --label rcc=1"] / medians["no rcc"] - 1
    text = f"labelled adds {share:.1%} to a start without rcc"
    if network == "podman":
        goal(f"{text} (goal: 10 %)", share <= 0.1)
    else:
        print(f"  {text}")


def hook_alone(empty: str) -> None:
    """The precreate hook as a process of its own, on the spec of a container that runs: quieter than whole starts."""
    specs = {}
    labels: Dict[str, List[str]] = {"unlabelled": [], "labelled": ["--label", "rcc=1"]}
    for name, label in labels.items():
        keep = os.path.join(empty, name)
        folder = hooks_directory(name, f"{FLOOR}; os.write(os.open({keep!r}, os.O_CREAT | os.O_WRONLY), d)")
        seconds(["podman", "--hooks-dir", folder, "run", "-d", "--name", name, *label, IMAGE, "sleep", "300"])
        specs[name] = keep
    hook = ["/usr/bin/python3", "-IS", "/usr/libexec/rcc/rcc-hook", "precreate"]
    floor = ["/usr/bin/python3", "-IS", "-c", FLOOR]
    found = rounds(
        {
            "empty": lambda: seconds(floor, specs["unlabelled"]),
            "unlabelled": lambda: seconds(hook, specs["unlabelled"]),
            "labelled": lambda: seconds(hook, specs["labelled"]),
        },
        30,
    )
    medians = report("the precreate hook alone, a whole process (medians of 30)", found, "empty")
    times = medians["unlabelled"] / medians["empty"]
    goal(f"unlabelled costs {times:.2f} times the empty one (goal: 1.5)", times <= 1.5)
    seconds(["podman", "rm", "-f", "-t", "0", "-a"])


def peer() -> None:
    """terok-shield's own way, beside plain podman and rcc: prepare prints the flags, then podman runs with them."""
    if not os.access(PEER, os.X_OK) or not shutil.which("dnsmasq"):
        print("\nterok-shield 0.9.0: not measured, it or dnsmasq is not installed here")
        return
    state = tempfile.mkdtemp(prefix="bench-terok-")
    done = subprocess.run([PEER, "setup"], capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"\nterok-shield 0.9.0: not measured, its set-up failed: {done.stderr.strip().splitlines()[-1:]}")
        return
    count = [0]

    def terok() -> float:
        count[0] += 1
        name = f"bench{count[0]}"
        began = time.monotonic()
        flags = subprocess.run(
            [PEER, "--state-dir", state, "prepare", name], capture_output=True, text=True, check=True
        )
        subprocess.run(
            f"exec podman run --rm {flags.stdout.strip()} {IMAGE} true",
            shell=True,
            capture_output=True,
            check=True,
        )
        return time.monotonic() - began

    try:
        found = rounds(
            {
                "plain podman": lambda: seconds(["podman", "run", "--rm", IMAGE, "true"]),
                "rcc, --label rcc=1": lambda: seconds(["podman", "run", "--rm", "--label", "rcc=1", IMAGE, "true"]),
                "terok-shield 0.9.0": terok,
            },
            min(STARTS, 5),
        )
    except subprocess.CalledProcessError as error:
        print(f"\nterok-shield 0.9.0: not measured, it failed: {(error.stderr or b'')[-300:]!r}")
        return
    medians = report("beside the nearest peer", found, "plain podman")
    ours = medians["rcc, --label rcc=1"] - medians["plain podman"]
    theirs = medians["terok-shield 0.9.0"] - medians["plain podman"]
    goal(f"rcc adds {ours / theirs:.3f} of what terok-shield adds (goal: 0.05)", ours / theirs <= 0.05)


def imports() -> None:
    """Whole processes of `python3 -IS` that import what the hook imports."""

    def one(code: str) -> Callable[[], float]:
        paths = "import sys; sys.path[:0] = ['/usr/lib/rcc']; sys.path.append('/usr/lib/python3/dist-packages'); "
        return lambda: seconds(["/usr/bin/python3", "-IS", "-c", paths + code])

    report(
        "imports, each a whole process of python3 -IS", rounds({code: one(code) for code in HOOK_MODULES}, 15), "pass"
    )


def main() -> None:
    with open(os.path.join(os.environ["RCC_LAB_PROFILES"], "default.yaml"), "w", encoding="utf-8") as stream:
        stream.write(POLICY)
    folders: Tuple[str, str] = (hooks_directory("none", ""), hooks_directory("floor", FLOOR))
    for network in ("podman", "none"):
        starts(network, *folders)
    hook_alone(folders[0])
    peer()
    imports()


if __name__ == "__main__":
    main()
