"""The text that brings the sets of a running container up to date: elements only, never a chain or a rule.

What a name no longer stands for is left to its lifetime: servers hand out a few addresses of many in turn, and the one
that the container got a moment ago must not close.  Its resolvers and the host's own addresses have no lifetime and are
replaced at once.
"""

from typing import List, Optional, Tuple

from rcc.core.nft_table import FAMILY, TABLE, NftSet, nft_sets
from rcc.core.render_nft import render_elements
from rcc.core.ruleset import Element, Ruleset

WHOLE = ("resolvers", "special")  # the sets that are replaced, by the beginning of their names


def render_refresh(before: Optional[Ruleset], after: Ruleset) -> str:
    """From the sets that ``before`` left, None when that is not known, to those of ``after``, with lifetimes anew."""
    # ``render_elements`` deletes what it no longer finds: what a lifetime will close anyway is not shown to it.
    old = after._replace(private=(), allowed=()) if before is None else before
    kept = after._replace(private=_timed(after.private) + _lasting(old.private))
    kept = kept._replace(allowed=_timed(after.allowed) + _lasting(old.allowed))
    return _whole_sets(before, after) + render_elements(kept, after)


def _timed(elements: Tuple[Element, ...]) -> Tuple[Element, ...]:
    return tuple(element for element in elements if element.lifetime is not None)


def _lasting(elements: Tuple[Element, ...]) -> Tuple[Element, ...]:
    return tuple(element for element in elements if element.lifetime is None)


def render_anew(after: Ruleset) -> str:
    """The same whatever is there: interval sets are emptied first, so an old span cannot be in the way of a new one.

    In one transaction, so no packet finds them empty; what a name stood for before closes at once.
    """
    lines = [f"flush set {FAMILY} {TABLE} {known.name}\n" for known in nft_sets(after) if _is_timed_interval(known)]
    return "".join(lines) + render_refresh(None, after)


def _is_timed_interval(known: NftSet) -> bool:
    return "timeout" in known.flags and "interval" in known.flags and not known.dynamic


def _whole_sets(before: Optional[Ruleset], after: Ruleset) -> str:
    old = None if before is None else {known.name: known for known in nft_sets(before)}
    lines: List[str] = []
    for new in nft_sets(after):
        if new.name[:-1] in WHOLE and (old is None or old[new.name] != new):
            lines.append(f"flush set {FAMILY} {TABLE} {new.name}\n")
            if new.elements:
                keys = ", ".join(element.key for element in new.elements)
                lines.append(f"add element {FAMILY} {TABLE} {new.name} {{ {keys} }}\n")
    return "".join(lines)
