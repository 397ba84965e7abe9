"""The text that brings the sets of a running container up to date: elements only, never a chain or a rule.

What a name no longer stands for is left to its lifetime: servers hand out a few addresses of many in turn, and the one
that the container got a moment ago must not close.  What lasts (networks, the host's own addresses, resolvers) is
replaced at once.
"""

from typing import List, Optional

from rcc.core.nft_table import FAMILY, TABLE, TIMED, nft_sets
from rcc.core.render_nft import render_timed
from rcc.core.ruleset import Ruleset

WHOLE = ("resolvers", "special", "private", "allowed")  # the sets that are replaced, by the beginning of their names


def render_refresh(before: Optional[Ruleset], after: Ruleset) -> str:
    """From the sets that ``before`` left, None when that is not known, to those of ``after``, with lifetimes anew."""
    old = None if before is None else {known.name: known for known in nft_sets(before)}
    lines: List[str] = []
    for new in nft_sets(after):
        if not new.name.startswith(WHOLE) or new.name.startswith(TIMED):
            continue
        if old is None or old.get(new.name) != new:
            lines.append(f"flush set {FAMILY} {TABLE} {new.name}\n")
            if new.elements:
                keys = ", ".join(element.key for element in new.elements)
                lines.append(f"add element {FAMILY} {TABLE} {new.name} {{ {keys} }}\n")
    return "".join(lines) + ("\n" if lines else "") + render_timed(after)
