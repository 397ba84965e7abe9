"""What becomes of a question under a policy: decided by the name and the type alone, before anybody is asked."""

from typing import NamedTuple

from rcc.core import dns_message as dns
from rcc.core.compile import HOST_NAMES
from rcc.core.openings import Openings

# Passed on for names that a rule gives in full.  Not HTTPS and SVCB (RFC 9460): their hints are addresses that no set
# would hold, and their keys would hide the name in the TLS handshake.  Not ANY (RFC 8482).
OTHER_TYPES = frozenset((dns.CNAME, dns.MX, dns.TXT, dns.SRV, dns.CAA, dns.NS, dns.SOA))
ADDRESSES = frozenset((dns.A, dns.AAAA))
# The part of a name below its wildcard: longer ones carry data, not services (threat 31).
WILD_LIMIT = 100  # characters
WILD_BURST = 200  # questions for new names at once: a page or an installer asks for dozens, in two families
WILD_RATE = 5.0  # and so many more a second: at 100 characters a name, of 37 each, this is under 2.7 kbit/s

ASK, REFUSE, EMPTY = "ask", "refuse", "empty"


class Decision(NamedTuple):
    """``what``: ASK upstream, REFUSE (there is no such name, for this container), EMPTY (the name is there, and has no
    record of this type).  ``wildcard``: the rule's suffix when only a wildcard allows the name, whose new names are
    counted.
    """

    what: str
    wildcard: str = ""


def decide(openings: Openings, question: dns.Question) -> Decision:
    """What to do with a question."""
    name, qtype = question.name, question.qtype
    if not question.plain or not name:
        return Decision(REFUSE if name else EMPTY)
    if name.endswith((".in-addr.arpa", ".ip6.arpa")):
        return Decision(REFUSE)
    if not openings.may_ask(name):
        return Decision(EMPTY if openings.is_above(name) else REFUSE)
    if name in HOST_NAMES:
        return Decision(EMPTY)  # this machine knows them or nobody does
    exact = openings.exactly(name) or openings.internet
    if qtype in ADDRESSES:
        if exact:
            return Decision(ASK)
        suffix = openings.wildcard_of(name)
        if len(name) - len(suffix) > WILD_LIMIT:
            return Decision(REFUSE)
        return Decision(ASK, suffix)
    return Decision(ASK if exact and qtype in OTHER_TYPES else EMPTY)


class Budget:
    """A token bucket: ``burst`` at once and ``rate`` a second."""

    def __init__(self, burst: float = WILD_BURST, rate: float = WILD_RATE) -> None:
        self._burst = burst
        self._rate = rate
        self._left = burst
        self._at = 0.0

    def take(self, now: float) -> bool:
        """Whether one more fits at the moment ``now`` (seconds of a clock that never goes back)."""
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
