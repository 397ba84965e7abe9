"""What makes a process the agent of a state folder: the socket that it listens on, and the lock."""

import contextlib
import fcntl
import os
import socket
from typing import List, NamedTuple, Optional, Tuple

from rcc.core.errors import AgentError
from rcc.system.agent_line import socket_path

BACKLOG = 256
Inherited = Tuple[int, str, socket.socket]  # inode of the network namespace, label of dns_sockets.py, the socket


class Place(NamedTuple):
    """The agent's place.

    lock: the descriptor that holds ``agent.lock``; children share it, so it is free only when all of them have gone.
    listening: the socket of agent_line.py.  activated: it is systemd's, which brings a fresh agent when this one ends.
    inherited: listeners in containers' namespaces that were open before this process.
    talk: the connection to the agent that hands them over, and goes once this one serves.
    """

    lock: int
    listening: socket.socket
    activated: bool = False
    inherited: Tuple[Inherited, ...] = ()
    talk: Optional[socket.socket] = None


def open_lock(root: str) -> int:
    """A descriptor of the lock file.  Raises AgentError."""
    path = os.path.join(root, "agent.lock")
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise AgentError(f"cannot open the agent's lock: {error.strerror}", where=path) from error


def try_lock(descriptor: int) -> bool:
    """Whether the lock is now this process's."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def listen(root: str) -> socket.socket:
    """Open the socket, for this user only.  The caller holds the lock, so a socket that is there is stale.

    Raises AgentError.
    """
    path = socket_path(root)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        if os.path.lexists(path):
            os.unlink(path)
        listening.bind(path)
        os.chmod(path, 0o600)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise AgentError(f"cannot listen: {error.strerror or error}", where=path) from error
    return listening


def inode_at(root: str) -> int:
    """The inode of the socket file, 0 when there is none.

    Another one than at the beginning means that nobody comes to this agent any more.
    """
    try:
        return os.stat(socket_path(root), follow_symlinks=False).st_ino
    except OSError:
        return 0


def refuse_waiting(listening: socket.socket, reply: bytes) -> None:
    """Answer whoever waits: systemd would start an agent that cannot run again and again for them."""
    waiting: List[socket.socket] = []
    listening.setblocking(False)
    with contextlib.suppress(OSError):
        while True:
            waiting.append(listening.accept()[0])
    for client in waiting:
        with contextlib.suppress(OSError):
            client.settimeout(0.2)
            client.recv(1 << 16)
            client.sendall(reply)
        client.close()
