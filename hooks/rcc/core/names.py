"""What names stand for, and the two files of the host that decide how it looks them up.

``resolv_conf`` reads the same files of containers, where only addresses count.
"""

from ipaddress import ip_address
from typing import Dict, Iterable, List, NamedTuple, Tuple

SERVERS_LIMIT = 3  # MAXNS of glibc's resolv.h and of musl: later lines do not count
DNS_PORT = 53


class Answer(NamedTuple):
    """What a name stands for: pairs of address text and the seconds for which it holds; ``error`` if that failed.

    Both may be there: the IPv4 addresses arrived and the question for IPv6 found no server.
    """

    name: str
    addresses: Tuple[Tuple[str, int], ...] = ()
    error: str = ""


Answers = Tuple[Answer, ...]


class Server(NamedTuple):
    """A DNS server; ``address`` is numeric and may carry a scope (``fe80::1%eth0``)."""

    address: str
    port: int


class Upstream(NamedTuple):
    """The parts of resolv.conf(5) that matter here: search domains do not, names of a policy are complete."""

    servers: Tuple[Server, ...]
    tcp: bool = False  # option use-vc


def parse_upstream(text: str) -> Upstream:
    """The servers of a host's resolv.conf(5), in order, none twice; what is no line of one is skipped, as glibc does.

    ``nameserver [ADDRESS]:PORT`` is OpenBSD's spelling for another port than 53; glibc does not know it.
    No server at all means the one on this machine (resolv.conf(5)).
    """
    servers: List[Server] = []
    tcp = False
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            server = _parse_server(words[1])
            if server and server[0] not in servers:
                servers.extend(server)
        elif words and words[0] == "options":
            tcp = tcp or "use-vc" in words[1:]
    return Upstream(tuple(servers[:SERVERS_LIMIT]) or (Server("127.0.0.1", DNS_PORT),), tcp)


def _parse_server(word: str) -> Tuple[Server, ...]:
    port = str(DNS_PORT)
    if word.startswith("["):
        word, _, port = word[1:].partition("]:")
    try:
        ip_address(word.partition("%")[0])
        number = int(port)
    except ValueError:
        return ()
    return (Server(word, number),) if 0 < number < 1 << 16 else ()


def parse_listed(lines: Iterable[str], wanted: Iterable[str]) -> Dict[str, Tuple[str, ...]]:
    """The addresses that hosts(5) ``lines`` give to the ``wanted`` names (lower case), only for names found there."""
    names = frozenset(wanted)
    found: Dict[str, List[str]] = {}
    for line in lines:
        words = line.partition("#")[0].lower().split()
        for word in words[1:]:
            if word in names and _is_address(words[0]) and words[0] not in found.setdefault(word, []):
                found[word].append(words[0])
    return {name: tuple(addresses) for name, addresses in found.items() if addresses}


def _is_address(word: str) -> bool:
    try:
        ip_address(word)
    except ValueError:
        return False
    return "%" not in word  # a link's own address is no destination that a policy could mean
