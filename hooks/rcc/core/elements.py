"""Destinations without overlap: nf_tables' interval sets take no others (net/netfilter/nft_set_pipapo.c)."""

from typing import Dict, Iterable, List, Optional, Tuple

from rcc.core.policy import Network, Ports
from rcc.core.ruleset import Element

# Ports from low to high with a lifetime, None for ever.
_Span = Tuple[int, int, Optional[int]]


def disjoint(elements: Iterable[Element]) -> Tuple[Element, ...]:
    """Elements that admit the same destinations for the same time as ``elements``, sorted, no two of them overlapping.

    Where several admit a destination the longest lifetime holds.  Elements with a lifetime are single addresses;
    networks stand for ever, and two networks either nest or have nothing in common, so an element gives up the ports
    that a network around it has.
    """
    groups: Dict[Tuple[Network, str], List[_Span]] = {}
    for network, ports, lifetime in elements:
        groups.setdefault((network, ports.protocol), []).append((ports.low, ports.high, lifetime))
    lengths = sorted({(network.version, network.prefixlen) for network, _ in groups})
    found = []
    for (network, protocol), spans in groups.items():
        around: List[_Span] = []
        for version, length in lengths:
            if version == network.version and length < network.prefixlen:
                around.extend(groups.get((network.supernet(new_prefix=length), protocol), ()))
        covered = [(low, high) for low, high, lifetime in around if lifetime is None]
        for low, high, lifetime in _without(_layered(spans), covered):
            found.append(Element(network, Ports(protocol, low, high), lifetime))
    return tuple(sorted(found, key=element_key))


def element_key(element: Element) -> "tuple[int, int, int, Ports, int]":
    """The order of elements: IPv4 first, then address, length, ports."""
    network = element.network
    lifetime = -1 if element.lifetime is None else element.lifetime
    return (network.version, int(network.network_address), network.prefixlen, element.ports, lifetime)


def _layered(spans: List[_Span]) -> List[_Span]:
    """The spans laid over each other: ascending, apart, each port with the longest of its lifetimes."""
    if len(spans) == 1:
        return spans
    edges = sorted({edge for low, high, _ in spans for edge in (low, high + 1)})
    found: List[_Span] = []
    for low, end in zip(edges, edges[1:]):
        lifetimes = [lifetime for first, last, lifetime in spans if first <= low and end - 1 <= last]
        if not lifetimes:
            continue
        longest = None if None in lifetimes else max(lifetime for lifetime in lifetimes if lifetime is not None)
        joins = found and found[-1][1] == low - 1 and found[-1][2] == longest
        # Ports next to each other stay apart unless one of the spans held both: single ports belong in hash sets.
        if joins and any(first < low <= last for first, last, _ in spans):
            found[-1] = (found[-1][0], end - 1, longest)
        else:
            found.append((low, end - 1, longest))
    return found


def _without(spans: List[_Span], covered: List[Tuple[int, int]]) -> List[_Span]:
    for first, last in covered:
        rest: List[_Span] = []
        for low, high, lifetime in spans:
            if high < first or last < low:
                rest.append((low, high, lifetime))
                continue
            if low < first:
                rest.append((low, first - 1, lifetime))
            if last < high:
                rest.append((last + 1, high, lifetime))
        spans = rest
    return spans
