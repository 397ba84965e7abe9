"""The gateways of the network namespace that this thread is in: an engine's DNS server for containers listens there."""

import os
import sys
from ipaddress import IPv4Address, IPv6Address
from typing import Iterator, List, Tuple

from rcc.core.errors import KernelError
from rcc.core.special import Address

# The thread's own: /proc/net is that of the process's first thread.
NET = "/proc/thread-self/net"
LIMIT = 1 << 20  # characters read of each table


def default_gateways(net: str = NET) -> Tuple[Address, ...]:
    """The next hops of all default routes, IPv4 first, none while the network is not up.  Raises KernelError.

    ``route``: net/ipv4/fib_trie.c, fib_route_seq_show, addresses as the machine's own integers; ``ipv6_route``:
    net/ipv6/route.c, absent where IPv6 is disabled.  A workload without CAP_NET_ADMIN cannot change them.
    """
    found: List[Address] = []
    for words in _rows(os.path.join(net, "route")):
        if len(words) >= 8 and words[1] == words[7] == "00000000" != words[2]:
            found.append(IPv4Address(int(words[2], 16).to_bytes(4, sys.byteorder)))
    for words in _rows(os.path.join(net, "ipv6_route")):
        if len(words) >= 5 and words[0] == "0" * 32 != words[4] and words[1] == "00":
            found.append(IPv6Address(int(words[4], 16)))
    return tuple(dict.fromkeys(found))


def _rows(path: str) -> Iterator["list[str]"]:
    try:
        with open(path, encoding="ascii") as stream:
            for line in stream.read(LIMIT).splitlines():
                yield line.split()
    except FileNotFoundError:
        return
    except OSError as error:
        raise KernelError(f"cannot read the routes: {error.strerror}", where=path) from error
