"""Bring the addresses of one isolated namespace up to date, and forget namespaces that are gone.

Everything here runs in the agent's worker thread and under the lock of the state:
a hook that loads another policy at the same moment comes before or after, never in between.
"""

import os
from typing import Callable, Optional, Tuple

from rcc.core.compile import Facts, compile_ruleset
from rcc.core.errors import KernelError
from rcc.core.names import Answers
from rcc.core.refresh_nft import render_refresh
from rcc.core.ruleset import Ruleset
from rcc.system.netns import OWN, find_inode, inode_of, inside
from rcc.system.nft import Nft
from rcc.system.state import Record, State

FactsOf = Callable[[Record, Answers], Facts]


def renew(
    state: State, known: Record, answers: Answers, before: Optional[Ruleset], facts_of: FactsOf
) -> Optional[Ruleset]:
    """Refresh the sets in the namespace of ``known`` by the ruleset that is returned; None when its record has changed,
    and the caller must read it again.

    Raises KernelError when the namespace or the table in it is not the one on record: nothing is changed then.
    """
    with state:
        record = state.record(known.netns)
        if record is None or record.ident != known.ident:
            return None
        ruleset = compile_ruleset(record.policy, facts_of(record, answers), record.generation)
        return inside(record.path, lambda: _load(record, before, ruleset))


def _load(record: Record, before: Optional[Ruleset], ruleset: Ruleset) -> Ruleset:
    if inode_of(OWN) != record.netns:
        raise KernelError("the namespace on record is gone, and another is in its place", where=record.path)
    nft = Nft()
    if nft.present() != record.ident:
        raise KernelError("the table in this namespace is not the one on record", where=record.path)
    nft.load(render_refresh(before, ruleset))
    return ruleset


def is_alive(record: Record) -> bool:
    """Whether the namespace can be found where the record says."""
    return find_inode(record.path) == record.netns


def forget_if_gone(state: State, known: Record) -> bool:
    """Remove the record when no process is left in the namespace; True when it was removed.

    ``/proc/PID/ns/net`` ends with that process, while others may live on in the namespace: it is looked for among all.
    """
    with state:
        record = state.record(known.netns)
        if record is None or record != known or is_alive(record):
            return False
        place = find_namespace(record.netns)
        if place is not None:
            state.write_record(record._replace(path=place))
            return False
        state.remove_record(record.netns)
        return True


def find_namespace(netns: int, proc: str = "/proc") -> Optional[str]:
    """A path to the namespace with this inode by a process that is in it, None when none is seen."""
    for name in os.listdir(proc):
        if name.isdigit():
            place = f"{proc}/{name}/ns/net"
            if find_inode(place) == netns:
                return place
    return None


def signature(path: str) -> Tuple[int, int, int]:
    """Changes whenever the file is written or replaced; zeros for none."""
    try:
        found = os.stat(path)
    except OSError:
        return (0, 0, 0)
    return (found.st_ino, found.st_mtime_ns, found.st_size)
