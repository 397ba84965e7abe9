"""The agent's log: JSON lines through structlog, to the journal where systemd reads standard error, else to a file.

Nothing of it can stop the agent or fill a disk: the file never grows beyond twice LIMIT, an event that comes often is
written at a bounded rate, what cannot be written is counted and told once it can.  Names come from containers (threat
39): every line is ASCII without control characters, and no text in it is longer than TEXT_LIMIT.
"""

import json
import os
import time
from typing import Any, Callable, Dict, MutableMapping, Protocol

import structlog

LIMIT = 1 << 20  # bytes; then the file becomes NAME.1 in place of the last one of that name
TEXT_LIMIT = 2000  # characters; a traceback is longer and is cut
ITEMS_LIMIT = 50  # of a list or an object
BURST = 30.0  # lines of one event at once
RATE = 0.5  # lines of it a second after those
EVENTS_LIMIT = 200  # events that are counted apart; the words are constants of the code
RETRY = 1.0  # seconds between two tries to open a file
DEEP = 4  # lists within lists
# sd-daemon(3): the journal reads a line's priority from its beginning.
PRIORITIES = {"debug": "<7>", "info": "<6>", "warning": "<4>", "error": "<3>", "critical": "<2>"}

Clock = Callable[[], float]


class Sink(Protocol):
    """What structlog writes lines to: a method for each level."""

    def info(self, line: str) -> None:
        """Write one line."""


class BoundedFile:
    """A logger for structlog: every method writes its line.  What cannot be written is counted, the agent goes on.

    Several processes may write to one file: each follows when another has put a new one in its place.
    """

    def __init__(self, path: str, limit: int = LIMIT, clock: Clock = time.monotonic) -> None:
        self._path = path
        self._limit = limit
        self._clock = clock
        self._descriptor = -1
        self._retry = 0.0
        self._lost = 0
        self._torn = b""
        try:
            self._descriptor = self._open()
        except OSError:
            self._retry = clock() + RETRY

    def msg(self, line: str) -> None:
        """Write one line."""
        data = line.encode("ascii", "backslashreplace") + b"\n"
        if self._lost:
            data = json.dumps({"lost": self._lost, "event": "log_written_again"}).encode("ascii") + b"\n" + data
        try:
            self._make_room(len(data) + 1)
            self._write(self._torn + data)
        except OSError:
            self._lost += 1
        else:
            self._lost = 0

    debug = info = warning = error = critical = msg

    def _make_room(self, length: int) -> None:
        if self._descriptor >= 0 and not self._is_current():
            os.close(self._descriptor)
            self._descriptor = -1
        if self._descriptor < 0:
            if self._clock() < self._retry:
                raise OSError
            self._retry = self._clock() + RETRY
            self._descriptor = self._open()
        if os.fstat(self._descriptor).st_size + length > self._limit:
            os.rename(self._path, f"{self._path}.1")
            os.close(self._descriptor)
            self._descriptor = -1
            self._descriptor = self._open()

    def _is_current(self) -> bool:
        try:
            there = os.stat(self._path, follow_symlinks=False)
        except OSError:
            return False
        own = os.fstat(self._descriptor)
        return (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino)

    def _write(self, data: bytes) -> None:
        written = os.write(self._descriptor, data)
        self._torn = b"" if written == len(data) else b"\n"
        if self._torn:  # the disk is full: the next line must not go on in the middle of this one
            raise OSError

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


class Journal:
    """Lines to standard error, which systemd reads; their levels as it wants them."""

    def __init__(self, descriptor: int = 2) -> None:
        self._descriptor = descriptor

    def __getattr__(self, level: str) -> Callable[[str], None]:
        priority = PRIORITIES.get(level, "")

        def write(line: str) -> None:
            try:
                os.write(self._descriptor, f"{priority}{line}\n".encode("ascii", "backslashreplace"))
            except OSError:  # the journal has gone
                return

        return write


class Throttle:
    """A processor: BURST lines of an event at once, RATE a second after those; the next one tells how many were not."""

    def __init__(self, clock: Clock = time.monotonic, burst: float = BURST, rate: float = RATE) -> None:
        self._clock = clock
        self._burst = burst
        self._rate = rate
        self._buckets: "Dict[str, list[float]]" = {}  # event: lines left, since when, lines dropped

    def __call__(self, _: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """The line, or structlog's DropEvent."""
        event = str(line.get("event"))
        if event not in self._buckets and len(self._buckets) >= EVENTS_LIMIT:
            event = ""
        now = self._clock()
        bucket = self._buckets.setdefault(event, [self._burst, now, 0])
        bucket[0] = min(self._burst, bucket[0] + (now - bucket[1]) * self._rate)
        bucket[1] = now
        if bucket[0] < 1:
            bucket[2] += 1
            raise structlog.DropEvent
        bucket[0] -= 1
        if bucket[2]:
            line["suppressed"] = int(bucket[2])
            bucket[2] = 0
        return line


def open_log(path: str) -> Any:
    """A structlog logger: to the journal where there is one, else to the file ``path``.  Never raises."""
    return wrap(Journal() if is_journal(os.environ.get("JOURNAL_STREAM", "")) else BoundedFile(path))


def wrap(sink: Any, clock: Clock = time.monotonic) -> Any:
    """A structlog logger that writes to ``sink``."""
    return structlog.wrap_logger(
        sink,
        processors=[
            structlog.stdlib.add_log_level,
            Throttle(clock),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _shorten,
            structlog.processors.JSONRenderer(_render),
        ],
        wrapper_class=structlog.BoundLogger,
    )


def is_journal(stream: str, descriptor: int = 2) -> bool:
    """Whether ``stream``, the variable JOURNAL_STREAM, names what is open as standard error (systemd.exec(5))."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return stream == f"{found.st_dev}:{found.st_ino}"


def _shorten(_: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: _short(value) for key, value in line.items()}


def _short(value: Any, deep: int = DEEP) -> Any:
    if isinstance(value, str):
        return value if len(value) <= TEXT_LIMIT else value[:TEXT_LIMIT] + "..."
    if isinstance(value, (list, tuple, set, frozenset)) and deep:
        return [_short(item, deep - 1) for item in list(value)[:ITEMS_LIMIT]]
    if isinstance(value, dict) and deep:
        return {str(key)[:TEXT_LIMIT]: _short(item, deep - 1) for key, item in list(value.items())[:ITEMS_LIMIT]}
    return value if isinstance(value, (int, float, bool, type(None))) else str(value)[:TEXT_LIMIT]


def _render(line: Any, **_: Any) -> str:
    text = json.dumps(line, default=str)
    return text.replace("\x7f", "\\u007f")  # the one control character that JSON lets stand
