"""The policy as data: what a labelled container may reach, after all layers are merged.

These are values only: ``policy_yaml`` reads them from text, ``layers`` merges and locks them, ``compile`` turns them
into a ``Ruleset``.  NamedTuples, not dataclasses: importing ``dataclasses`` costs a container start 7 ms, ``typing`` 3
ms (``make bench`` prints both).
"""

from ipaddress import IPv4Network, IPv6Network
from typing import Iterable, List, NamedTuple, Optional, Tuple, Union

Network = Union[IPv4Network, IPv6Network]

INGRESS = ("none", "published")
DNS_MODES = ("gateway", "static")
ON_DENIED = ("reject", "drop")
MODES = ("enforce", "learn")
PROTOCOLS = ("tcp", "udp")


class Where(NamedTuple):
    """The place in a file that a line of policy comes from; line and column count from 1."""

    file: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


class Ports(NamedTuple):
    """``low`` to ``high`` (both included, 1 to 65535) of one protocol."""

    protocol: str
    low: int
    high: int

    def __str__(self) -> str:
        span = str(self.low) if self.low == self.high else f"{self.low}-{self.high}"
        return f"{span}/{self.protocol}"


HTTPS = Ports("tcp", 443, 443)
EVERY_PORT = tuple(Ports(protocol, 1, 65535) for protocol in PROTOCOLS)


def merge_ports(ports: Iterable[Ports]) -> Tuple[Ports, ...]:
    """Sorted, with overlapping and adjoining spans joined."""
    merged: List[Ports] = []
    for span in sorted(ports):
        last = merged[-1] if merged else None
        if last and last.protocol == span.protocol and span.low <= last.high + 1:
            merged[-1] = last._replace(high=max(last.high, span.high))
        else:
            merged.append(span)
    return tuple(merged)


class HostRule(NamedTuple):
    """A host name: lower case, A-labels (RFC 5890), no trailing dot.

    With ``wildcard`` the rule is for names that end in ``.name``, one or more labels deep; the apex is not included.
    ``private`` lets the name stand for private addresses as well.
    """

    name: str
    wildcard: bool
    ports: Tuple[Ports, ...]
    private: bool
    where: Where


class CidrRule(NamedTuple):
    """Literal addresses.  ``private`` is needed for networks that touch the special ranges."""

    network: Network
    ports: Tuple[Ports, ...]
    private: bool
    where: Where


class PeersRule(NamedTuple):
    """Other containers on the same networks."""

    ports: Tuple[Ports, ...]
    where: Where


class InternetRule(NamedTuple):
    """Every public address.  Empty ``ports``: every port and both protocols."""

    ports: Tuple[Ports, ...]
    where: Where


EgressRule = Union[HostRule, CidrRule, PeersRule, InternetRule]


class Limits(NamedTuple):
    """Limits for a container that sets none of its own; None: not limited by rcc."""

    memory: Optional[int] = None  # bytes
    cpus: Optional[float] = None
    pids: Optional[int] = None
    nofile: Optional[int] = None
    egress_rate: Optional[int] = None  # bits per second
    egress_quota: Optional[int] = None  # bytes, over the life of the container


class ImageRules(NamedTuple):
    """Which images may run: shell patterns on ``registry/name``; empty ``allow``: any."""

    allow: Tuple[str, ...] = ()
    require_digest: bool = False


class Policy(NamedTuple):
    """What a labelled container may do.  The default value of every field is the closed one.

    ``origins`` says which place decided a key (``ingress``, ``dns.mode``, ``limits.memory``, ...); egress rules carry
    their own.  ``files`` are all files that were read, in the order of precedence.
    mode: in ``learn`` an InternetRule for every port is among the egress rules, at the place of that word: what the
    container uses is to be found out (`rcc learn`), and only private and special addresses stay closed.
    """

    name: str
    egress: Tuple[EgressRule, ...] = ()
    ingress: str = "none"
    dns_mode: str = "gateway"
    dns_refresh: int = 300  # seconds
    limits: Limits = Limits()
    image: ImageRules = ImageRules()
    on_denied: str = "reject"
    mode: str = "enforce"
    origins: Tuple[Tuple[str, Where], ...] = ()
    files: Tuple[str, ...] = ()
