"""Peers: the other containers on a container's networks, as Podman's DNS server for them is told (aardvark-dns).

netavark writes a file per network that has DNS (src/dns/aardvark.rs; seen in 1.4.0 with Podman 4.3.1, read in 2.1),
aardvark-dns reads them (its config.md):

    10.89.0.1,fd00::1 9.9.9.9                    what it listens on; servers of the network's own
    ID 10.89.0.2 fd00::2 db,database,5d32e7922408 9.9.9.9
                                                 container, IPv4, IPv6, names (also the short id); its own servers

Podman's default network has no DNS, and netavark writes nothing for macvlan and ipvlan, whose neighbours are on the
LAN: no container has a peer there.  A pod and ``--network container:`` are the one container that owns the network.
"""

from ipaddress import ip_address
from typing import Dict, Iterable, List, NamedTuple, Optional, Tuple

from rcc.core.oci import split_userdata
from rcc.core.special import Address, never_by_name

# netavark's PODMAN_DEFAULT_SEARCH_DOMAIN and aardvark-dns's default for --filter-search-domain, which nobody sets: it
# cannot be configured (netavark 1.4 to 2.1).
SEARCH_DOMAIN = ".dns.podman"
# netavark's suffix for the file of a network made with --internal, from 1.5 (aardvark-dns INTERNAL_SUFFIX).
INTERNAL = "%int"
CONTAINERS_LIMIT = 4096  # lines looked at in a file
NAMES_LIMIT = 256  # of one container
ANSWER_LIMIT = 64  # addresses of one name


class Entry(NamedTuple):
    """A container on a network; ``names`` in lower case."""

    container: str
    addresses: Tuple[Address, ...]
    names: Tuple[str, ...]


class Network(NamedTuple):
    """A network that has DNS: the bridge's own addresses, which are the host's, and who is on it."""

    name: str
    gateways: Tuple[Address, ...]
    entries: Tuple[Entry, ...]


class Place(NamedTuple):
    """Where Podman keeps what it tells a container: its run root, and the container that owns the network."""

    run_root: str
    container: str


def place_of(*paths: str) -> Optional[Place]:
    """The place that the container's /etc/resolv.conf or /etc/hosts on the host tells, None where neither is Podman's.

    Podman binds both from ``RUN_ROOT/DRIVER-containers/ID/userdata``, where ID owns the network: for a container that
    joins another's, or a pod's, that other one (libpod/container_internal_common.go, makeBindMounts; seen in 4.3.1).
    """
    for path in paths:
        root, container = split_userdata(path.rpartition("/")[0])
        if container:
            return Place(root, container)
    return None


def parse_network(file: str, text: str) -> Optional[Network]:
    """The network of one file, None while there is no first line.

    A line that is none of netavark's counts for nothing, and so does one without its end: it may be half written.
    """
    lines = text.split("\n")[:-1][: CONTAINERS_LIMIT + 1]
    gateways = _addresses(lines[0].split(" ")[0]) if lines else None
    if not gateways:
        return None
    entries = [entry for entry in map(_parse_entry, lines[1:]) if entry is not None]
    name = file[: -len(INTERNAL)] if file.endswith(INTERNAL) else file
    return Network(name, gateways, tuple(entries))


def find_peers(networks: Iterable[Network], containers: Iterable[str], name: str) -> Tuple[Address, ...]:
    """What ``name`` stands for on the networks that one of ``containers`` (ids) is on, none twice, in their order.

    As aardvark-dns answers (src/backend/mod.rs, lookup): without regard to case, with or without the search domain, and
    the container's own name too.  Addresses that could never be a container's are left out: a network's own, and those
    that no name may open.
    """
    known = tuple(networks)
    ours = frozenset(containers)
    wanted = short_name(name)
    # All networks', ours or not: a line that is out of date must not lead to the host.
    gateways = {gateway for network in known for gateway in network.gateways}
    found: Dict[Address, None] = {}
    for network in known:
        if not any(entry.container in ours for entry in network.entries):
            continue
        for entry in network.entries:
            if wanted in entry.names:
                found.update(dict.fromkeys(entry.addresses))
    usable = [address for address in found if address not in gateways and not never_by_name(address)]
    return tuple(usable[:ANSWER_LIMIT])


def short_name(name: str) -> str:
    """``name`` as it stands in the files: lower case, without the search domain and the final dot."""
    lower = name.lower().rstrip(".")
    return lower[: -len(SEARCH_DOMAIN)] if lower.endswith(SEARCH_DOMAIN) else lower


def _parse_entry(line: str) -> Optional[Entry]:
    words = line.split(" ")
    if len(words) < 4:
        return None
    addresses4, addresses6 = _addresses(words[1]), _addresses(words[2])
    if addresses4 is None or addresses6 is None or any(address.version != 4 for address in addresses4):
        return None
    names = [name.lower() for name in words[3].split(",")[:NAMES_LIMIT] if name]
    return Entry(words[0].lower(), (*addresses4, *addresses6), tuple(names))


def _addresses(word: str) -> Optional[Tuple[Address, ...]]:
    """The addresses of a list with commas, None where something else is among them."""
    found: List[Address] = []
    try:
        for text in word.split(",") if word else ():
            found.append(ip_address(text))
    except ValueError:
        return None
    return tuple(found)
