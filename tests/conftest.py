"""Skips are told, and in CI a new one is a failure: a suite that ran yesterday must not fall silent today.

``tests/known-skips.txt`` lists the node ids (or their beginnings) that may be skipped, with the reason.
"""

import os
from typing import List

import pytest
from hypothesis import settings

# The same examples each time: what CI finds everybody finds.
settings.register_profile("rcc", deadline=None, derandomize=True)
settings.load_profile("rcc")

KNOWN = os.path.join(os.path.dirname(__file__), "known-skips.txt")
_skipped: List[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        _skipped.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if not os.environ.get("CI"):
        return
    with open(KNOWN, encoding="utf-8") as stream:
        known = tuple(line.split()[0] for line in stream if line.strip() and not line.startswith("#"))
    fresh = [node for node in _skipped if not node.startswith(known or ("\0",))]
    if fresh:
        print("\nskipped in CI without a line in tests/known-skips.txt:", *fresh, sep="\n  ")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
