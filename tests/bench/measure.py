"""Measuring and telling: interleaved rounds, medians, ratios within one run, the goals.  Nothing here asserts.

Variants take turns within each round, so that a machine that slows down slows all of them.
"""

import os
import statistics
import subprocess
import sys
import time
from typing import Callable, Dict, List, Mapping, NamedTuple, Sequence, TypeVar

T = TypeVar("T")


def seconds(command: Sequence[str], stdin: str = os.devnull) -> float:
    """Wall time of one command that must succeed."""
    with open(stdin, "rb") as stream:
        began = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=stream)
        took = time.monotonic() - began
    if done.returncode:
        sys.exit(f"{' '.join(command)}:\n{done.stderr}")
    return took


def interleaved(variants: Mapping[str, Callable[[], T]], count: int) -> Dict[str, List[T]]:
    """``count`` results of each variant, in rounds, after a round that does not count."""
    found: Dict[str, List[T]] = {name: [] for name in variants}
    for turn in range(count + 1):
        for name, measure in variants.items():
            result = measure()
            if turn:
                found[name].append(result)
    return found


def rounds(variants: Mapping[str, Callable[[], float]], count: int) -> Dict[str, List[float]]:
    """``count`` measurements of each variant in milliseconds, as ``interleaved``, from variants that give seconds."""
    return {name: [took * 1000 for took in times] for name, times in interleaved(variants, count).items()}


def report(
    title: str, found: Mapping[str, Sequence[float]], base: str, unit: str = "ms", digits: int = 1
) -> Dict[str, float]:
    """Print a table of medians, spans and ratios to ``base``; the medians."""
    medians = {name: statistics.median(values) for name, values in found.items()}
    width = max(34, *(len(name) for name in found))
    print(f"\n{title}")
    for name, median in medians.items():
        low, high = min(found[name]), max(found[name])
        added = median - medians[base]
        print(
            f"  {name:{width}} {median:9.{digits}f} {unit}  ({low:.{digits}f} to {high:.{digits}f})"
            f"  x{median / medians[base]:.3f}  {added:+9.{digits}f} {unit}"
        )
    sys.stdout.flush()
    return medians


class Ratio(NamedTuple):
    """A median with its 95 % interval."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.low:.3f} to {self.high:.3f})"


def paired(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """The median of the rounds' own ratios: what is left when the machine drifts from round to round.

    The interval is that of order statistics: half of all ratios, give or take 0.98 times the root of their number.
    """
    ratios = sorted(our / their for our, their in zip(ours, theirs))
    half, wide = len(ratios) / 2, 0.98 * len(ratios) ** 0.5
    low, high = max(int(half - wide), 0), min(int(half + wide), len(ratios) - 1)
    return Ratio(statistics.median(ratios), ratios[low], ratios[high])


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that ``share`` (0 to 1) of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def goal(text: str, met: bool) -> None:
    """Print a goal of the project with what was found."""
    print(f"  {'met   ' if met else 'MISSED'}  {text}", flush=True)
