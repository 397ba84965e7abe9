"""Ask a resolver, at a rate or as fast as it answers, and print what came of it.

A line of JSON on standard input is a job, one on standard output its figures:

    [SERVER, TEMPLATE, FIRST, MODULO, COUNT, RATE, OUTSTANDING]

Names are TEMPLATE with a number put in, which runs from FIRST and wraps at MODULO.  RATE queries/s are sent at times
set beforehand, whatever the answers do, each by a socket of its own, as resolvers do; RATE 0: OUTSTANDING sockets send
the next query when they have an answer.  Runs in a container, so: this file alone, and only the standard library.
"""

import contextlib
import json
import os
import select
import socket
import struct
import sys
import time
from typing import Any, Dict, Iterator, List, NamedTuple

PATIENCE = 2.0  # seconds for an answer


class Asked(NamedTuple):
    """A query that is out."""

    socket: socket.socket
    began: float
    head: bytes  # what its answer begins with
    question: bytes


class Load:
    """One run; ``result`` has its figures."""

    def __init__(self, server: str, queries: Iterator[bytes]) -> None:
        self._server = server
        self._queries = queries
        self._out: Dict[int, Asked] = {}
        self.latencies: List[float] = []  # microseconds
        self.codes: Dict[str, int] = {}
        self.addresses = 0
        self.lost = 0
        self._last = time.perf_counter()

    def at_rate(self, count: int, rate: float) -> None:
        """Send ``count`` queries, ``rate`` a second."""
        first = time.perf_counter() + 0.01
        for number in range(count):
            due = first + number / rate
            while True:
                left = due - time.perf_counter()
                if left <= 0:
                    break
                self._collect(left)
            self._send(self._socket())
        end = time.perf_counter() + PATIENCE
        while self._out and time.perf_counter() < end:
            self._collect(end - time.perf_counter())
        self.lost += len(self._out)

    def at_once(self, count: int, outstanding: int) -> float:
        """Send ``count`` queries with so many out at a time; the seconds until the last answer."""
        sockets = [self._socket() for _ in range(outstanding)]
        poll = select.epoll()
        began = time.perf_counter()
        for one in sockets:
            poll.register(one, select.EPOLLIN)
            self._send(one)
        left = count - outstanding
        while self._out:
            ready = poll.poll(PATIENCE)
            if not ready:
                self.lost += len(self._out)
                break
            for number, _ in ready:
                asked = self._out[number]
                if self._receive(asked) and left > 0:
                    left -= 1
                    self._send(asked.socket)
        took = self._last - began
        for one in sockets:
            one.close()
        poll.close()
        return took

    def _socket(self) -> socket.socket:
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        one.connect((self._server, 53))
        return one

    def _send(self, one: socket.socket) -> None:
        query = next(self._queries)
        self._out[one.fileno()] = Asked(one, time.perf_counter(), query[:2], query[12:])
        one.send(query)

    def _collect(self, patience: float) -> None:
        ready, _, _ = select.select(list(self._out), [], [], max(patience, 0.0))
        for number in ready:
            asked = self._out[number]
            if self._receive(asked):
                asked.socket.close()

    def _receive(self, asked: Asked) -> bool:
        """Take an answer; whether it was this query's."""
        try:
            answer = asked.socket.recv(4096)
        except BlockingIOError:
            return False
        except OSError as error:
            answer = asked.head
            code = type(error).__name__
        else:
            if answer[:2] != asked.head or answer[12 : 12 + len(asked.question)] != asked.question:
                return False
            code = str(answer[3] & 15)
        self._last = time.perf_counter()
        self.latencies.append((self._last - asked.began) * 1e6)
        self.codes[code] = self.codes.get(code, 0) + 1
        self.addresses += answer[6:8] > b"\0\0"
        del self._out[asked.socket.fileno()]
        return True


def query(name: str) -> bytes:
    """A query for A records (RFC 1035 section 4.1)."""
    wire = b"".join(bytes([len(label)]) + label for label in name.encode().split(b".")) + b"\0"
    return os.urandom(2) + struct.pack(">5H", 0x100, 1, 0, 0, 0) + wire + struct.pack(">2H", 1, 1)


def queries(template: str, first: int, modulo: int) -> Iterator[bytes]:
    """Queries for the names of a template, without end."""
    number = first
    while True:
        yield query(template % (number % modulo))
        number += 1


def ask_once(server: str, name: str) -> bytes:
    """The answer to one query for an A record.  Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.settimeout(PATIENCE)
        one.connect((server, 53))
        one.send(query(name))
        return one.recv(4096)


def run(server: str, template: str, first: int, modulo: int, count: int, rate: int, outstanding: int) -> Dict[str, Any]:
    """One load and its figures."""
    load = Load(server, queries(template, first, modulo))
    began = time.perf_counter()
    if rate:
        load.at_rate(count, rate)
        took = time.perf_counter() - began
    else:
        took = load.at_once(count, outstanding)
    figures = {"latencies": load.latencies, "codes": load.codes, "addresses": load.addresses, "lost": load.lost}
    return {**figures, "seconds": took, "asked": count}


def main() -> None:
    """A job a line."""
    with contextlib.suppress(OSError), open("/proc/self/timerslack_ns", "w", encoding="ascii") as stream:
        stream.write("1")  # sleeps end up to 50 us late without
    for line in sys.stdin:
        print(json.dumps(run(*json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
