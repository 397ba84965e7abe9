"""Numbers of descriptors: the agent holds some five for each container.

libnftables (1.0.6) waits for the kernel with select(2), and aborts the process when its socket's number is 1024 or
higher (FD_SET of glibc).  So what stays open for long goes above that, and the library finds a number below.
"""

import contextlib
import fcntl
import resource
import socket

ABOVE = 1024


def above(made: socket.socket, least: int = ABOVE) -> socket.socket:
    """The same socket under a number of ``least`` or higher, where the process may have such numbers."""
    try:
        number = fcntl.fcntl(made.fileno(), fcntl.F_DUPFD_CLOEXEC, least)
    except OSError:  # RLIMIT_NOFILE: then there are no containers enough to matter
        return made
    timeout = made.gettimeout()
    made.close()
    moved = socket.socket(fileno=number)
    moved.settimeout(timeout)
    return moved


def raise_limit() -> int:
    """Let this process have as many descriptors as it may.  How many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
