"""Which servers of a container's resolv.conf its ruleset may open.

The file lies in the container and the container may write it, so it only chooses among servers that somebody else has
named.
"""

from ipaddress import ip_address
from typing import Iterable, Tuple

from rcc.core.special import Address

# Where the user-mode networks answer DNS: slirp4netns(1) (10.0.2.3 beside its gateway 10.0.2.2), pasta in Podman from
# 5.0 (pasta(1) --dns-forward, common/libnetwork/pasta: 169.254.1.1).
SLIRP_GATEWAY = ip_address("10.0.2.2")
SLIRP_DNS = ip_address("10.0.2.3")
PASTA_DNS = ip_address("169.254.1.1")
# What engines write where the host has only servers on loopback (containers/common libnetwork/resolvconf).
DEFAULTS = tuple(map(ip_address, ("8.8.8.8", "8.8.4.4", "2001:4860:4860::8888", "2001:4860:4860::8844")))


def trusted_resolvers(
    found: Iterable[Address], *, hosts_own: Iterable[Address], asked_for: Iterable[Address], gateways: Iterable[Address]
) -> Tuple[Address, ...]:
    """Those of ``found`` that are servers of the host's own resolv.conf, were given with --dns, or belong to the
    engine.

    An engine's own are the default gateways (aardvark-dns listens there), the fixed addresses of user-mode networks,
    and its public DEFAULTS where the host's servers are all on loopback.
    Loopback is left out: it is the container itself, and needs no opening.
    """
    routes, servers = tuple(gateways), tuple(hosts_own)
    known = {PASTA_DNS, *servers, *asked_for, *routes}
    if all(address.is_loopback for address in servers):
        known.update(DEFAULTS)
    if SLIRP_GATEWAY in routes:
        known.add(SLIRP_DNS)
    return tuple(address for address in found if address in known and not address.is_loopback)
