"""The agent's socket: requests of the hooks and commands of the same user, answered from the lookup."""

import asyncio
import os
import socket
from typing import Any, Callable, Set

from rcc import __version__
from rcc.app.lookup import Lookup
from rcc.app.refresh import Refresher
from rcc.core.agent_protocol import (
    REQUEST_LIMIT,
    Pong,
    Request,
    parse_request,
    render_answers,
    render_error,
    render_ok,
    render_pong,
)
from rcc.core.errors import AgentError, RccError
from rcc.system.agent_client import UCRED, socket_path
from rcc.system.agent_start import user_namespace

CLIENTS_LIMIT = 128  # connections at a time; more are closed at once
SILENCE = 10.0  # seconds that a client may take for a line, or to read its reply


class Service:
    """Serves the socket of the state folder ``root`` until ``stop`` is called."""

    def __init__(self, root: str, lookup: Lookup, refresher: Refresher, log: Any, stop: Callable[[], None]) -> None:
        self._root = root
        self._lookup = lookup
        self._refresher = refresher
        self._log = log
        self._stop = stop
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
                Pong(__version__, os.getpid(), user_namespace(), len(self._refresher), len(self._lookup))
            )
        if request.op == "rescan":
            self._refresher.rescan()
        else:
            self._stop()
        return render_ok()
