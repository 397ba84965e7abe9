"""Look names up the way the host does: its hosts file, then the servers of its resolv.conf, in order.

``dns.asyncquery`` of dnspython (seen in 2.3) leaves UDP sockets unconnected and gives up at the first stray datagram,
and its messages take ten times as long to read (core/dns_reply.py), so the exchange is our own (dns_exchange.py).
"""

import asyncio
import os
import time
from ipaddress import ip_address
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from rcc.core.dns_message import AAAA, NOERROR, NXDOMAIN, SERVFAIL, A, Record, Reply
from rcc.core.dns_reply import RECORDS_LIMIT, BadReply, encode_name
from rcc.core.names import Answer, Answers, Server, parse_listed, parse_upstream
from rcc.system.dns_exchange import Exchange
from rcc.system.in_time import in_time

RESOLV_CONF = "/etc/resolv.conf"
HOSTS = "/etc/hosts"
RESOLV_CONF_LIMIT = 64 << 10  # bytes read
HOSTS_LIMIT = 4 << 20  # bytes read; names beyond it are asked of the servers
HOSTS_SECONDS = 300  # how long a line of the hosts file holds
ROUNDS = (1.0, 2.0, 4.0)  # seconds for each server, in the first, second and third round
CONCURRENT = 64  # questions under way at a time, of one ``resolve``
CONCURRENT_ASKED = 1024  # the same for all containers; the gateway bounds each one's
ADDRESSES_LIMIT = RECORDS_LIMIT  # per name and family; what a TCP answer can hold beyond that is no honest name
SECONDS = 15.0  # of a lookup by the agent: an answer that comes too late for one start is there for the next
ASK_SECONDS = 10.0  # of a question of a container, whose resolver gives up after that (resolv.conf(5): 5 s, twice)
GRACE = 1.0  # seconds for the second family once the first has come
RCODES = ("NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED")
LATE = "no answer in time"

_Pairs = Tuple[Tuple[str, int], ...]
_Signature = Optional[Tuple[int, int, int]]


class Config(NamedTuple):
    """How to look names up.  ``hosts`` is the path of a hosts(5) file, empty for none; ``tcp``: never ask by UDP."""

    servers: Tuple[Server, ...]
    tcp: bool = False
    hosts: str = HOSTS


class _Failed(Exception):
    """A question has no answer; the text says why."""


def load_config(resolv_conf: str = RESOLV_CONF, hosts: str = HOSTS) -> Config:
    """The host's configuration as it is now; without a file there is the server on this machine (resolv.conf(5))."""
    try:
        with open(resolv_conf, encoding="utf-8", errors="replace") as stream:
            found = parse_upstream(stream.read(RESOLV_CONF_LIMIT))
    except OSError:
        found = parse_upstream("")
    return Config(found.servers, found.tcp, hosts)


def resolve_now(names: Sequence[str], seconds: float, config: Optional[Config] = None) -> Answers:
    """``resolve`` for a caller without an event loop and without the agent; at most ``seconds`` long."""
    deadline = time.monotonic() + seconds
    return asyncio.run(resolve(names, config=load_config() if config is None else config, deadline=deadline))


async def resolve(names: Sequence[str], *, config: Config, deadline: float) -> Answers:
    """What each of ``names`` stands for, in their order, each once.  ``deadline`` is a moment of ``time.monotonic()``.

    Never raises for a name: one that could not be looked up in time has an error and no addresses, or those of one
    family.  Search domains are not applied.  Only addresses on the chain of aliases that starts at the name count
    (threat 34), and they hold for the shortest time on that chain.
    """
    return tuple(await asyncio.gather(*begin(names, config=config, deadline=deadline).values()))


def begin(names: Sequence[str], *, config: Config, deadline: float) -> "Dict[str, asyncio.Task[Answer]]":
    """``resolve`` for a caller who takes each answer as it comes: a task a name, all under way.  They never raise."""
    wanted = tuple(dict.fromkeys(names))
    listed = asyncio.get_running_loop().run_in_executor(None, _from_hosts, config.hosts, wanted)
    upstream = _Upstream(config, CONCURRENT)

    async def answer(name: str) -> Answer:
        addresses = (await listed).get(name)
        if addresses:
            return Answer(name, tuple((address, HOSTS_SECONDS) for address in addresses))
        return await _both(upstream, name, deadline)

    return {name: asyncio.ensure_future(answer(name)) for name in wanted}


async def ask(name: str, rdtype: int, config: Config, deadline: float) -> Reply:
    """What the host is told for ``name`` (no trailing dot) and a type (RFC 1035 section 3.2.2), as ``Asker.ask``."""
    return await _ask_within(_Upstream(config, CONCURRENT), _Hosts(), config.hosts, name, rdtype, deadline)


class Asker:
    """Asks by the host's configuration as it is at the moment, and remembers which of its servers are silent.

    ``load`` gives the configuration; it is called again when ``resolv_conf`` has changed.
    """

    def __init__(self, resolv_conf: str = RESOLV_CONF, hosts: str = HOSTS) -> None:
        self._load: Callable[[], Config] = lambda: load_config(resolv_conf, hosts)
        self._resolv_conf = resolv_conf
        self._signature: _Signature = None
        self._config = self._load()
        self._upstream: Optional[_Upstream] = None
        self._hosts = _Hosts()

    async def ask(self, name: str, rdtype: int, seconds: float = ASK_SECONDS) -> Reply:
        """What the host is told for ``name`` and ``rdtype``, in at most ``seconds``.

        Addresses come from the hosts file, if it has the name in any family.  Search domains are not applied.  Never
        raises: without an answer the reply's rcode is SERVFAIL, and its ``error`` says why.
        """
        # Looked at each time: a laptop changes networks.
        signature = _signature(self._resolv_conf)
        if self._upstream is None or signature != self._signature:
            self._signature = signature
            config = self._load()
            if self._upstream is None or config != self._config:
                self._config = config
                self._upstream = _Upstream(config, CONCURRENT_ASKED)
        deadline = time.monotonic() + seconds
        return await _ask_within(self._upstream, self._hosts, self._config.hosts, name, rdtype, deadline)


async def _ask_within(
    upstream: "_Upstream", hosts: "_Hosts", path: str, name: str, rdtype: int, deadline: float
) -> Reply:
    if rdtype in (A, AAAA) and path:
        addresses = (await hosts.table(path)).get(name)
        if addresses:
            return _listed(addresses, rdtype)
    try:
        return await in_time(upstream.ask(name, rdtype), max(deadline - time.monotonic(), 0.0))
    except asyncio.TimeoutError:
        return Reply(SERVFAIL, error=LATE)


def _listed(texts: Sequence[str], rdtype: int) -> Reply:
    version = 4 if rdtype == A else 6
    found = [address for address in map(ip_address, texts[:ADDRESSES_LIMIT]) if address.version == version]
    return Reply(NOERROR, tuple(Record(rdtype, HOSTS_SECONDS, address.packed) for address in found), HOSTS_SECONDS)


class _Hosts:
    """A hosts(5) file, read again when it has changed."""

    def __init__(self) -> None:
        self._signature: _Signature = None
        self._table: Dict[str, Tuple[str, ...]] = {}

    async def table(self, path: str) -> Dict[str, Tuple[str, ...]]:
        """The addresses of all names in it."""
        signature = _signature(path)
        if signature != self._signature:
            # Lists that block advertisements have a hundred thousand lines.
            self._table = await asyncio.get_running_loop().run_in_executor(None, _from_hosts, path, None)
            self._signature = signature
        return self._table


def _signature(path: str) -> _Signature:
    try:
        found = os.stat(path)
    except OSError:
        return (0, 0, 0)
    return (found.st_ino, found.st_mtime_ns, found.st_size)


def _from_hosts(path: str, wanted: Optional[Sequence[str]]) -> Dict[str, Tuple[str, ...]]:
    """What a hosts(5) file says of the names, or of all that it has."""
    if not path:
        return {}
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            lines = stream.readlines(HOSTS_LIMIT)
    except OSError:
        return {}  # hosts(5) may be missing; the servers know the rest
    if wanted is None:
        wanted = [word for line in lines for word in line.partition("#")[0].lower().split()[1:]]
    return parse_listed(lines, wanted)


async def _both(upstream: "_Upstream", name: str, deadline: float) -> Answer:
    """Both families.  Once one has come the other has GRACE seconds: some servers never answer for AAAA."""
    tasks = [asyncio.ensure_future(_addresses(upstream, name, kind)) for kind in (A, AAAA)]
    left = max(deadline - time.monotonic(), 0.0)
    first, late = await asyncio.wait(tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)
    if first and late:
        found = any(task.exception() is None and task.result() for task in first)
        left = max(deadline - time.monotonic(), 0.0)
        await asyncio.wait(late, timeout=min(left, GRACE) if found else left)
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    addresses: List[Tuple[str, int]] = []
    errors: List[str] = []
    for result in results:
        if isinstance(result, asyncio.CancelledError):
            errors.append(LATE)
        elif isinstance(result, _Failed):
            errors.append(str(result))
        elif isinstance(result, BaseException):
            raise result
        else:
            addresses.extend(result)
    if not addresses and not errors:
        errors.append("the name has no addresses")
    return Answer(name, tuple(addresses), "; ".join(dict.fromkeys(errors)))


async def _addresses(upstream: "_Upstream", name: str, kind: int) -> _Pairs:
    """The addresses of one kind with their seconds; none when the name has none.  Raises _Failed."""
    reply = await upstream.ask(name, kind)
    if reply.error or reply.rcode == NXDOMAIN:
        raise _Failed(reply.error or "no such name")
    return tuple((str(ip_address(record.data)), reply.ttl) for record in reply.records)


class _Upstream:
    """The servers of one configuration: one that stays silent is asked last from then on."""

    def __init__(self, config: Config, concurrent: int) -> None:
        self._order = list(config.servers)
        self._tcp = config.tcp
        self._exchange = Exchange()
        # Held for one attempt, not for a whole name: names that nobody answers must not starve the others.
        self._free = asyncio.Semaphore(concurrent)

    async def ask(self, name: str, kind: int) -> Reply:
        """The reply of the first server that gives one.  Never raises: without one it has an ``error``."""
        try:
            encoded = encode_name(name.lower())
        except ValueError as error:
            return Reply(SERVFAIL, error=f"not a name that can be asked for: {error}")
        problem = "no server to ask"
        for seconds in ROUNDS:
            tried: List[Server] = []
            while len(tried) < len(self._order):
                async with self._free:
                    server = next(server for server in self._order if server not in tried)
                    tried.append(server)
                    try:
                        reply = await in_time(self._exchange.ask(server, encoded, kind, tcp=self._tcp), seconds)
                    except asyncio.TimeoutError:
                        problem = f"{server.address} does not answer"
                        self._order.remove(server)
                        self._order.append(server)
                        continue
                    except (OSError, EOFError) as error:
                        problem = f"{server.address}: {getattr(error, 'strerror', None) or 'connection closed'}"
                        continue
                    except BadReply as error:
                        return Reply(SERVFAIL, error=f"an answer that makes no sense: {error}")
                if reply.rcode in (NOERROR, NXDOMAIN):
                    return reply
                rcode = RCODES[reply.rcode] if reply.rcode < len(RCODES) else str(reply.rcode)
                problem = f"{server.address} answers {rcode}"
        return Reply(SERVFAIL, error=problem)
