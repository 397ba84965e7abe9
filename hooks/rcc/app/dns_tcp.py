"""DNS over TCP for one listener of the gateway: messages in a stream, each answered as soon as it can be (RFC 7766)."""

import asyncio
import contextlib
from typing import Any, Awaitable, Callable, Set, Union

from rcc.system.in_time import in_time

CONNECTIONS = 64  # of one listener at a time; more are closed at once
PIPELINED = 16  # messages of one connection that upstream is asked for at a time
IDLE = 10.0  # seconds for a message, or for the asker to read its reply
RETRY = 1.0  # seconds, when this process may open no more

Answer = Callable[[bytes, int], Union[bytes, Awaitable[bytes]]]


class TcpServer:
    """Serves ``listener`` until closed; ``answer`` gets a message and the port it is from, and gives the reply, empty
    to hang up.
    """

    def __init__(self, listener: Any, answer: Answer) -> None:
        self._listener = listener
        self._answer = answer
        self._connections: "Set[asyncio.Task[None]]" = set()
        self._closed = False
        self._listen()

    def stop(self) -> "Set[asyncio.Task[None]]":
        """Close the listener; the connections that are open, which end by themselves."""
        if not self._closed:
            self._closed = True
            asyncio.get_running_loop().remove_reader(self._listener.fileno())
            self._listener.close()
        return self._connections

    def close(self) -> None:
        """Close the listener and hang up on all."""
        for task in self.stop():
            task.cancel()

    def _listen(self) -> None:
        if not self._closed:
            asyncio.get_running_loop().add_reader(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        try:
            accepted, address = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            return
        except OSError:  # no descriptors left: it would be readable again at once
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._listener.fileno())
            loop.call_later(RETRY, self._listen)
            return
        if len(self._connections) >= CONNECTIONS:
            accepted.close()
            return
        accepted.setblocking(False)
        task = asyncio.ensure_future(self._serve(accepted, address[1]))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, accepted: Any, port: int) -> None:
        jobs: "Set[asyncio.Task[None]]" = set()
        with contextlib.suppress(OSError, asyncio.TimeoutError), accepted:
            reader, writer = await asyncio.open_connection(sock=accepted)
            try:
                with contextlib.suppress(EOFError):
                    await self._read(reader, writer, port, jobs)
                if jobs:  # it says nothing more, and still wants to know
                    await asyncio.wait(jobs, timeout=IDLE)
                await in_time(writer.drain(), IDLE)
            finally:
                for job in jobs:
                    job.cancel()
                writer.close()

    async def _read(self, reader: Any, writer: Any, port: int, jobs: "Set[asyncio.Task[None]]") -> None:
        """Answer until the stream ends.  Raises EOFError, OSError, asyncio.TimeoutError."""
        while True:
            length = int.from_bytes(await self._exactly(reader, 2, jobs), "big")
            reply = self._answer(await in_time(reader.readexactly(length), IDLE), port)
            if isinstance(reply, bytes):
                if not reply:
                    return
                _write(writer, reply)
            else:
                job = asyncio.ensure_future(_later(writer, reply))
                jobs.add(job)
                job.add_done_callback(jobs.discard)
                if len(jobs) >= PIPELINED:
                    await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
            await in_time(writer.drain(), IDLE)

    async def _exactly(self, reader: Any, count: int, jobs: "Set[asyncio.Task[None]]") -> bytes:
        """So many bytes; the time for them runs only while no reply is due."""
        while True:
            try:
                data: bytes = await in_time(reader.readexactly(count), IDLE)
                return data
            except asyncio.TimeoutError:
                if not jobs:
                    raise


async def _later(writer: Any, reply: Awaitable[bytes]) -> None:
    data = await reply
    if data:
        _write(writer, data)


def _write(writer: Any, reply: bytes) -> None:
    writer.write(len(reply).to_bytes(2, "big") + reply)
