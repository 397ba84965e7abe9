"""Names that the DNS gateway answers from this machine's own knowledge: the host itself, and a container's peers."""

from typing import Callable, Dict, Iterable, Mapping, NamedTuple, Optional, Tuple

from rcc.app.facts import hosts_of
from rcc.core.compile import HOST_NAMES, HostsFile, host_addresses_in
from rcc.core.openings import Openings
from rcc.core.peers import Network, find_peers, parse_network, place_of
from rcc.core.policy import HostRule, PeersRule
from rcc.core.special import Address
from rcc.core.within import covers_name
from rcc.system import aardvark
from rcc.system.addresses import own_addresses
from rcc.system.state import Record

FOLDERS_LIMIT = 8  # a user has one, unless he runs Podman with several run roots
Networks = Tuple[Network, ...]


class Local(NamedTuple):
    """What a name stands for here.  ``peer``: the addresses are other containers' and have to be opened first."""

    addresses: Tuple[Address, ...]
    peer: bool


class _Known(NamedTuple):
    """What a folder said; ``before``: what it said when it was last at rest."""

    signature: aardvark.Signature
    settled: bool
    networks: Networks
    before: Networks


class Neighbours:
    """Reads the files anew whenever one of them has changed; there is nothing to start or close."""

    def __init__(
        self,
        *,
        folder_of: Callable[[str], str] = aardvark.folder_of,
        own: Callable[[], Tuple[Address, ...]] = own_addresses,
        hosts: Callable[[Record], HostsFile] = hosts_of,
    ) -> None:
        self._folder_of = folder_of
        self._own = own
        self._hosts = hosts
        self._known: Dict[str, _Known] = {}

    def local(self, record: Record, name: str) -> Optional[Local]:
        """What ``name`` (lower case, no trailing dot) stands for in the namespace of ``record``; None: not known here.

        The host's names are answered where the policy names them, with the addresses that it opened when it was loaded.
        Peers only where the policy has a rule for them, and then before any other rule, as in Podman: who gives a
        container on that network a name means that one.  Raises KernelError.
        """
        if name in HOST_NAMES:
            return self._host(record, name)
        if not any(isinstance(rule, PeersRule) for rule in record.policy.egress):
            return None
        addresses = self._peers(record, name)
        return Local(addresses, True) if addresses else None

    def still_peers(self, record: Record, known: Mapping[Address, Iterable[str]]) -> Tuple[Address, ...]:
        """Of ``known`` addresses, with the names that they were asked for by, those that are peers of ``record`` now.

        What a reload has to keep open (``Facts.peers``): History.names_of knows what was asked for.
        """
        found = []
        for address, names in known.items():
            meant = [self.local(record, name) for name in names if name not in HOST_NAMES]
            if any(local is not None and local.peer and address in local.addresses for local in meant):
                found.append(address)
        return tuple(found)

    def _host(self, record: Record, name: str) -> Optional[Local]:
        rules = tuple(rule for rule in record.policy.egress if isinstance(rule, HostRule) and covers_name(rule, name))
        if not rules:
            return None
        own = self._own()
        addresses = host_addresses_in(self._hosts(record), frozenset(own)).get(name)
        if not addresses:
            return None
        return Local(Openings(record.policy._replace(egress=rules), own).open(name, addresses, 0).admitted, False)

    def _peers(self, record: Record, name: str) -> Tuple[Address, ...]:
        place = place_of(record.resolv_conf, record.hosts)
        if place is None:
            return ()
        containers = {place.container, *(member.container for member in record.members)}
        known = self._read(self._folder_of(place.run_root))
        found = find_peers(known.networks, containers, name)
        # A file that is being written anew lacks lines for a moment; they are looked up in what it said before.
        return found or (() if known.settled else find_peers(known.before, containers, name))

    def _read(self, folder: str) -> _Known:
        last = self._known.get(folder)
        if last is not None and last.settled and last.signature == aardvark.signature_of(folder):
            return last
        read = aardvark.read_files(folder)
        parsed = [parse_network(name, text) for name, text in read.texts.items()]
        networks = tuple(network for network in parsed if network is not None)
        before = networks if read.settled or last is None else last.before
        if len(self._known) >= FOLDERS_LIMIT:
            self._known.clear()
        self._known[folder] = _Known(read.signature, read.settled, networks, before)
        return self._known[folder]
