"""The agent's log: JSON lines through structlog, in a file that never grows beyond twice LIMIT."""

import os
from typing import Any

import structlog

LIMIT = 1 << 20  # bytes; then the file becomes NAME.1 in place of the last one of that name


class BoundedFile:
    """A logger for structlog: every method writes its line.  What cannot be written is lost, the agent goes on."""

    def __init__(self, path: str, limit: int = LIMIT) -> None:
        self._path = path
        self._limit = limit
        self._descriptor = self._open()

    def msg(self, line: str) -> None:
        """Write one line."""
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        try:
            if os.fstat(self._descriptor).st_size + len(data) > self._limit:
                os.rename(self._path, f"{self._path}.1")
                os.close(self._descriptor)
                self._descriptor = self._open()
            os.write(self._descriptor, data)
        except OSError:
            return

    debug = info = warning = error = critical = msg

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def open_log(path: str) -> Any:
    """A structlog logger that writes to ``path``.  Raises OSError."""
    return structlog.wrap_logger(
        BoundedFile(path),
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.BoundLogger,
    )
