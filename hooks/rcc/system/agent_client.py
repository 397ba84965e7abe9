"""Ask the agent.  For the hook: imports next to nothing (``_socket``, as ``socket`` takes 3 ms), and never hangs."""

import os
import time
from _socket import AF_UNIX, SO_PEERCRED, SOCK_CLOEXEC, SOCK_STREAM, SOL_SOCKET, socket
from typing import Sequence

from rcc.core.agent_protocol import (
    REPLY_LIMIT,
    SECONDS_LIMIT,
    Pong,
    Request,
    parse_answers,
    parse_ok,
    parse_pong,
    render_request,
)
from rcc.core.errors import AgentError
from rcc.core.names import Answers

SOCKET = "agent.sock"  # in the state folder
UCRED = 12  # bytes of struct ucred: pid, uid, gid (unix(7))
PATIENCE = 0.5  # seconds beyond those that a lookup was given


class NoAgent(AgentError):
    """No agent runs for this state folder."""


def socket_path(root: str) -> str:
    """Where the agent of the state folder ``root`` listens."""
    return os.path.join(root, SOCKET)


def resolve(root: str, names: Sequence[str], seconds: float) -> Answers:
    """What ``names`` stand for, looked up for at most ``seconds``.  Raises AgentError."""
    seconds = min(seconds, SECONDS_LIMIT)
    return parse_answers(_ask(root, Request("resolve", tuple(names), seconds), seconds + PATIENCE))


def rescan(root: str, seconds: float = 0.5) -> None:
    """Tell the agent that records have changed.  Raises AgentError when nobody hears: the next agent reads them all."""
    parse_ok(_ask(root, Request("rescan"), seconds))


def ping(root: str, seconds: float = 0.5) -> Pong:
    """Who the agent is.  Raises AgentError, NoAgent."""
    return parse_pong(_ask(root, Request("ping"), seconds))


def stop(root: str, seconds: float = 0.5) -> None:
    """Ask the agent to go.  Raises AgentError."""
    parse_ok(_ask(root, Request("stop"), seconds))


def _ask(root: str, request: Request, seconds: float) -> bytes:
    line = render_request(request)
    deadline = time.monotonic() + seconds
    connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    try:
        connection.settimeout(seconds)
        try:
            connection.connect(socket_path(root))
        except OSError as error:
            raise NoAgent(f"no agent: {error.strerror or error}", where=socket_path(root)) from error
        _check_peer(connection, root)
        connection.sendall(line)
        parts: "list[bytes]" = []
        length = 0
        while not parts or not parts[-1].endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or length > REPLY_LIMIT:
                raise AgentError("the agent does not answer in time", where=socket_path(root))
            connection.settimeout(left)
            part = connection.recv(1 << 16)
            if not part:
                raise AgentError("the agent hung up", where=socket_path(root))
            parts.append(part)
            length += len(part)
        return b"".join(parts)
    except OSError as error:  # a timeout is one, too
        raise AgentError(f"the agent does not answer: {error.strerror or error}", where=socket_path(root)) from error
    finally:
        connection.close()


def _check_peer(connection: socket, root: str) -> None:
    uid = int.from_bytes(connection.getsockopt(SOL_SOCKET, SO_PEERCRED, UCRED)[4:8], "little")
    if uid != os.getuid():
        raise AgentError("somebody else listens where the agent should", where=socket_path(root))
