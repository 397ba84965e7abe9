"""Read the record on the lab host, knowing that it is complete.

Each side's frames are recorded in the order in which they arrive.  So a marker is sent to both sides: once it is in the
record, so is all that arrived before it.  No guess how long to wait.
"""

import json
import os
import secrets
import socket
import time
from typing import Any, Dict, List

from addresses import LINKS

PORT = 9  # discard (RFC 863); nobody listens
MARKER = "lab marker "
PATIENCE = 20  # seconds
PAUSE = 0.002


class Incomplete(Exception):
    """The record cannot be trusted; says why."""


class Record:
    """The frames recorded so far, read once each."""

    def __init__(self, path: str = "") -> None:
        self._path = path or os.environ["RCC_LAB_RECORD"]
        self._offset = 0
        self._frames: List[Dict[str, Any]] = []
        self._lost = 0

    def frames(self) -> List[Dict[str, Any]]:
        """Every frame that has arrived until now, but for markers.  Raises Incomplete."""
        marker = MARKER + secrets.token_hex(8)
        awaited = set(LINKS)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _, far, _, _ in LINKS.values():
                sender.sendto(marker.encode(), (far, PORT))
        deadline = time.monotonic() + PATIENCE
        while awaited:
            for line in self._news():
                if "dropped" in line:
                    self._lost += line["dropped"]
                elif line["payload"] == marker:
                    awaited.discard(line["side"])
                elif not line["payload"].startswith(MARKER):
                    self._frames.append(line)
            if awaited:
                if time.monotonic() > deadline:
                    raise Incomplete(f"the recorder of {', '.join(sorted(awaited))} is silent")
                time.sleep(PAUSE)
        if self._lost:
            raise Incomplete(f"the recorders lost {self._lost} frames: their silence proves nothing")
        return self._frames

    def with_token(self, token: str) -> List[Dict[str, Any]]:
        """The frames whose payload has ``token``, in any case: DNS names travel in all of them.  Raises Incomplete."""
        wanted = token.lower()
        return [frame for frame in self.frames() if wanted in frame["payload"].lower()]

    def _news(self) -> List[Dict[str, Any]]:
        with open(self._path, "rb") as stream:
            stream.seek(self._offset)
            data = stream.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [json.loads(line) for line in whole.splitlines()]
