"""Read what the table in one network namespace has noted (core/notes.py), by raw netlink.

libnftables (system/nft.py) takes 16 ms and more for a listing, because it asks the kernel for all that is there; this
takes a tenth of a millisecond, and a live screen of a hundred containers asks every second.
"""

import errno
import os
import socket
import struct
from ipaddress import IPv4Address, IPv6Address
from typing import Dict, Iterator, List, Tuple

from rcc.core.errors import KernelError
from rcc.core.nft_table import QUOTA, TABLE
from rcc.core.notes import NOTED, Noted, Notes, Total
from rcc.system.netlink import (
    NFNL_SUBSYS_NFTABLES,
    NFPROTO_INET,
    NLM_F_DUMP,
    attribute,
    attributes,
    open_netfilter,
    request,
)

NFT_MSG_GETSETELEM, NFT_MSG_GETOBJ = 13, 19  # <linux/netfilter/nf_tables.h>
NFTA_SET_ELEM_LIST_TABLE, NFTA_SET_ELEM_LIST_SET, NFTA_SET_ELEM_LIST_ELEMENTS = 1, 2, 3
NFTA_SET_ELEM_KEY, NFTA_SET_ELEM_EXPIRATION, NFTA_SET_ELEM_EXPR = 1, 5, 7
NFTA_DATA_VALUE = 1
NFTA_EXPR_NAME, NFTA_EXPR_DATA = 1, 2
NFTA_COUNTER_BYTES, NFTA_COUNTER_PACKETS = 1, 2
NFTA_OBJ_TABLE, NFTA_OBJ_NAME, NFTA_OBJ_TYPE, NFTA_OBJ_DATA = 1, 2, 3, 4
NFT_OBJECT_COUNTER, NFT_OBJECT_QUOTA = 1, 2
NFTA_QUOTA_CONSUMED = 4
PROTOCOLS = {socket.IPPROTO_TCP: "tcp", socket.IPPROTO_UDP: "udp"}


def read_notes() -> Notes:
    """The notes of the namespace that this thread is in; empty where there is no table.  Raises KernelError."""
    with open_netfilter() as netlink:
        return read_notes_by(netlink)


def read_totals() -> Tuple[Total, ...]:
    """Only the counters, which takes a fifth of the time.  Raises KernelError."""
    with open_netfilter() as netlink:
        return _objects(netlink)[0]


def read_notes_by(netlink: socket.socket) -> Notes:
    """The same of the namespace in which ``netlink`` was opened, which it keeps alive.  Raises KernelError."""
    found: Dict[str, List[Noted]] = {kind: [] for kind in NOTED}
    for kind in NOTED:
        for version in (4, 6):
            found[kind] += _set(netlink, f"{kind}{version}")
    totals, quota_used = _objects(netlink)
    return Notes(totals, quota_used, *(tuple(found[kind]) for kind in NOTED))


def _set(netlink: socket.socket, name: str) -> Iterator[Noted]:
    wanted = attribute(NFTA_SET_ELEM_LIST_TABLE, TABLE.encode() + b"\0")
    wanted += attribute(NFTA_SET_ELEM_LIST_SET, name.encode() + b"\0")
    for message in _dump(netlink, NFT_MSG_GETSETELEM, wanted):
        elements = dict(attributes(message)).get(NFTA_SET_ELEM_LIST_ELEMENTS, b"")
        for _, element in attributes(elements):
            yield _noted(dict(attributes(element)))


def _noted(element: Dict[int, bytes]) -> Noted:
    key = dict(attributes(element[NFTA_SET_ELEM_KEY]))[NFTA_DATA_VALUE]
    # Each field of a concatenation takes whole 32-bit registers: an address, a protocol, a port.
    address = IPv4Address(key[:4]) if len(key) == 12 else IPv6Address(key[:16])
    protocol, port = key[-8], int.from_bytes(key[-4:-2], "big")
    packets, size = 0, 0
    if NFTA_SET_ELEM_EXPR in element:
        expression = dict(attributes(element[NFTA_SET_ELEM_EXPR]))
        if expression.get(NFTA_EXPR_NAME, b"").rstrip(b"\0") == b"counter":
            packets, size = _counter(expression[NFTA_EXPR_DATA])
    left = int.from_bytes(element.get(NFTA_SET_ELEM_EXPIRATION, b""), "big") / 1000
    return Noted(address, PROTOCOLS.get(protocol, str(protocol)), port, packets, size, left)


def _counter(data: bytes) -> Tuple[int, int]:
    fields = dict(attributes(data))
    packets, size = (int.from_bytes(fields[kind], "big") for kind in (NFTA_COUNTER_PACKETS, NFTA_COUNTER_BYTES))
    return packets, size


def _objects(netlink: socket.socket) -> Tuple[Tuple[Total, ...], int]:
    """Named counters, and what is used of the quota."""
    totals: List[Total] = []
    quota_used = 0
    for message in _dump(netlink, NFT_MSG_GETOBJ, attribute(NFTA_OBJ_TABLE, TABLE.encode() + b"\0")):
        fields = dict(attributes(message))
        name = fields[NFTA_OBJ_NAME].rstrip(b"\0").decode("ascii", "replace")
        kind = int.from_bytes(fields[NFTA_OBJ_TYPE], "big")
        if kind == NFT_OBJECT_COUNTER:
            totals.append(Total(name, *_counter(fields[NFTA_OBJ_DATA])))
        elif kind == NFT_OBJECT_QUOTA and name == QUOTA:
            quota_used = int.from_bytes(dict(attributes(fields[NFTA_OBJ_DATA]))[NFTA_QUOTA_CONSUMED], "big")
    return tuple(sorted(totals)), quota_used


def _dump(netlink: socket.socket, kind: int, wanted: bytes) -> List[bytes]:
    """The attributes of each message of a dump; none where there is no such table or set."""
    try:
        return list(request(netlink, NFNL_SUBSYS_NFTABLES << 8 | kind, NLM_F_DUMP, NFPROTO_INET, wanted))
    except OSError as error:
        if error.errno == errno.ENOENT:
            return []
        raise KernelError(f"cannot read the table's notes: {os.strerror(error.errno or errno.EIO)}") from error
    except (struct.error, KeyError, IndexError, ValueError) as error:
        raise KernelError(f"the kernel lists the table's notes in an unknown form: {error!r}") from error
