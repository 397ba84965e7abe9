"""What an Ethernet frame says: addresses, protocol, ports, the beginning of the payload."""

import socket
from typing import Any, Dict, Tuple

ETH_P_IP, ETH_P_ARP, ETH_P_IPV6 = 0x0800, 0x0806, 0x86DD  # linux/if_ether.h
PROTOCOLS = {1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 58: "icmpv6"}
TCP, UDP, ICMPS = 6, 17, (1, 58)
OPTIONS, ROUTING, FRAGMENT, DESTINATION = 0, 43, 44, 60  # IPv6 extension headers (RFC 8200 section 4)
PAYLOAD = 1024  # bytes kept: a TLS client hello with its name


def describe(frame: bytes) -> Dict[str, Any]:
    """The frame as the record has it; never fails, whatever the bytes."""
    kind = int.from_bytes(frame[12:14], "big")
    found: Dict[str, Any] = {"ethertype": f"{kind:#06x}", "length": len(frame)}
    protocol, first, rest = -1, True, frame[14:]
    if kind == ETH_P_IP and len(frame) >= 34:
        found["source"] = socket.inet_ntop(socket.AF_INET, frame[26:30])
        found["destination"] = socket.inet_ntop(socket.AF_INET, frame[30:34])
        first = not int.from_bytes(frame[20:22], "big") & 0x1FFF
        protocol, rest = frame[23], frame[14 + (frame[14] & 15) * 4 :]
    elif kind == ETH_P_IPV6 and len(frame) >= 54:
        found["source"] = socket.inet_ntop(socket.AF_INET6, frame[22:38])
        found["destination"] = socket.inet_ntop(socket.AF_INET6, frame[38:54])
        protocol, first, rest = _unwrap(frame[20], frame[54:])
    if kind == ETH_P_ARP:
        found["protocol"] = "arp"
    elif protocol >= 0:
        found["protocol"] = PROTOCOLS.get(protocol, str(protocol))
    if first and protocol in (TCP, UDP) and len(rest) >= 8:
        found["sport"], found["dport"] = int.from_bytes(rest[:2], "big"), int.from_bytes(rest[2:4], "big")
        rest = rest[(rest[12] >> 4) * 4 :] if protocol == TCP and len(rest) > 12 else rest[8:]
    elif first and protocol in ICMPS:
        rest = rest[8:]
    # latin-1 keeps each byte as one character, so that any text in the payload can be searched for.
    found["payload"] = rest[:PAYLOAD].decode("latin-1")
    return found


def _unwrap(protocol: int, rest: bytes) -> Tuple[int, bool, bytes]:
    """Behind IPv6's extension headers: the protocol, whether this is a first fragment, what follows."""
    while protocol in (OPTIONS, ROUTING, FRAGMENT, DESTINATION) and len(rest) >= 8:
        if protocol == FRAGMENT:
            offset = int.from_bytes(rest[2:4], "big") >> 3
            protocol, rest = rest[0], rest[8:]
            if offset:
                return protocol, False, rest
        else:
            protocol, rest = rest[0], rest[(rest[1] + 1) * 8 :]
    return protocol, True, rest
