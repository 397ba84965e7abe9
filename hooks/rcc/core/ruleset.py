"""The ruleset as data: what is loaded into a container's network namespace, whichever backend loads it.

``evaluate`` judges packets by it and ``render_nft`` renders it; both follow the same order, given in ``evaluate``.
"""

from typing import Iterable, NamedTuple, Optional, Tuple

from rcc.core.policy import Network, Ports
from rcc.core.special import Address

MARK_BASE = 0x72630000  # "rc"; the low half is the generation
GENERATION_LIMIT = 0xFFFF

# Where plain DNS and DNS over TLS or QUIC are spoken (RFC 1035, 7858, 9250): whoever reaches a resolver of his choice
# can ask for any name and carry data out in the questions.
DNS_PORT = 53
CLOSED_PORTS = (DNS_PORT, 853)
# Where the agent listens in the container's namespace, on the loopback addresses, in gateway mode.  Unassigned in
# practice (IANA: xns-ch), below those that unprivileged programs take.
GATEWAY_PORT = 54

# icmpv6(4) types that an address needs to work on a link at all (RFC 4861); no redirects, no echo.
ND_OUT = (133, 135, 136)  # router solicitation, neighbour solicitation, neighbour advertisement
ND_IN = (134, 135, 136)  # router advertisement, and the same
ND_HOP_LIMIT = 255  # never forwarded, so it came from the link itself (RFC 4861 section 6.1)
MLD = (130, 131, 132, 143)  # multicast listener query, report, done, report v2 (RFC 2710, RFC 3810)


class Element(NamedTuple):
    """One destination: ``lifetime`` in seconds, None for as long as the ruleset stands."""

    network: Network
    ports: Ports
    lifetime: Optional[int] = None


class Ruleset(NamedTuple):
    """Everything that decides about a packet.  Tuples are sorted, without doubles: equal policies are equal values.

    generation: 1 to 65535, the ct mark of flows judged under this ruleset is ``MARK_BASE | generation``.
    private: destinations admitted although they lie in a special range; judged first.
    special: ranges that nothing else can open.
    allowed: destinations admitted outside the special ranges.
    former: destinations that the policy's names stood for before: they keep flows that are established already.
    internet: ports (both protocols given explicitly) open towards every address outside the special ranges.
    resolvers: the DNS servers of the container's own resolv.conf, port 53 (static mode).
    gateway: all of port 53 goes to the agent's listeners on the loopback addresses, port GATEWAY_PORT.
    published: container ports that admit new flows from outside.
    egress_rate in bits per second, egress_quota in bytes.

    No two elements of one tuple overlap: nf_tables' interval sets do not take such.
    """

    generation: int
    private: Tuple[Element, ...] = ()
    special: Tuple[Network, ...] = ()
    allowed: Tuple[Element, ...] = ()
    former: Tuple[Element, ...] = ()
    internet: Tuple[Ports, ...] = ()
    resolvers: Tuple[Address, ...] = ()
    gateway: bool = False
    published: Tuple[Ports, ...] = ()
    on_denied: str = "reject"
    egress_rate: Optional[int] = None
    egress_quota: Optional[int] = None

    @property
    def mark(self) -> int:
        """The ct mark of flows that this ruleset has admitted."""
        return MARK_BASE | self.generation


class Packet(NamedTuple):
    """A packet as the output or input hook of the container's namespace sees it; fields are the packet's own.

    direction: ``out`` or ``in`` as the packet travels, ``forward`` for one that is only passed on.
    protocol: ``tcp``, ``udp``, ``icmp``, ``icmpv6``, or any other word; ports only count for the first two.
    state: conntrack's word (``new``, ``established``, ``related``, ``invalid``, ``untracked``); ``mark``: its ct mark.
    reply: whether it answers the packet that opened the flow (ct direction).
    loopback: whether it leaves or arrives by ``lo``.
    options: whether it has IPv4 options or an IPv6 routing header.
    """

    direction: str
    source: Address
    destination: Address
    protocol: str
    source_port: int = 0
    destination_port: int = 0
    state: str = "new"
    mark: int = 0
    reply: bool = False
    loopback: bool = False
    options: bool = False
    icmp_type: int = 0
    hop_limit: int = 64


class Verdict(NamedTuple):
    """``action``: ``accept``, ``drop``, ``reject`` (drop and tell the sender) or ``redirect`` (to the listener of the
    gateway in the same namespace); ``rule``: what decided, in a word.
    """

    action: str
    rule: str


def evaluate(ruleset: Ruleset, packet: Packet) -> Verdict:
    """What the loaded ruleset does with ``packet``.  In this order:

    0. with a gateway, a new flow to port 53 of any address goes to the gateway's listener, by the loopback or not at
       all: a socket that is bound to another device does not reach it (postrouting), nor do options (2);
    1. loopback passes;
    2. IPv4 options and IPv6 routing headers are dropped: they name hops that no rule has judged;
    3. flows admitted under this generation pass, both ways, until conntrack forgets them;
    4. what conntrack calls invalid is dropped;
    5. ICMP errors about flows of this generation pass;
    6. neighbour discovery of IPv6 passes, multicast listener reports are dropped;
    7. the rest is judged by the one who opened the flow.  Opened by the container: by the remote address and port (of a
       packet that comes in: its source), as ``_judge`` says.  Opened from outside: by the container's own port.

    Leaving packets that end without a verdict are denied as ``on_denied`` says, arriving ones are dropped.  The rate
    and the quota are not judged here: they depend on what went before.
    """
    leaving = packet.direction == "out"
    if packet.direction not in ("out", "in"):
        return Verdict("drop", "policy")
    dns = packet.protocol in ("tcp", "udp") and packet.destination_port == DNS_PORT
    malformed = "options" if packet.destination.version == 4 else "routing header"
    if leaving and ruleset.gateway and dns and packet.state == "new":
        odd = packet.options and not packet.loopback
        return Verdict("drop", malformed) if odd else Verdict("redirect", "gateway")
    if packet.loopback:
        return Verdict("accept", "loopback")
    if leaving and packet.destination.is_loopback:
        return Verdict("drop", "loopback elsewhere")
    if packet.options:
        return Verdict("drop", malformed)
    established = packet.state == "established"
    if established and packet.mark == ruleset.mark:
        return Verdict("accept", "admitted before")
    if packet.state == "invalid":
        return Verdict("drop", "invalid")
    if packet.state == "related" and packet.mark == ruleset.mark and packet.protocol in ("icmp", "icmpv6"):
        return Verdict("accept", "error of a flow")
    if packet.protocol == "icmpv6":
        if packet.hop_limit == ND_HOP_LIMIT and packet.icmp_type in (ND_OUT if leaving else ND_IN):
            return Verdict("accept", "neighbours")
        if leaving and packet.icmp_type in MLD:
            return Verdict("drop", "listeners")
    answer = established and packet.reply
    if leaving:
        if not answer:
            rule = _judge(ruleset, packet.destination, packet.protocol, packet.destination_port, established)
        else:
            rule = "published" if _has_port(ruleset.published, packet.protocol, packet.source_port) else ""
        return Verdict("accept", rule) if rule else Verdict(ruleset.on_denied, "denied")
    if answer:
        rule = _judge(ruleset, packet.source, packet.protocol, packet.source_port, established)
    else:
        rule = "published" if _has_port(ruleset.published, packet.protocol, packet.destination_port) else ""
    return Verdict("accept", rule) if rule else Verdict("drop", "unasked")


def _judge(ruleset: Ruleset, remote: Address, protocol: str, port: int, established: bool) -> str:
    """The rule that lets the container talk to ``remote``, empty when none does.

    Resolvers on port 53; nobody else on the ports of DNS; former destinations of established flows; private
    destinations; nothing else in the special ranges; allowed destinations; the internet.
    """
    if protocol not in ("tcp", "udp"):
        return ""
    if port == DNS_PORT and remote in ruleset.resolvers:
        return "resolver"
    if port in CLOSED_PORTS:
        return ""
    if established and _has_element(ruleset.former, remote, protocol, port):
        return "former"
    if _has_element(ruleset.private, remote, protocol, port):
        return "private"
    if any(remote in network for network in ruleset.special):
        return ""
    if _has_element(ruleset.allowed, remote, protocol, port):
        return "allowed"
    return "internet" if _has_port(ruleset.internet, protocol, port) else ""


def _has_port(spans: Iterable[Ports], protocol: str, port: int) -> bool:
    return any(span.protocol == protocol and span.low <= port <= span.high for span in spans)


def _has_element(elements: Iterable[Element], remote: Address, protocol: str, port: int) -> bool:
    return any(_has_port((element.ports,), protocol, port) and remote in element.network for element in elements)
