"""What makes a process the agent of a state folder: the sockets that it was given, and the lock."""

import contextlib
import fcntl
import os
import socket
import time
from typing import Callable, List, NamedTuple, Optional, Tuple

from rcc.core.errors import AgentError
from rcc.system.agent_line import socket_path
from rcc.system.keep import AGENT_LOCK

STEP = 0.02  # seconds between two tries
Inherited = Tuple[int, str, socket.socket]  # inode of the network namespace, label of dns_sockets.py, the socket


class Place(NamedTuple):
    """The agent's place.

    lock: the descriptor that holds ``agent.lock``.  listening: the socket of agent_line.py.
    inherited: listeners in containers' namespaces that an agent before this one has opened.
    """

    lock: int
    listening: socket.socket
    inherited: Tuple[Inherited, ...] = ()


def take_lock(root: str, seconds: float, is_kept: Callable[[], bool]) -> Optional[int]:
    """The descriptor that holds the agent's lock: there is one agent for a state folder, whoever has started it.

    Waits for an older one to go.  None once nobody keeps this process any more: a keeper that comes after its death
    finds the lock, and adopts, or does not, and then this process goes.  Raises AgentError.
    """
    path = os.path.join(root, AGENT_LOCK)
    deadline = time.monotonic() + seconds
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise AgentError(f"cannot open the agent's lock: {error.strerror}", where=path) from error
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if is_kept():  # asked once it is taken
                return descriptor
        if not is_kept():
            os.close(descriptor)
            return None
        if time.monotonic() > deadline:
            os.close(descriptor)
            raise AgentError("another agent holds the lock and does not go", where=path)
        time.sleep(STEP)


def inode_at(root: str) -> int:
    """The inode of the socket file, 0 when there is none.

    Another one than at the beginning means that nobody comes to this agent any more.
    """
    try:
        return os.stat(socket_path(root), follow_symlinks=False).st_ino
    except OSError:
        return 0


def refuse_waiting(listening: socket.socket, reply: bytes) -> None:
    """Answer whoever waits: an agent that cannot run would be started again and again for them."""
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
