"""Write every frame that arrives at a side to the record, one JSON object a line.

    recorder.py READY SIDE RECORD

An AF_PACKET socket on the far end of the link sees each frame before any firewall of that side (packet(7)).
"""

import json
import os
import socket
import sys
import time
from typing import Any, Dict

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

import ready

ETH_P_ALL = 3  # linux/if_ether.h
PACKET_OUTGOING = 4  # linux/if_packet.h
PAYLOAD = 400  # bytes kept
PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6"}
# Extension headers that say how long they are (RFC 8200 section 4).
EXTENSIONS = (0, 43, 60)


def describe(frame: bytes) -> Dict[str, Any]:
    """Addresses, protocol, ports and the beginning of the payload of an Ethernet frame."""
    kind = int.from_bytes(frame[12:14], "big")
    found: Dict[str, Any] = {"ethertype": f"{kind:#06x}", "length": len(frame)}
    if kind == 0x0800 and len(frame) >= 34:
        header = (frame[14] & 15) * 4
        found.update(
            source=socket.inet_ntop(socket.AF_INET, frame[26:30]),
            destination=socket.inet_ntop(socket.AF_INET, frame[30:34]),
        )
        protocol, rest = frame[23], frame[14 + header :]
    elif kind == 0x86DD and len(frame) >= 54:
        found.update(
            source=socket.inet_ntop(socket.AF_INET6, frame[22:38]),
            destination=socket.inet_ntop(socket.AF_INET6, frame[38:54]),
        )
        protocol, rest = frame[20], frame[54:]
        while protocol in EXTENSIONS and len(rest) >= 8:
            protocol, rest = rest[0], rest[(rest[1] + 1) * 8 :]
    else:
        protocol, rest = -1, frame[14:]
    if protocol >= 0:
        found["protocol"] = PROTOCOLS.get(protocol, str(protocol))
    if protocol in (6, 17) and len(rest) >= 8:
        found["sport"], found["dport"] = int.from_bytes(rest[:2], "big"), int.from_bytes(rest[2:4], "big")
        rest = rest[(rest[12] >> 4) * 4 :] if protocol == 6 and len(rest) > 12 else rest[8:]
    elif protocol in (1, 58):
        rest = rest[8:]
    # latin-1 keeps every byte as one character, so that any text in the payload can be searched for.
    found["payload"] = rest[:PAYLOAD].decode("latin-1")
    return found


def main(descriptor: str, side: str, record: str) -> None:
    """Record until the lab ends."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as tap:
        tap.bind(("host", ETH_P_ALL))
        tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        out = os.open(record, os.O_WRONLY | os.O_APPEND)  # two recorders append whole lines
        ready.tell(descriptor)
        while True:
            frame, origin = tap.recvfrom(65536)
            if origin[2] == PACKET_OUTGOING:
                continue
            line = {"side": side, "time": time.time(), **describe(frame)}
            os.write(out, json.dumps(line).encode() + b"\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
