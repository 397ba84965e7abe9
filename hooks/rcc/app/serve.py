"""The agent's socket: requests of the hooks and commands of the same user, answered from the lookup."""

import asyncio
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Sequence, Set, TypeVar

from rcc import __version__
from rcc.app.admit import admit
from rcc.app.gateway import Gateway
from rcc.app.hands import Hands
from rcc.app.lookup import Lookup
from rcc.app.neighbours import Neighbours
from rcc.app.refresh import Refresher
from rcc.app.release import release
from rcc.app.resolve import SECONDS, Names
from rcc.app.select import select
from rcc.app.stages import isolate_settled
from rcc.app.verbs import do
from rcc.core.agent_protocol import (
    REQUEST_LIMIT,
    Pong,
    Request,
    parse_request,
    render_answers,
    render_error,
    render_ok,
    render_pong,
    render_result,
    render_spec,
)
from rcc.core.errors import AgentError, RccError
from rcc.core.names import Answers
from rcc.core.oci import netns_path
from rcc.core.openings import wants_names
from rcc.system.agent_line import UCRED, socket_path
from rcc.system.agent_start import user_namespace
from rcc.system.history import History
from rcc.system.netns import inode_of
from rcc.system.owner import own_namespaces
from rcc.system.state import Record, State

WORKERS = 4  # hooks whose work is done at a time; the others wait
CLIENTS_LIMIT = 128  # connections at a time; more are closed at once
SILENCE = 10.0  # seconds that a client may take for a line, or to read its reply
_T = TypeVar("_T")


class _LookupNames:
    """The agent's own lookup, for the threads that do a hook's work (app/resolve.py Names)."""

    def __init__(self, lookup: Lookup, refresher: Refresher, gateway: Gateway, loop: asyncio.AbstractEventLoop) -> None:
        self._lookup = lookup
        self._refresher = refresher
        self._gateway = gateway
        self._loop = loop

    def answers(self, names: Sequence[str]) -> Answers:
        """What ``names`` stand for now."""
        return asyncio.run_coroutine_threadsafe(self._lookup.answers(names, SECONDS), self._loop).result()

    def serve(self, record: Record) -> None:
        """The record of this namespace has changed; return when its questions are answered.  Raises KernelError."""
        self._loop.call_soon_threadsafe(self._refresher.rescan)
        adopting = asyncio.run_coroutine_threadsafe(self._gateway.adopt(record), self._loop)
        if wants_names(record.policy):
            adopting.result()


def admit_spec(root: str, request: Request, names: Names) -> bytes:
    """precreate, for the hook that sent ``request``.  Raises RccError: the hook then finds out and tells by itself,
    also that a container need not be isolated.
    """
    selection = select(request.spec.encode("utf-8"), request.cwd)
    if selection is None:
        raise AgentError("nobody asks for this container to be isolated")
    path = netns_path(selection.spec)
    if (inode_of(path) if path else 0) != request.netns:
        raise AgentError("the network namespace is another one for the hook")
    spec = admit(selection, State(root), names)
    if spec is None:
        raise AgentError("this container is not to be isolated")
    return spec


def isolate_run(root: str, request: Request, names: Names) -> None:
    """createRuntime of one start.  Raises RccError."""
    path = f"/proc/{request.pid}/ns/net"
    if inode_of(path) != request.netns:
        raise AgentError("the network namespace is another one for the hook")
    isolate_settled(State(root), request.run, request.container, path, names)


def release_run(root: str, run: str) -> None:
    """poststop of one start.  Raises RccError."""
    if not run:
        raise AgentError("no run is named")
    release(State(root), run=run)


class Service:
    """Serves the socket of the state folder ``root`` until ``stop`` is called."""

    def __init__(
        self,
        root: str,
        lookup: Lookup,
        refresher: Refresher,
        gateway: Gateway,
        history: History,
        neighbours: Neighbours,
        log: Any,
        stop: Callable[[], None],
    ) -> None:
        self._root = root
        self._lookup = lookup
        self._refresher = refresher
        self._gateway = gateway
        self._log = log
        self.hands = Hands(root, lookup, refresher, gateway, history, neighbours, log, self._in_worker)
        self._stop = stop
        self._namespaces = own_namespaces()
        self._workers = ThreadPoolExecutor(max_workers=WORKERS, thread_name_prefix="hook")
        self._clients: Set[asyncio.Task[None]] = set()
        self.served = 0  # requests so far; ``busy`` and this tell whether anybody needs the agent

    @property
    def busy(self) -> bool:
        """Whether a client is connected."""
        return bool(self._clients)

    async def listen(self) -> asyncio.AbstractServer:
        """Open the socket, for this user only.  The caller holds the agent's lock, so a socket that is there is stale.

        Raises AgentError.
        """
        path = socket_path(self._root)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            if os.path.lexists(path):
                os.unlink(path)
            listening.bind(path)
            os.chmod(path, 0o600)
            return await asyncio.start_unix_server(self._connected, sock=listening, limit=REQUEST_LIMIT)
        except OSError as error:
            listening.close()
            raise AgentError(f"cannot listen: {error.strerror or error}", where=path) from error

    async def close(self) -> None:
        """Hang up on every client."""
        for task in self._clients:
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            if len(self._clients) <= CLIENTS_LIMIT and self._is_ours(writer):
                await self._serve(reader, writer)
        except (OSError, asyncio.TimeoutError, asyncio.CancelledError):
            pass  # the client has gone, or is too slow
        finally:
            self._clients.discard(task)
            writer.close()

    def _is_ours(self, writer: asyncio.StreamWriter) -> bool:
        # uids as this process's user namespace shows them (unix(7)): a stranger from outside is the overflow uid.
        credentials = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED)
        if int.from_bytes(credentials[4:8], "little") == os.getuid():
            return True
        self._log.warning("stranger", pid=int.from_bytes(credentials[:4], "little"))
        return False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                line = await asyncio.wait_for(reader.readline(), SILENCE)
            except ValueError:  # longer than the limit: there is no telling where the next one begins
                writer.write(render_error(AgentError("a request longer than the agent reads")))
                await asyncio.wait_for(writer.drain(), SILENCE)
                return
            if not line:
                return
            self.served += 1
            writer.write(await self._reply(line))
            await asyncio.wait_for(writer.drain(), SILENCE)

    async def _reply(self, line: bytes) -> bytes:
        try:
            return await self._do(parse_request(line))
        except AgentError as error:
            return render_error(error)
        except RccError as error:
            return render_error(AgentError(str(error), hint=error.hint))

    async def _do(self, request: Request) -> bytes:
        if request.op == "resolve":
            return render_answers(await self._lookup.answers(request.names, request.seconds))
        if request.op == "ping":
            return render_pong(
                Pong(__version__, os.getpid(), os.getppid(), user_namespace(), len(self._refresher), len(self._lookup))
            )
        if request.op == "rescan":
            self._refresher.rescan()
        elif request.op == "stop":
            self._stop()
        elif request.op == "call":
            return render_result(await do(self.hands, request.verb, request.arguments))
        else:
            return await self._work(request)
        return render_ok()

    async def _in_worker(self, job: "Callable[..., _T]", *arguments: object) -> "_T":
        return await asyncio.get_running_loop().run_in_executor(self._workers, job, *arguments)

    async def _work(self, request: Request) -> bytes:
        """What a hook would do itself, done here because everything is imported already (app/delegate.py)."""
        if (request.version, list(request.namespaces)) != (__version__, self._namespaces):
            raise AgentError("the hook is of another rcc, or in another namespace")
        loop = asyncio.get_running_loop()
        names = _LookupNames(self._lookup, self._refresher, self._gateway, loop)
        if request.op == "release":
            await loop.run_in_executor(self._workers, release_run, self._root, request.run)
            self._refresher.rescan()
            return render_ok()
        if request.op == "isolate":
            await loop.run_in_executor(self._workers, isolate_run, self._root, request, names)
            return render_ok()
        return render_spec(await loop.run_in_executor(self._workers, admit_spec, self._root, request, names))
