"""What the kernel has noted in one namespace's table: destinations that were denied or used, and totals.

It needs no agent, and a reload carries it to the next table.
"""

from typing import Iterable, NamedTuple, Tuple

from rcc.core.special import Address

# Destinations that are remembered, per kind and address family, and for how long after the last time (or, of
# ``denied_since``, after the first).
NOTED_SIZE = 1024
NOTED_SECONDS = 86400
DENIED, DENIED_SINCE, USED = "denied", "denied_since", "used"
NOTED = (DENIED, DENIED_SINCE, USED)
SENT, RECEIVED = "sent", "received"
COUNTERS = ("denied", "unasked", "malformed", SENT, RECEIVED)


class Noted(NamedTuple):
    """One destination; ``left``: seconds until it is forgotten, from which follows when it was noted."""

    address: Address
    protocol: str
    port: int
    packets: int = 0
    bytes: int = 0
    left: float = NOTED_SECONDS

    @property
    def key(self) -> Tuple[Address, str, int]:
        """The destination itself."""
        return self.address, self.protocol, self.port

    @property
    def age(self) -> float:
        """Seconds since it was noted (of ``denied_since``: first, of the others: last)."""
        return max(NOTED_SECONDS - self.left, 0.0)


class Total(NamedTuple):
    """A counter: packets ``denied`` on their way out, ``unasked`` on their way in, ``malformed`` on either; ``sent``
    and ``received`` in flows that were admitted, without the packets that opened them.
    """

    name: str
    packets: int
    bytes: int


class Notes(NamedTuple):
    """All of one table.  ``quota_used``: bytes that count against the policy's quota so far."""

    totals: Tuple[Total, ...] = ()
    quota_used: int = 0
    denied: Tuple[Noted, ...] = ()
    denied_since: Tuple[Noted, ...] = ()
    used: Tuple[Noted, ...] = ()

    def total(self, name: str) -> int:
        """Packets of a counter."""
        return sum(total.packets for total in self.totals if total.name == name)

    def size(self, name: str) -> int:
        """Bytes of a counter."""
        return sum(total.bytes for total in self.totals if total.name == name)


class Denial(NamedTuple):
    """A denied destination: how often, and seconds since the first and the last time."""

    address: Address
    protocol: str
    port: int
    packets: int
    first: float
    last: float


def denials(notes: Notes) -> Tuple[Denial, ...]:
    """The denied destinations, the last one first."""
    since = {noted.key: noted.age for noted in notes.denied_since}
    found = (Denial(*n.key, n.packets, max(since.get(n.key, n.age), n.age), n.age) for n in notes.denied)
    return tuple(sorted(found, key=lambda denial: (denial.last, denial.address.version, denial[:3])))


def kinds(notes: Notes) -> Iterable[Tuple[str, Tuple[Noted, ...]]]:
    """The noted destinations by kind."""
    return ((DENIED, notes.denied), (DENIED_SINCE, notes.denied_since), (USED, notes.used))
