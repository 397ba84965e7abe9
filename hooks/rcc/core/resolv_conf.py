"""/etc/resolv.conf and /etc/hosts as the C library reads them (resolv.conf(5), hosts(5)), whoever has written them."""

from ipaddress import IPv6Address, ip_address
from typing import Dict, Iterable, Iterator, Optional, Tuple

from rcc.core.special import Address

TEXT_LIMIT = 1 << 20  # characters looked at; the files that engines write have some hundred
NAMESERVERS = 3  # MAXNS in <resolv.h>: libraries ask the first three
HOSTS_LIMIT = 4096
NAMING_LIMIT = 16  # lines of a hosts file that are looked at for one name


def parse_resolv_conf(text: str) -> Tuple[Address, ...]:
    """The name servers, in order, none twice, at most NAMESERVERS; what is no address counts for nothing.

    A link-local address keeps no scope (``fe80::1%eth0``): rules know addresses only.
    """
    found: Tuple[Address, ...] = ()
    for line in _lines(text):
        words = line.split()
        if len(words) < 2 or words[0] != "nameserver" or words[1][0] in "#;":
            continue
        address = _address(words[1])
        if address is not None and address not in found:
            found = (*found, address)
            if len(found) == NAMESERVERS:
                break
    return found


def parse_hosts(text: str) -> Tuple[Tuple[str, Address], ...]:
    """Pairs of a name, in lower case without a final dot, and an address, in order, at most HOSTS_LIMIT."""
    found = []
    for line in _lines(text):
        words = line.partition("#")[0].split()
        address = _address(words[0]) if words else None
        if address is None:
            continue
        for name in words[1:]:
            found.append((name.lower().rstrip("."), address))
            if len(found) == HOSTS_LIMIT:
                return tuple(found)
    return tuple(found)


def lines_naming(text: str, names: Iterable[str]) -> str:
    """The lines of a hosts file in which one of ``names`` (lower case) stands, in lower case, the first few of each.

    The container may write that file: parsing a megabyte of it takes most of a second, finding these few milliseconds.
    """
    lower = text[:TEXT_LIMIT].lower()
    found: Dict[str, None] = {}
    for name in names:
        end = 0
        for _ in range(NAMING_LIMIT):
            place = lower.find(name, end)
            if place < 0:
                break
            end = lower.find("\n", place)
            end = len(lower) if end < 0 else end
            found[lower[lower.rfind("\n", 0, place) + 1 : end]] = None
    return "\n".join(found)


def _lines(text: str) -> Iterator[str]:
    return iter(text[:TEXT_LIMIT].split("\n"))


def _address(word: str) -> Optional[Address]:
    try:
        address = ip_address(word.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped  # the C library sends IPv4 for it
    return address
