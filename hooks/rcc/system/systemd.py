"""systemd as the agent meets it: the sockets that it passes (sd_listen_fds(3)) and keeps (sd_pid_notify_with_fds(3)).

The listeners in containers' namespaces are put into its store, so that an agent that is killed, or replaced by one of
another version, leaves no container's DNS closed: questions wait in the sockets meanwhile.
"""

import array
import contextlib
import os
import re
import socket
from typing import List, NamedTuple, Optional, Tuple

from rcc.core.errors import AgentError
from rcc.system.agent_socket import Inherited

LISTEN_FDS_START = 3  # <systemd/sd-daemon.h>
PATIENCE = 0.2  # seconds, when it does not read: only the next agent would miss what is not told
_STORED = re.compile(r"([1-9][0-9]*)\.([a-z0-9]+)")


class Activated(NamedTuple):
    """What systemd passed: the agent's own socket, and the listeners that an agent before this one left with it."""

    listening: socket.socket
    stored: Tuple[Inherited, ...]


def activated() -> Optional[Activated]:
    """The sockets that systemd gave to this process, None when it gave none.  Raises AgentError.

    The variables are taken away, so that no child believes them.
    """
    given, count, names = (os.environ.pop(key, "") for key in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    if given != str(os.getpid()) or not count.isdigit() or count == "0":
        return None
    listening: List[socket.socket] = []
    stored: List[Inherited] = []
    words = names.split(":")
    for index in range(int(count)):
        try:
            found = socket.socket(fileno=LISTEN_FDS_START + index)
        except OSError as error:
            raise AgentError(f"descriptor {LISTEN_FDS_START + index} is no socket: {error.strerror}") from error
        found.set_inheritable(False)
        found.setblocking(False)
        known = _STORED.fullmatch(words[index]) if index < len(words) else None
        if known:
            stored.append((int(known[1]), known[2], found))
        elif _is_listening(found):
            listening.append(found)
        else:
            found.close()
    if len(listening) != 1:
        raise AgentError(
            "systemd gave no single listening Unix stream socket", hint="look at rcc-agent.socket: ListenStream="
        )
    return Activated(listening[0], tuple(stored))


def _is_listening(found: socket.socket) -> bool:
    fits = found.family == socket.AF_UNIX and found.type == socket.SOCK_STREAM
    return fits and bool(found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def notify(state: bytes, descriptor: Optional[int] = None) -> None:
    """Tell systemd, as sd_notify(3) does; nothing where it does not listen."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return
    rights = [] if descriptor is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.settimeout(PATIENCE)
        sender.connect(address.replace("@", "\0", 1) if address[0] == "@" else address)
        sender.sendmsg([state], rights)


def keep(netns: int, label: str, listener: socket.socket) -> None:
    """Have systemd hold a listener, whatever becomes of this process; it is passed to the next one."""
    # FDPOLL=0 (v246): an error that waits on a datagram socket is no reason to drop it.
    notify(f"FDSTORE=1\nFDPOLL=0\nFDNAME={netns}.{label}".encode("ascii"), listener.fileno())


def drop(netns: int, label: str) -> None:
    """Have systemd close it."""
    notify(f"FDSTOREREMOVE=1\nFDNAME={netns}.{label}".encode("ascii"))
