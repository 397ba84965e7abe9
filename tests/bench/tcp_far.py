"""The far end of flows: a sink that takes all it gets, and a port that hangs up on whoever connects.

tcp_far.py ADDRESS SINK HANG_UP
"""

import os
import socket
import sys
import threading


def sink(listening: socket.socket) -> None:
    """Read until the end and say that it is there: the sender then knows when the last byte had arrived."""
    room = bytearray(1 << 20)
    while True:
        flow, _ = listening.accept()
        with flow:
            while flow.recv_into(room):
                pass
            flow.sendall(b"1")


def hang_up(listening: socket.socket) -> None:
    """Accept and close: this side keeps the TIME-WAIT, so that no port of the container's is used up."""
    while True:
        listening.accept()[0].close()


def main(*ports: str) -> None:
    """Serve on all addresses until the lab ends."""
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    for serve, port in zip((sink, hang_up), ports):
        listening = socket.create_server(("", int(port)), backlog=1024)
        threading.Thread(target=serve, args=[listening], daemon=True).start()
    print("ready", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
