"""A resolver that is never the bottleneck: A and AAAA for every name, made from the name, after one look at the query.

    dns_upstream.py ADDRESS

Names that begin with `z` have TTL 0, others 300; `farN.bench.example` is 11.0.2.N; `count.bench.example` is the
number of queries so far, those for it left out.
"""

import socket
import struct
import sys
import zlib

A, AAAA = 1, 28  # RFC 1035 section 3.2.2, RFC 3596 section 2.1
ANSWER = 0x8180  # QR, RD, RA


def main(address: str) -> None:
    """Serve until the lab ends."""
    count = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        server.bind((address, 53))
        print("ready", flush=True)
        while True:
            query, client = server.recvfrom(4096)
            end = query.index(b"\0", 12) + 5
            name, kind = query[12 : end - 4].lower(), query[end - 3]
            seconds = 0 if name[1:2] == b"z" else 300
            low = zlib.crc32(name)
            if name.startswith(b"\5count\5bench"):
                data = struct.pack(">I", count)
            elif kind == AAAA:
                data = struct.pack(">8sQ", b"\x26\0\0\1\0\2\0\3", low)
            elif name.startswith(b"\4far"):
                data = bytes([11, 0, 2, name[4] - ord("0")])
            else:
                data = struct.pack(">I", 0x0B400000 | low & 0x3FFFFF)  # 11.64.0.0/10
            count += not name.startswith(b"\5count\5bench")
            known = kind in (A, AAAA)
            reply = query[:2] + struct.pack(">5H", ANSWER, 1, known, 0, 0) + query[12:end]
            if known:
                reply += struct.pack(">HHHIH", 0xC00C, kind, 1, seconds, len(data)) + data
            server.sendto(reply, client)


if __name__ == "__main__":
    main(*sys.argv[1:])
