"""Send, or connect again and again, to tcp_far.py, and print how fast.

A line of JSON on standard input is a job, one on standard output its figures:

    [HOST, SINK, HANG_UP, MEGABYTES, CONNECTIONS]

Runs in a container, so: this file alone, and only the standard library.
"""

import json
import os
import socket
import sys
import time

MEGABYTE = 10**6


def throughput(address: str, port: int, megabytes: int) -> float:
    """Megabytes a second over one connection, the last byte's arrival included."""
    with open(os.memfd_create("payload"), "r+b") as payload, socket.create_connection((address, port)) as flow:
        payload.truncate(MEGABYTE)
        began = time.perf_counter()
        for _ in range(megabytes):
            sent = 0
            while sent < MEGABYTE:
                sent += os.sendfile(flow.fileno(), payload.fileno(), sent, MEGABYTE - sent)
        flow.shutdown(socket.SHUT_WR)
        flow.recv(1)
        return megabytes / (time.perf_counter() - began)


def connections(address: str, port: int, count: int) -> float:
    """Connections a second, one after the other, each until the far side hangs up."""
    began = time.perf_counter()
    for _ in range(count):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as flow:
            flow.connect((address, port))
            flow.recv(1)
    return count / (time.perf_counter() - began)


def main() -> None:
    """A job a line."""
    os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])  # the far side has the first processor: less chance
    for line in sys.stdin:
        host, sink, hang_up, megabytes, count = json.loads(line)
        address = str(socket.getaddrinfo(host, sink, socket.AF_INET)[0][4][0])
        found = {
            "throughput": throughput(address, sink, megabytes),
            "connections": connections(address, hang_up, count),
        }
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
