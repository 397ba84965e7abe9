"""Look names up the way the host does: its hosts file, then the servers of its resolv.conf, in order.

Messages are dnspython's, the exchange is not: ``dns.asyncquery`` (seen in 2.3) leaves UDP sockets unconnected and gives
up at the first stray datagram, and ``dns.query`` imports HTTP clients where they are installed.  Here each question has
its own connected socket, so a random port from the kernel, datagrams of the asked server only, and "connection refused"
at once; the random id is dnspython's.
"""

import asyncio
import itertools
import socket
import time
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from rcc.core.names import Answer, Answers, Server, parse_listed, parse_upstream

RESOLV_CONF = "/etc/resolv.conf"
HOSTS = "/etc/hosts"
RESOLV_CONF_LIMIT = 64 << 10  # bytes read
HOSTS_LIMIT = 4 << 20  # bytes read; names beyond it are asked of the servers
HOSTS_SECONDS = 300  # how long a line of the hosts file holds
ROUNDS = (1.0, 2.0, 4.0)  # seconds for each server, in the first, second and third round
CONCURRENT = 64  # questions under way at a time
ADDRESSES_LIMIT = 64  # per name and family; what a TCP answer can hold beyond that is no honest name
SECONDS = 15.0  # of a lookup by the agent: an answer that comes too late for one start is there for the next
GRACE = 1.0  # seconds for the second family once the first has come
TTL_LIMIT = 86400  # seconds
DATAGRAM = 65535

_Pairs = Tuple[Tuple[str, int], ...]


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
    upstream = _Upstream(config)

    async def answer(name: str) -> Answer:
        addresses = (await listed).get(name)
        if addresses:
            return Answer(name, tuple((address, HOSTS_SECONDS) for address in addresses))
        return await upstream.answer(name, deadline)

    return {name: asyncio.ensure_future(answer(name)) for name in wanted}


def _from_hosts(path: str, wanted: Sequence[str]) -> Dict[str, Tuple[str, ...]]:
    if not path:
        return {}
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return parse_listed(stream.readlines(HOSTS_LIMIT), wanted)
    except OSError:
        return {}  # hosts(5) may be missing; the servers know the rest


class _Upstream:
    """The servers during one ``resolve``: one that stays silent is asked last from then on."""

    def __init__(self, config: Config) -> None:
        self._order = list(config.servers)
        self._tcp = config.tcp
        # Held for one attempt, not for a whole name: names that nobody answers must not starve the others.
        self._free = asyncio.Semaphore(CONCURRENT)

    async def answer(self, name: str, deadline: float) -> Answer:
        """Both families.  Once one has come the other has GRACE seconds: some servers never answer for AAAA."""
        tasks = [asyncio.ensure_future(self._ask(name, kind)) for kind in ("A", "AAAA")]
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
                errors.append("no answer in time")
            elif isinstance(result, _Failed):
                errors.append(str(result))
            elif isinstance(result, BaseException):
                raise result
            else:
                addresses.extend(result)
        if not addresses and not errors:
            errors.append("the name has no addresses")
        return Answer(name, tuple(addresses), "; ".join(dict.fromkeys(errors)))

    async def _ask(self, name: str, kind: str) -> _Pairs:
        """The addresses of one kind with their seconds; none when the name has none.  Raises _Failed."""
        try:
            query = dns.message.make_query(dns.name.from_text(name), kind, use_edns=False)
        except dns.exception.DNSException as error:
            raise _Failed(f"not a name that can be asked for: {error}") from error
        problem = "no server to ask"
        for seconds in ROUNDS:
            tried: List[Server] = []
            while len(tried) < len(self._order):
                async with self._free:
                    server = next(server for server in self._order if server not in tried)
                    tried.append(server)
                    try:
                        reply = await asyncio.wait_for(_exchange(query, server, self._tcp), seconds)
                    except asyncio.TimeoutError:
                        problem = f"{server.address} does not answer"
                        self._order.remove(server)
                        self._order.append(server)
                        continue
                    except (OSError, EOFError) as error:
                        problem = f"{server.address}: {getattr(error, 'strerror', None) or 'connection closed'}"
                        continue
                if reply.rcode() == dns.rcode.NXDOMAIN:
                    raise _Failed("no such name")
                if reply.rcode() == dns.rcode.NOERROR:
                    return _chain(reply)
                problem = f"{server.address} answers {dns.rcode.to_text(reply.rcode())}"
        raise _Failed(problem)


def _chain(reply: dns.message.QueryMessage) -> _Pairs:
    try:
        chain = reply.resolve_chaining()
    except dns.exception.DNSException as error:
        raise _Failed(f"an answer that makes no sense: {error}") from error
    if chain.answer is None:
        return ()
    seconds = min(max(chain.minimum_ttl, 0), TTL_LIMIT)
    return tuple((record.address, seconds) for record in itertools.islice(chain.answer, ADDRESSES_LIMIT))


async def _exchange(query: dns.message.QueryMessage, server: Server, tcp: bool) -> dns.message.QueryMessage:
    """The response of ``server``, by TCP where UDP's is cut.  Raises OSError, EOFError."""
    if not tcp:
        reply = await _exchange_udp(query, server)
        if reply is not None:
            return reply
    return await _exchange_tcp(query, server)


def _open(server: Server, kind: "socket.SocketKind") -> Tuple[socket.socket, Tuple[object, ...]]:
    found = socket.getaddrinfo(server.address, server.port, type=kind, flags=socket.AI_NUMERICHOST)
    family, _, _, _, address = found[0]
    opened = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    return opened, address


async def _exchange_udp(query: dns.message.QueryMessage, server: Server) -> Optional[dns.message.QueryMessage]:
    """The first datagram that answers the question; None when the answer is cut (RFC 7766: ask again by TCP)."""
    loop = asyncio.get_running_loop()
    opened, address = _open(server, socket.SOCK_DGRAM)
    with opened:
        opened.connect(address)
        await loop.sock_sendall(opened, query.to_wire())
        while True:
            wire = await loop.sock_recv(opened, DATAGRAM)
            cut = len(wire) > 2 and wire[:2] == query.id.to_bytes(2, "big") and bool(wire[2] & dns.flags.TC >> 8)
            reply = _parse(query, wire)
            if cut:
                return None
            if reply is not None:
                return reply


async def _exchange_tcp(query: dns.message.QueryMessage, server: Server) -> dns.message.QueryMessage:
    loop = asyncio.get_running_loop()
    opened, address = _open(server, socket.SOCK_STREAM)
    with opened:
        await loop.sock_connect(opened, address)
        wire = query.to_wire()
        await loop.sock_sendall(opened, len(wire).to_bytes(2, "big") + wire)
        length = int.from_bytes(await _receive(opened, 2), "big")
        reply = _parse(query, await _receive(opened, length))
    if reply is None:
        raise EOFError
    return reply


async def _receive(opened: socket.socket, length: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < length:
        part = await loop.sock_recv(opened, length - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def _parse(query: dns.message.QueryMessage, wire: bytes) -> Optional[dns.message.QueryMessage]:
    """The message if it answers ``query``, None for everything else."""
    try:
        reply = dns.message.from_wire(wire)
    except (dns.exception.DNSException, ValueError):
        return None
    return reply if isinstance(reply, dns.message.QueryMessage) and query.is_response(reply) else None
