"""The addresses of this network namespace, from /proc: no netlink library on the way of a container's start."""

import os
from ipaddress import IPv4Address, IPv6Address
from typing import Iterator, Tuple

from rcc.core.errors import KernelError
from rcc.core.special import Address

# Bytes of /proc/net/fib_trie.  It lists routes as well: 100,000 of them take some 10 MB.
FIB_TRIE_LIMIT = 64 << 20


def own_addresses(proc: str = "/proc/thread-self") -> Tuple[Address, ...]:
    """Every unicast address that is local here, loopback included, sorted, IPv4 first.

    IPv4 from ``net/fib_trie`` (net/ipv4/fib_trie.c, fib_trie_seq_show: ``/32 host LOCAL`` below the address), IPv6 from
    ``net/if_inet6`` (net/ipv6/addrconf.c, if6_seq_show), which is absent where IPv6 is disabled.  ``proc``: the folder
    of a process or thread in /proc.  Raises KernelError.
    """
    found4 = set(_parse_fib_trie(_lines(os.path.join(proc, "net/fib_trie"))))
    found6 = set(_parse_if_inet6(_lines(os.path.join(proc, "net/if_inet6"), may_lack=True)))
    return (*sorted(found4), *sorted(found6))


def _parse_fib_trie(lines: Iterator[str]) -> Iterator[IPv4Address]:
    leaf = ""
    for line in lines:
        words = line.split()
        if len(words) == 2 and words[0] == "|--":
            leaf = words[1]
        elif words == ["/32", "host", "LOCAL"]:
            yield IPv4Address(leaf)


def _parse_if_inet6(lines: Iterator[str]) -> Iterator[IPv6Address]:
    for line in lines:
        digits = line.split(" ", 1)[0]
        if len(digits) == 32:
            yield IPv6Address(int(digits, 16))


def _lines(path: str, *, may_lack: bool = False) -> Iterator[str]:
    length = 0
    try:
        with open(path, encoding="ascii") as stream:
            for line in stream:
                length += len(line)
                if length > FIB_TRIE_LIMIT:
                    raise KernelError(f"{path} is too long to find the host's addresses in", where=path)
                yield line
    except FileNotFoundError as error:
        if not may_lack:
            raise KernelError(f"cannot tell the host's own addresses: no {path}", hint="mount /proc") from error
    except (OSError, ValueError) as error:
        raise KernelError(f"cannot tell the host's own addresses from {path}: {error}") from error
