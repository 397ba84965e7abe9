"""Tell the person who called the engine why his container did not start.

Podman 4.3.1 and 5.4.2 keep what a hook prints to themselves, so the words go where Podman's own go: /proc/PID/fd/2.
"""

import os

SYSLOG_LIMIT = 1000  # bytes of one line in the log


def tell(text: str, pid: int) -> bool:
    """Append ``text`` to the standard error of process ``pid``; False where that is not ours to write to.

    Only a process of this very user is written to, never blocking, never making a terminal ours.
    """
    folder = f"/proc/{pid}"
    try:
        if os.stat(folder).st_uid != os.getuid():
            return False
        flags = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        descriptor = os.open(f"{folder}/fd/2", flags)
    except OSError:  # a socket, closed, gone, or hidden
        return False
    try:
        os.write(descriptor, text.encode("utf-8", "backslashreplace"))
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def log(text: str, *, failed: bool) -> None:
    """One line to the system's log (syslog(3)); no error where there is none."""
    import syslog

    syslog.openlog("rcc", syslog.LOG_PID, syslog.LOG_DAEMON)
    syslog.syslog(syslog.LOG_ERR if failed else syslog.LOG_INFO, text[:SYSLOG_LIMIT])
    syslog.closelog()
