"""The gateway's listeners in a container's network namespace: UDP and TCP, on both loopback addresses.

No SO_REUSEPORT: a process of the same uid in the container could take a share of the questions.
"""

import contextlib
import errno
import socket
from typing import Dict, List, NamedTuple, Tuple

from rcc.core.errors import KernelError
from rcc.core.ruleset import GATEWAY_PORT
from rcc.system.descriptors import above
from rcc.system.netns import OWN, inode_of, inside
from rcc.system.set_elements import SetElements

IP_FREEBIND, IPV6_FREEBIND = 15, 78  # <linux/in.h>, <linux/in6.h>: the runtime may bring lo up only later
BACKLOG = 64
# Questions that may wait for the agent: some hundred of them (sk_buff overhead counts as well).
BUFFER = 256 * 1024
PLACES: Dict[str, Tuple[int, int, str]] = {
    "udp4": (socket.AF_INET, socket.SOCK_DGRAM, "127.0.0.1"),
    "tcp4": (socket.AF_INET, socket.SOCK_STREAM, "127.0.0.1"),
    "udp6": (socket.AF_INET6, socket.SOCK_DGRAM, "::1"),
    "tcp6": (socket.AF_INET6, socket.SOCK_STREAM, "::1"),
}


class Opened(NamedTuple):
    """What the agent holds of one namespace: listeners by label (``udp4``, ``tcp4``, ``udp6``, ``tcp6``), its sets."""

    listeners: Dict[str, socket.socket]
    sets: SetElements


def open_gateway(path: str, netns: int, listeners: "Dict[str, socket.socket]") -> Opened:
    """The sockets in the namespace at ``path``, whose inode is ``netns``; ``listeners``: those that are open already.

    Raises KernelError: another namespace is there, it cannot be entered, or something in it has taken the port.
    """
    if inode_of(OWN) == netns:
        raise KernelError("this is the host's own network, which rcc never touches", where=path)
    return inside(path, lambda: _open(netns, listeners))


def _open(netns: int, listeners: "Dict[str, socket.socket]") -> Opened:
    if inode_of(OWN) != netns:
        raise KernelError("the namespace on record is gone, and another is in its place")
    fresh: List[socket.socket] = []
    try:
        found = dict(listeners)
        for label, (family, kind, address) in PLACES.items():
            if label not in found:
                with contextlib.suppress(_NoFamily):
                    found[label] = _listener(family, kind, address)
                    fresh.append(found[label])
        return Opened(found, SetElements())
    except BaseException:
        for made in fresh:
            made.close()
        raise


class _NoFamily(Exception):
    """There is no IPv6 in this namespace: then nobody asks by it either."""


def _listener(family: int, kind: int, address: str) -> socket.socket:
    try:
        made = above(socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC))
    except OSError as error:
        if error.errno == errno.EAFNOSUPPORT:
            raise _NoFamily from error
        raise KernelError(f"no socket for the DNS gateway: {error.strerror}") from error
    try:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
        else:
            made.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        if kind == socket.SOCK_STREAM:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # past connections in TIME_WAIT
        else:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        made.bind((address, GATEWAY_PORT))
        if kind == socket.SOCK_STREAM:
            made.listen(BACKLOG)
    except OSError as error:
        made.close()
        if family == socket.AF_INET6 and error.errno == errno.EADDRNOTAVAIL:
            raise _NoFamily from error
        raise KernelError(
            f"the DNS gateway cannot listen on {address} port {GATEWAY_PORT} in the container: {error.strerror}",
            hint=f"leave port {GATEWAY_PORT} free in the container, or give its profile dns: {{mode: static}}",
        ) from error
    return made
