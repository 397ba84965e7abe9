"""The agent's socket: requests of the hooks and commands of the same user, answered from the lookup."""

import asyncio
import contextlib
import os
import socket
from typing import Any, Protocol, Sequence, Set

from rcc import __version__
from rcc.app.admit import admit
from rcc.app.hands import Hands
from rcc.app.release import release
from rcc.app.resolve import SECONDS, Names
from rcc.app.select import select
from rcc.app.stages import isolate_settled
from rcc.app.verbs import do
from rcc.core.agent_protocol import (
    REQUEST_LIMIT,
    Pong,
    Request,
    adopting,
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
from rcc.system import adoption
from rcc.system.agent_line import UCRED
from rcc.system.agent_start import user_namespace
from rcc.system.in_time import in_time
from rcc.system.netns import inode_of
from rcc.system.owner import own_namespaces
from rcc.system.state import Record, State

CLIENTS_LIMIT = 128  # connections at a time; more are closed at once
SILENCE = 10.0  # seconds that a client may take for a line, or to read its reply
RETRY = 1.0  # seconds, when this process may open no more


class _LookupNames:
    """The agent's own lookup, for the threads that do a hook's work (app/resolve.py Names)."""

    def __init__(self, hands: Hands, loop: asyncio.AbstractEventLoop) -> None:
        self._hands = hands
        self._loop = loop

    def answers(self, names: Sequence[str]) -> Answers:
        """What ``names`` stand for now."""
        return asyncio.run_coroutine_threadsafe(self._hands.lookup.answers(names, SECONDS), self._loop).result()

    def serve(self, record: Record) -> None:
        """The record of this namespace has changed; return when its questions are answered.  Raises KernelError."""
        self._loop.call_soon_threadsafe(self._hands.refresher.rescan)
        adopting = asyncio.run_coroutine_threadsafe(self._hands.gateway.adopt(record), self._loop)
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


class Master(Protocol):
    """What the service may ask of the agent as a whole (app/worker.py)."""

    @property
    def keeper(self) -> int:
        """The process that keeps it, 0 for systemd and while there is none."""

    @property
    def is_orphaned(self) -> bool:
        """Whether its keeper has died."""

    def adopted_by(self, keeper: int) -> None:
        """Watch this process from now on."""

    def finish(self, how: str = "stopped") -> None:
        """End the work."""


class Service:
    """Serves the agent's socket."""

    def __init__(self, listening: socket.socket, hands: Hands, master: Master) -> None:
        self._listening = listening
        self._hands = hands
        self._master = master
        self._namespaces = own_namespaces()
        self._clients: Set[asyncio.Task[None]] = set()
        self._closed = False
        self.served = 0  # requests so far; ``busy`` and this tell whether anybody needs the agent

    @property
    def busy(self) -> bool:
        """Whether a client is connected."""
        return bool(self._clients)

    def listen(self) -> None:
        """Begin to take clients."""
        if not self._closed:
            asyncio.get_running_loop().add_reader(self._listening.fileno(), self._accept)

    async def close(self) -> None:
        """Take no more clients and hang up on every one; the socket itself stays as it is."""
        self._closed = True
        asyncio.get_running_loop().remove_reader(self._listening.fileno())
        for task in self._clients:
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    def _accept(self) -> None:
        try:
            accepted, _ = self._listening.accept()
        except (BlockingIOError, ConnectionError):
            return
        except OSError:  # no descriptors left: it would be readable again at once
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._listening.fileno())
            loop.call_later(RETRY, self.listen)
            return
        if len(self._clients) >= CLIENTS_LIMIT or not self._is_ours(accepted):
            accepted.close()
            return
        accepted.setblocking(False)
        task = asyncio.ensure_future(self._connected(accepted))
        self._clients.add(task)
        task.add_done_callback(self._clients.discard)

    async def _connected(self, accepted: socket.socket) -> None:
        with contextlib.suppress(OSError, asyncio.TimeoutError), accepted:  # it has gone, or is too slow
            reader, writer = await asyncio.open_unix_connection(sock=accepted, limit=REQUEST_LIMIT)
            try:
                await self._serve(reader, writer, accepted)
            finally:
                writer.close()

    def _is_ours(self, accepted: socket.socket) -> bool:
        # uids as this process's user namespace shows them (unix(7)): a stranger from outside is the overflow uid.
        credentials = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED)
        if int.from_bytes(credentials[4:8], "little") == os.getuid():
            return True
        self._hands.log.warning("stranger", pid=int.from_bytes(credentials[:4], "little"))
        return False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, accepted: Any) -> None:
        while True:
            try:
                line = await in_time(reader.readline(), SILENCE)
            except ValueError:  # longer than the limit: there is no telling where the next one begins
                writer.write(render_error(AgentError("a request longer than the agent reads")))
                await in_time(writer.drain(), SILENCE)
                return
            if not line:
                return
            self.served += 1
            keeper = adopting(line)
            if keeper:
                await self._hand_over(accepted, keeper)
                return
            writer.write(await self._reply(line))
            await in_time(writer.drain(), SILENCE)

    async def _hand_over(self, accepted: Any, keeper: int) -> None:
        """Give all sockets to a keeper that has come in place of one that died."""
        if not self._master.is_orphaned:
            accepted.send(render_error(AgentError("this agent has a keeper")))
            return
        connection = accepted.dup()
        try:
            if await adoption.hand_over(connection, self._listening, self._hands.gateway.sockets()):
                self._master.adopted_by(keeper)
        finally:
            connection.close()

    async def _reply(self, line: bytes) -> bytes:
        try:
            return await self._do(parse_request(line))
        except AgentError as error:
            return render_error(error)
        except RccError as error:
            return render_error(AgentError(str(error), hint=error.hint))

    async def _do(self, request: Request) -> bytes:
        hands = self._hands
        if request.op == "resolve":
            return render_answers(await hands.lookup.answers(request.names, request.seconds))
        if request.op == "ping":
            counts = (len(hands.refresher), len(hands.lookup))
            return render_pong(Pong(__version__, os.getpid(), self._master.keeper, user_namespace(), *counts))
        if request.op == "rescan":
            hands.refresher.rescan()
        elif request.op == "stop":
            self._master.finish()
        elif request.op == "restart":
            hands.gateway.save()
            self._master.finish("restart")
        elif request.op == "call":
            return render_result(await do(hands, request.verb, request.arguments))
        else:
            return await self._work(request)
        return render_ok()

    async def _work(self, request: Request) -> bytes:
        """What a hook would do itself, done here because everything is imported already (app/delegate.py)."""
        if (request.version, list(request.namespaces)) != (__version__, self._namespaces):
            raise AgentError("the hook is of another rcc, or in another namespace")
        hands = self._hands
        names = _LookupNames(hands, asyncio.get_running_loop())
        try:
            if request.op == "admit":
                return render_spec(await hands.work(admit_spec, hands.root, request, names))
            if request.op == "isolate":
                await hands.work(isolate_run, hands.root, request, names)
                return render_ok()
        except AgentError:  # the hook is to do it
            raise
        except RccError as error:
            hands.log.warning("refused", stage=request.op, error=str(error), hint=error.hint)
            raise
        await hands.work(release_run, hands.root, request.run)
        hands.refresher.rescan()
        return render_ok()
