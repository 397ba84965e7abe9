"""Fresh network namespaces for each test module; skipped, with the reason, where the machine has none to give."""

import os
import shutil
from typing import Iterator

import pytest
from pair import Pair, entered
from rcc.core.errors import KernelError
from rcc.system.nft import Nft


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """A pair of namespaces; this process stays on one processor while they live, which keeps frames in order."""
    if shutil.which("ip") is None:
        pytest.skip("missing: ip(8), package iproute2")
    try:
        made = Pair()
    except (OSError, KernelError) as error:
        pytest.skip(f"missing: the right to make network namespaces ({error}); run as root or under unshare -rn")
    try:
        with entered(made.box):
            Nft().present()
    except KernelError as error:
        made.close()
        pytest.skip(f"missing: nf_tables ({error})")
    processors = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(processors)})
    yield made
    os.sched_setaffinity(0, processors)
    made.close()


@pytest.fixture
def lab(pair: Pair) -> Iterator[Pair]:
    """The pair with no rules in it and nothing open."""
    yield pair
    pair.forget()
    with entered(pair.box):
        Nft().remove()
