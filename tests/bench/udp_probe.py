"""Datagrams every millisecond, to a port that is open and to one that is closed, and who counts them.

udp_probe.py send ADDRESS OPEN CLOSED      until standard input ends
udp_probe.py receive ADDRESS OPEN CLOSED   "ready", and for each line of input what came since the line before
"""

import contextlib
import json
import select
import socket
import sys
import time

EVERY = 0.001  # seconds


def send(address: str, *ports: int) -> None:
    """One datagram to each port every EVERY; refusals are what is expected of the closed one."""
    flows = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in ports]
    print("ready", flush=True)
    due = time.monotonic()
    while not select.select([sys.stdin], [], [], max(due - time.monotonic(), 0))[0]:
        for flow, port in zip(flows, ports):
            with contextlib.suppress(OSError):
                flow.sendto(b"x", (address, port))
        due += EVERY


def receive(address: str, *ports: int) -> None:
    """Count by port; for the first one also the longest time without any, in seconds."""
    flows = []
    for port in ports:
        flow = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        flow.bind((address, port))
        flow.setblocking(False)
        flows.append(flow)
    print("ready", flush=True)
    counts, last, gap = [0, 0], 0.0, 0.0
    while True:
        ready = select.select([sys.stdin, *flows], [], [])[0]
        for index, flow in enumerate(flows):
            if flow in ready:
                flow.recv(100)
                counts[index] += 1
                if index == 0:
                    now = time.monotonic()
                    gap = max(gap, now - last) if last else 0.0
                    last = now
        if sys.stdin in ready and len(ready) == 1:
            if not sys.stdin.readline():
                return
            print(json.dumps({"open": counts[0], "closed": counts[1], "gap": gap}), flush=True)
            counts, last, gap = [0, 0], 0.0, 0.0


if __name__ == "__main__":
    {"send": send, "receive": receive}[sys.argv[1]](sys.argv[2], *(int(port) for port in sys.argv[3:]))
