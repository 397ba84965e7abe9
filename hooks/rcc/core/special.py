"""Addresses that are not the public internet: they stay closed unless a rule says ``private: true``.

From the IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890, RFC 8190, as of 2025), the IPv6 address space
registry, and the clouds' own documents.  Where a registry calls a part of such a range globally reachable (192.0.0.9,
2001:20::/28, 64:ff9b::/96) it is closed all the same: it leads to a relay, a translator or a nearby server.

Not among them are the documentation ranges (192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24: RFC 5737; 2001:db8::/32:
RFC 3849; 3fff::/20: RFC 9637): nobody has them, so nothing private is behind them, and examples and tests can use them
as the public addresses that they stand for.  Nor the AS112 and AMT ranges, which are public services.
"""

from bisect import bisect_right
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Iterable, Tuple, Union

from rcc.core.policy import Network

Address = Union[IPv4Address, IPv6Address]

SPECIAL4: Tuple[IPv4Network, ...] = (
    IPv4Network("0.0.0.0/8"),  # this network (RFC 791); Linux connects to itself for 0.0.0.0
    IPv4Network("10.0.0.0/8"),  # private (RFC 1918)
    IPv4Network("100.64.0.0/10"),  # carrier-grade NAT (RFC 6598); Tailscale; Alibaba's metadata service 100.100.100.200
    IPv4Network("127.0.0.0/8"),  # loopback (RFC 1122)
    IPv4Network("168.63.129.16/32"),  # Azure's WireServer, in every virtual machine (learn.microsoft.com)
    IPv4Network("169.254.0.0/16"),  # link-local (RFC 3927), with 169.254.169.254 of most clouds
    IPv4Network("172.16.0.0/12"),  # private (RFC 1918)
    IPv4Network("192.0.0.0/24"),  # IETF protocol assignments (RFC 6890), DS-Lite, NAT64 discovery; Oracle's 192.0.0.192
    IPv4Network("192.88.99.0/24"),  # 6to4 relays, deprecated (RFC 7526)
    IPv4Network("192.168.0.0/16"),  # private (RFC 1918)
    IPv4Network("198.18.0.0/15"),  # benchmarks (RFC 2544); proxies that answer with made-up addresses
    IPv4Network("224.0.0.0/4"),  # multicast (RFC 5771)
    IPv4Network("240.0.0.0/4"),  # reserved (RFC 1112), with 255.255.255.255 limited broadcast (RFC 919)
)

# Only 2000::/3 is global unicast (RFC 4291 section 2.4, IANA IPv6 address space registry).  The three ranges around it
# hold ::, ::1 and IPv4 in IPv6 (::/96, ::ffff:0:0/96: RFC 4291), translators (64:ff9b::/96: RFC 6052, 64:ff9b:1::/48:
# RFC 8215), discard (100::/64: RFC 6666), dummies (100:0:0:1::/64: RFC 9780), segment routing (5f00::/16: RFC 9602),
# unique local (fc00::/7: RFC 4193), link-local (fe80::/10), site-local (fec0::/10: RFC 3879), multicast (ff00::/8).
SPECIAL6: Tuple[IPv6Network, ...] = (
    IPv6Network("::/3"),
    IPv6Network("2001::/23"),  # IETF protocol assignments (RFC 2928): Teredo 2001::/32, benchmarks, ORCHID
    IPv6Network("2002::/16"),  # 6to4: an IPv4 address in bits 16 to 47 (RFC 3056)
    IPv6Network("4000::/2"),
    IPv6Network("8000::/1"),
)

# What a host name with ``private: true`` may stand for.  Whoever answers for the name chooses the address, so nothing
# of the loopback, of the link, or of a cloud's control plane is here: those open by ``cidr:`` with ``private: true``.
OPENABLE4: Tuple[IPv4Network, ...] = (
    IPv4Network("10.0.0.0/8"),
    IPv4Network("100.64.0.0/10"),
    IPv4Network("172.16.0.0/12"),
    IPv4Network("192.168.0.0/16"),
    IPv4Network("169.254.1.2/32"),  # host.containers.internal with pasta (Podman from 5.3, pasta --map-guest-addr)
)
OPENABLE6: Tuple[IPv6Network, ...] = (IPv6Network("fc00::/7"),)
CONTROL_PLANES: Tuple[Network, ...] = (
    IPv4Network("100.100.100.200/32"),  # Alibaba Cloud, instance metadata
    IPv6Network("fd00:ec2::/32"),  # AWS: metadata ::254, DNS ::253, EKS pod identity ::23
    IPv6Network("fd20:ce::254/128"),  # Google Cloud, metadata
)

# Where clouds serve a virtual machine its own credentials, beside CONTROL_PLANES.
METADATA: Tuple[Network, ...] = (
    IPv4Network("169.254.169.254/32"),  # AWS, Azure, Google, OpenStack, DigitalOcean, Hetzner and others
    IPv4Network("169.254.170.2/32"),  # AWS, containers' task roles
    IPv4Network("192.0.0.192/32"),  # Oracle Cloud
    IPv4Network("168.63.129.16/32"),  # Azure's WireServer
)

_Bounds = Tuple[Tuple[int, ...], Tuple[int, ...]]


def _bounds(networks: Iterable[Network]) -> _Bounds:
    """First and last addresses, ascending, of networks that do not overlap."""
    pairs = sorted((int(network.network_address), int(network.broadcast_address)) for network in networks)
    return tuple(first for first, _ in pairs), tuple(last for _, last in pairs)


_BOUNDS4 = _bounds(SPECIAL4)
_BOUNDS6 = _bounds(SPECIAL6)


def address_network(address: Address) -> Network:
    """The network of this address alone."""
    return IPv4Network(int(address)) if isinstance(address, IPv4Address) else IPv6Network(int(address))


def touches_special(network: Network) -> bool:
    """Whether any address of ``network`` needs ``private: true``."""
    return _touches(network.version, int(network.network_address), int(network.broadcast_address))


def is_special(address: Address) -> bool:
    """Whether ``address`` needs ``private: true``."""
    return _touches(address.version, int(address), int(address))


def _touches(version: int, first: int, last: int) -> bool:
    firsts, lasts = _BOUNDS4 if version == 4 else _BOUNDS6
    index = bisect_right(firsts, last)  # the range before it is the last one that begins at or before ``last``
    return index > 0 and lasts[index - 1] >= first


def is_metadata(address: Address) -> bool:
    """Whether a cloud's metadata service is there."""
    return any(address in network for network in (*METADATA, *CONTROL_PLANES))


def never_by_name(address: Address) -> bool:
    """Whether no host name may open ``address``, not even with ``private: true``."""
    if not is_special(address):
        return False
    if any(address in plane for plane in CONTROL_PLANES):
        return True
    if isinstance(address, IPv4Address):
        return not any(address in network for network in OPENABLE4)
    return not any(address in network for network in OPENABLE6)
