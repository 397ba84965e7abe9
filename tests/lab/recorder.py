"""Write every frame that arrives at a side to the record, one JSON object a line.

    recorder.py READY SIDE RECORD

A packet socket on the far end of the link sees each frame before any firewall of that side (packet(7)).  Should the
kernel ever drop one, the record says so: then its silence proves nothing.
"""

import json
import os
import socket
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

import ready
from frame import describe

ETH_P_ALL = 3  # linux/if_ether.h
SOL_PACKET, PACKET_STATISTICS, PACKET_OUTGOING = 263, 6, 4  # linux/socket.h, linux/if_packet.h
SO_RCVBUFFORCE = 33  # asm-generic/socket.h
BUFFER = 64 << 20  # bytes


def main(descriptor: str, side: str, record: str) -> None:
    """Record until the lab ends."""
    out = os.open(record, os.O_WRONLY | os.O_APPEND)  # two recorders append whole lines
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as tap:
        tap.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        tap.bind(("host", ETH_P_ALL))
        ready.tell(descriptor)
        while True:
            frame, origin = tap.recvfrom(1 << 17)
            line = {"side": side, "time": time.time()}
            # struct tpacket_stats: packets, drops; reading sets both to zero.
            dropped = int.from_bytes(tap.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)[4:], sys.byteorder)
            if dropped:
                os.write(out, json.dumps({**line, "dropped": dropped}).encode() + b"\n")
            if origin[2] != PACKET_OUTGOING:
                os.write(out, json.dumps({**line, **describe(frame)}).encode() + b"\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
