"""A ruleset as text for nft(8): libnftables commits a text as one transaction, all of it or nothing.

An empty line stands between parts that may also be committed one after the other, where one transaction is too long for
the netlink socket (``Nft.load``): at every point between them less is open than at the end.
The same ruleset gives the same text, byte by byte.  Written for nft 1.0.6 and later, kernel 5.10 and later.
"""

import re
from typing import Iterable, Iterator, List, Sequence

from rcc.core.errors import KernelError
from rcc.core.nft_table import (
    DESTINATIONS,
    FAMILY,
    QUOTA,
    TABLE,
    NftChain,
    NftElement,
    NftSet,
    nft_chains,
    nft_sets,
)
from rcc.core.notes import COUNTERS, DENIED_SINCE, NOTED_SECONDS, NOTED_SIZE, Noted, Notes, kinds
from rcc.core.ruleset import GENERATION_LIMIT, Ruleset

# A comment holds 128 bytes with the zero at its end (NFTNL_UDATA_COMMENT_MAXLEN of libnftnl).  Elements of a part:
# with three mentions of up to 150 bytes each it stays below the 208 KiB that a socket may send at once
# (net.core.wmem_default).
PART = 400
_IDENT = re.compile(r"[0-9A-Za-z._:/=-]{1,100}", re.ASCII)


def render_nft(ruleset: Ruleset, ident: str, notes: Notes = Notes()) -> str:  # noqa: B008 an immutable value
    """The whole table, in place of the one that is there: no packet meets neither or both.

    ``ident`` (letters, digits and ``._:/=-``, at most 100) says whose table it is, ``Nft.present`` finds it again.
    ``notes``: what an earlier table of this namespace has noted, which goes on in this one.
    Raises KernelError for an ident or a generation that the table cannot hold.
    """
    if not _IDENT.fullmatch(ident):
        raise KernelError(f"no mark for a table: {ident!r}")
    if not 0 < ruleset.generation <= GENERATION_LIMIT:
        raise KernelError(f"no generation: {ruleset.generation}", hint=f"1 to {GENERATION_LIMIT}")
    # `destroy table` needs kernel 6.3 and nft 1.0.7; adding first makes the deletion work where there is none.
    lines = [f"add table {FAMILY} {TABLE}", f"delete table {FAMILY} {TABLE}", f"table {FAMILY} {TABLE} {{"]
    totals = {total.name: f"packets {total.packets} bytes {total.bytes} " for total in notes.totals}
    lines += [f"\tcounter {name} {{ {totals.get(name, '')}}}" for name in COUNTERS]
    if ruleset.egress_quota is not None:
        lines.append(f"\tquota {QUOTA} {{ over {ruleset.egress_quota} bytes used {notes.quota_used} bytes }}")
    sets = nft_sets(ruleset)
    for nft_set in sets:
        lines += _set_lines(nft_set)
    for chain in nft_chains(ruleset, ident):
        lines += _chain_lines(chain)
    lines.append("}")
    parts = ["\n".join(lines) + "\n"]
    for nft_set in sets:
        if is_destination(nft_set):
            parts += [_element_lines("add", nft_set.name, some) for some in _cut(nft_set.elements)]
    for kind, noted in kinds(notes):
        for version in (4, 6):
            texts = [_noted_text(kind, one) for one in noted if one.address.version == version]
            for start in range(0, len(texts), PART):
                parts.append(_add_lines("add", f"{kind}{version}", texts[start : start + PART]))
    return "\n".join(parts)


def _noted_text(kind: str, noted: Noted) -> str:
    counter = "" if kind == DENIED_SINCE else f" counter packets {noted.packets} bytes {noted.bytes}"
    left = int(min(max(noted.left, 1), NOTED_SECONDS) * 1000)
    key = f"{noted.address} . {noted.protocol} . {noted.port}"
    return f"{key}{counter} timeout {NOTED_SECONDS}s expires {left}ms"


def render_timed(ruleset: Ruleset) -> str:
    """The text that gives the timed elements of ``ruleset`` their lifetimes anew, whether they are there or not.

    Elements that are not in ``ruleset`` are left to their lifetimes; rules and flows are not touched.
    """
    parts: List[str] = []
    for nft_set in nft_sets(ruleset):
        # Deleting what has just run out fails the transaction, and adding what is there keeps its old lifetime, so each
        # element is added, deleted and added.  (`destroy element` needs kernel 6.3, new timeouts in place 6.12.)
        for some in _cut([element for element in nft_set.elements if element.lifetime is not None]):
            add = _element_lines("add", nft_set.name, some)
            parts.append(add + _element_lines("delete", nft_set.name, _keys(some)) + add)
    return "\n".join(parts)


def is_destination(nft_set: NftSet) -> bool:
    """Whether the set opens addresses; the table is complete without its elements, and then more is closed."""
    return nft_set.name.startswith(DESTINATIONS)


def _cut(elements: Sequence[NftElement]) -> Iterator[Sequence[NftElement]]:
    for start in range(0, len(elements), PART):
        yield elements[start : start + PART]


def _keys(elements: Iterable[NftElement]) -> List[NftElement]:
    return [NftElement(element.key) for element in elements]


def _element_lines(verb: str, name: str, elements: Iterable[NftElement]) -> str:
    return _add_lines(verb, name, map(_element_text, elements))


def _add_lines(verb: str, name: str, texts: Iterable[str]) -> str:
    inner = "".join(f"\t{text},\n" for text in texts)
    return f"{verb} element {FAMILY} {TABLE} {name} {{\n{inner}}}\n"


def _element_text(element: NftElement) -> str:
    return element.key if element.lifetime is None else f"{element.key} timeout {element.lifetime}s"


def _set_lines(nft_set: NftSet) -> List[str]:
    lines = [f"\tset {nft_set.name} {{", f"\t\ttype {nft_set.type}"]
    if nft_set.dynamic:
        lines.append(f"\t\tsize {NOTED_SIZE}")
    if nft_set.flags:
        lines.append(f"\t\tflags {','.join(nft_set.flags)}")
    if nft_set.dynamic:
        lines.append(f"\t\ttimeout {NOTED_SECONDS}s")
    if nft_set.elements and not is_destination(nft_set):
        lines.append("\t\telements = {")
        lines += [f"\t\t\t{_element_text(element)}," for element in nft_set.elements]
        lines.append("\t\t}")
    return [*lines, "\t}"]


def _chain_lines(chain: NftChain) -> List[str]:
    lines = [f"\tchain {chain.name} {{"]
    if chain.hook:
        lines.append(f"\t\ttype {chain.type} hook {chain.hook} priority {chain.priority}; policy {chain.policy};")
    for rule in chain.rules:
        parts = (rule.matches, rule.verdict, f'comment "{rule.comment}"')
        lines.append("\t\t" + " ".join(part for part in parts if part))
    return [*lines, "\t}"]
