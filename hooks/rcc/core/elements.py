"""Destinations without overlap: nf_tables' interval sets take no others (net/netfilter/nft_set_pipapo.c)."""

from typing import Dict, Iterable, List, Tuple

from rcc.core.policy import Network, Ports
from rcc.core.ruleset import Element

_Span = Tuple[int, int]  # ports from low to high


def disjoint(elements: Iterable[Element]) -> Tuple[Element, ...]:
    """Elements that admit the same destinations as ``elements``, which have no lifetimes, sorted, none overlapping.

    Two networks either nest or have nothing in common, so an element gives up the ports that a network around it has.
    """
    groups: Dict[Tuple[Network, str], List[_Span]] = {}
    for network, ports, _ in elements:
        groups.setdefault((network, ports.protocol), []).append((ports.low, ports.high))
    lengths = sorted({(network.version, network.prefixlen) for network, _ in groups})
    found = []
    for (network, protocol), spans in groups.items():
        around: List[_Span] = []
        for version, length in lengths:
            if version == network.version and length < network.prefixlen:
                around.extend(groups.get((network.supernet(new_prefix=length), protocol), ()))
        for low, high in _without(_merged(spans), around):
            found.append(Element(network, Ports(protocol, low, high)))
    return tuple(sorted(found, key=element_key))


def apart(elements: Iterable[Element]) -> Tuple[Element, ...]:
    """Lasting elements without overlap, and timed ones, each once with its longest lifetime, sorted.

    Timed ones are equal or disjoint already: single addresses, ports cut into atoms (core/openings.py).
    """
    every = tuple(elements)
    timed: Dict[Tuple[Network, Ports], int] = {}
    for network, ports, lifetime in every:
        if lifetime is not None:
            timed[(network, ports)] = max(lifetime, timed.get((network, ports), 0))
    lasting = disjoint(element for element in every if element.lifetime is None)
    some = [Element(network, ports, lifetime) for (network, ports), lifetime in timed.items()]
    return tuple(sorted((*lasting, *some), key=element_key))


def element_key(element: Element) -> "tuple[int, int, int, Ports, int]":
    """The order of elements: IPv4 first, then address, length, ports."""
    network = element.network
    lifetime = -1 if element.lifetime is None else element.lifetime
    return (network.version, int(network.network_address), network.prefixlen, element.ports, lifetime)


def _merged(spans: Iterable[_Span]) -> List[_Span]:
    """The spans in order, those that overlap joined.  Ports next to each other stay apart, as they were written."""
    found: List[_Span] = []
    for low, high in sorted(spans):
        if found and low <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return found


def _without(spans: List[_Span], covered: Iterable[_Span]) -> List[_Span]:
    for first, last in covered:
        rest: List[_Span] = []
        for low, high in spans:
            if high < first or last < low:
                rest.append((low, high))
                continue
            if low < first:
                rest.append((low, first - 1))
            if last < high:
                rest.append((last + 1, high))
        spans = rest
    return spans
