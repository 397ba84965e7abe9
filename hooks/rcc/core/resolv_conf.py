"""/etc/resolv.conf and /etc/hosts as the C library reads them (resolv.conf(5), hosts(5)), whoever has written them."""

from ipaddress import IPv6Address, ip_address
from typing import Iterator, Optional, Tuple

from rcc.core.special import Address

TEXT_LIMIT = 1 << 20  # characters looked at; the files that engines write have some hundred
NAMESERVERS = 3  # MAXNS in <resolv.h>: libraries ask the first three
HOSTS_LIMIT = 4096


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
