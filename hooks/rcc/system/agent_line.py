"""One line to the agent and one back, with next to no imports (``socket`` takes 3 ms), never hanging."""

import posix
from _socket import AF_UNIX, SO_PEERCRED, SOCK_CLOEXEC, SOCK_STREAM, SOL_SOCKET, socket
from time import monotonic

from rcc.core.errors import AgentError

SOCKET = "agent.sock"  # in the state folder
UCRED = 12  # bytes of struct ucred: pid, uid, gid (unix(7))
REPLY_LIMIT = 16 << 20  # bytes


class NoAgent(AgentError):
    """No agent runs for this state folder."""


def socket_path(root: str) -> str:
    """Where the agent of the state folder ``root`` listens."""
    return f"{root}/{SOCKET}"


def exchange(root: str, line: bytes, seconds: float) -> bytes:
    """The agent's line in answer to ``line``.  Raises NoAgent, AgentError."""
    path = socket_path(root)
    deadline = monotonic() + seconds
    connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    try:
        connection.settimeout(seconds)
        try:
            connection.connect(path)
        except OSError as error:
            raise NoAgent(f"no agent: {error.strerror or error}", where=path) from error
        uid = int.from_bytes(connection.getsockopt(SOL_SOCKET, SO_PEERCRED, UCRED)[4:8], "little")
        if uid != posix.getuid():
            raise AgentError("somebody else listens where the agent should", where=path)
        connection.sendall(line)
        parts: "list[bytes]" = []
        length = 0
        while not parts or not parts[-1].endswith(b"\n"):
            left = deadline - monotonic()
            if left <= 0 or length > REPLY_LIMIT:
                raise AgentError("the agent does not answer in time", where=path)
            connection.settimeout(left)
            part = connection.recv(1 << 16)
            if not part:
                raise AgentError("the agent hung up", where=path)
            parts.append(part)
            length += len(part)
        return b"".join(parts)
    except OSError as error:  # a timeout is one, too
        raise AgentError(f"the agent does not answer: {error.strerror or error}", where=path) from error
    finally:
        connection.close()
