"""The sockets of one network namespace, from the kernel (sock_diag(7)): whose question was that, what is connected."""

import socket
import struct
from ipaddress import IPv4Address, IPv6Address
from typing import Iterator, List, NamedTuple, Tuple

from rcc.core.errors import KernelError
from rcc.core.special import Address
from rcc.system.netlink import NLM_F_DUMP, attributes, dump, open_sock_diag

SOCK_DIAG_BY_FAMILY = 20  # <linux/sock_diag.h>
INET_DIAG_INFO = 2  # <linux/inet_diag.h>
# struct inet_diag_req_v2 and inet_diag_msg, with struct inet_diag_sockid between.
_REQUEST = struct.Struct("=BBBBI48x")
_HEAD = struct.Struct("=BBBB")
_PORTS = struct.Struct("!HH")
_TAIL = struct.Struct("=IIIII")  # expires, rqueue, wqueue, uid, inode
_SOCKID = 4
_TAIL_AT = 52
_ATTRIBUTES_AT = 72
# struct tcp_info (<linux/tcp.h>, 4.1): bytes_acked and bytes_received.
_BYTES_AT, _BYTES = 120, struct.Struct("=QQ")
STATES = (
    "", "established", "syn-sent", "syn-recv", "fin-wait-1", "fin-wait-2", "time-wait", "close", "close-wait",
    "last-ack", "listen", "closing", "new-syn-recv",
)  # <net/tcp_states.h>, in the words of ss(8)  # fmt: skip
EVERY_STATE = 0xFFFFFFFF
FAMILIES = (socket.AF_INET, socket.AF_INET6)
PROTOCOLS = (("tcp", socket.IPPROTO_TCP), ("udp", socket.IPPROTO_UDP))


class Socket(NamedTuple):
    """One socket.  ``inode`` as in /proc/PID/fd, 0 when no process has it; sizes in bytes, of TCP only."""

    protocol: str
    state: str
    port: int
    remote: Address
    remote_port: int
    uid: int
    inode: int
    sent: int = 0
    received: int = 0


def read_sockets(protocols: Tuple[str, ...] = ("tcp", "udp")) -> List[Socket]:
    """The sockets of the namespace that this thread is in.  Raises KernelError."""
    found: List[Socket] = []
    try:
        with open_sock_diag() as netlink:
            for name, number in PROTOCOLS:
                if name in protocols:
                    for family in FAMILIES:
                        body = _REQUEST.pack(family, number, 1 << (INET_DIAG_INFO - 1), 0, EVERY_STATE)
                        messages, _ = dump(netlink, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, body)
                        found += _parsed(name, messages)
    except OSError as error:
        raise KernelError(f"cannot list sockets: {error.strerror}") from error
    except (struct.error, ValueError, IndexError) as error:
        raise KernelError(f"the kernel lists sockets in an unknown form: {error!r}") from error
    return found


def _parsed(protocol: str, messages: List[bytes]) -> Iterator[Socket]:
    for message in messages:
        family, state, _, _ = _HEAD.unpack_from(message)
        port, remote_port = _PORTS.unpack_from(message, _SOCKID)
        raw = message[_SOCKID + 20 : _SOCKID + 36]
        remote: Address = IPv4Address(raw[:4]) if family == socket.AF_INET else IPv6Address(raw)
        if isinstance(remote, IPv6Address) and remote.ipv4_mapped is not None:
            remote = remote.ipv4_mapped
        _, _, _, uid, inode = _TAIL.unpack_from(message, _TAIL_AT)
        info = dict(attributes(message[_ATTRIBUTES_AT:])).get(INET_DIAG_INFO, b"") if protocol == "tcp" else b""
        sent, received = _BYTES.unpack_from(info, _BYTES_AT) if len(info) >= _BYTES_AT + _BYTES.size else (0, 0)
        word = STATES[state] if state < len(STATES) else str(state)
        yield Socket(protocol, word, port, remote, remote_port, uid, inode, sent, received)
