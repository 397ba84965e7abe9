"""Two network namespaces joined by a veth pair: ``box``, where rules are loaded, ``world``, which has every address.

Nothing leaves them: neither has another interface.  ``world`` records each frame that reaches it.  Whether a packet
arrives is settled without waiting: a sentinel frame, which no inet rule sees, follows it through the same queue of the
same processor.
"""

import ctypes
import os
import socket
import struct
import subprocess
import threading
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any, Iterator, List, NamedTuple, Optional, Union

from rcc.system.netns import CLONE_NEWNET, OWN

BOX4, BOX6 = "10.77.0.2", "fd77::2"
WORLD4, WORLD6 = "10.77.0.1", "fd77::1"
BOX_MAC, WORLD_MAC = "02:00:00:00:77:02", "02:00:00:00:77:01"
SENTINEL = 0x88B5  # Ethernet type for local experiments (IEEE 802)
PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6"}
IPV6_EXTENSIONS = (0, 43, 60)
ETH_P_ALL = 3

_libc = ctypes.CDLL(None, use_errno=True)


class Frame(NamedTuple):
    """An IP packet that arrived; ports are 0 where there are none, ``payload`` is what follows the transport header."""

    source: str
    destination: str
    protocol: str
    source_port: int
    destination_port: int
    flags: int
    payload: bytes


@contextmanager
def entered(place: Union[str, int]) -> Iterator[None]:
    """Run the body in a namespace and come back: only whoever has rights over both can, so this is for tests."""
    with open(OWN, "rb") as own:
        _join(place)
        try:
            yield
        finally:
            _join(own.fileno())


def _join(place: Union[str, int]) -> None:
    descriptor = os.open(place, os.O_RDONLY) if isinstance(place, str) else place
    try:
        if _libc.setns(descriptor, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        if isinstance(place, str):
            os.close(descriptor)


def new_namespace() -> int:
    """A descriptor of a fresh network namespace.  Raises OSError."""
    result: List[Any] = []

    def make() -> None:  # a thread of its own: the namespace of the others stays as it is
        if _libc.unshare(CLONE_NEWNET) != 0:
            result.append(ctypes.get_errno())
        else:
            result.append(None)
            result.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if result[0]:
        raise OSError(result[0], os.strerror(result[0]))
    return int(result[1])


def parse(frame: bytes) -> Optional[Frame]:
    """The IP packet in an Ethernet frame, None for anything else."""
    kind = struct.unpack_from("!H", frame, 12)[0]
    packet = frame[14:]
    if kind == 0x0800:
        number, rest = packet[9], packet[(packet[0] & 15) * 4 : struct.unpack_from("!H", packet, 2)[0]]
        source, destination = packet[12:16], packet[16:20]
    elif kind == 0x86DD:
        number, rest = packet[6], packet[40 : 40 + struct.unpack_from("!H", packet, 4)[0]]
        source, destination = packet[8:24], packet[24:40]
        while number in IPV6_EXTENSIONS:
            number, rest = rest[0], rest[(rest[1] + 1) * 8 :]
    else:
        return None
    ports, flags = (0, 0), 0
    if number in (6, 17):
        ports = struct.unpack_from("!HH", rest)
        flags = rest[13] if number == 6 else 0
        rest = rest[8:] if number == 17 else rest[(rest[12] >> 4) * 4 :]
    name = PROTOCOLS.get(number, str(number))
    return Frame(str(ip_address(source)), str(ip_address(destination)), name, ports[0], ports[1], flags, rest)


class Pair:
    """The two namespaces; ``box`` and ``world`` are descriptors for ``entered``."""

    def __init__(self) -> None:
        self.box, self.world = new_namespace(), new_namespace()
        with entered(self.world):
            ip("link set lo up")
            peer = f"peer name eth0 address {BOX_MAC} netns /proc/{os.getpid()}/fd/{self.box}"
            ip(f"link add eth0 address {WORLD_MAC} type veth {peer}")
            self._address("eth0", WORLD4, WORLD6)
            # Every address is its own: whatever a packet is sent to, here is somebody who would get it.
            ip("route add local 0.0.0.0/0 dev lo table main")
            ip("-6 route add local ::/0 dev lo table main")
            ip(f"neigh replace {BOX4} lladdr {BOX_MAC} dev eth0 nud permanent")
            ip(f"-6 neigh replace {BOX6} lladdr {BOX_MAC} dev eth0 nud permanent")
            self._frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            self._frames.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
            self._frames.bind(("eth0", ETH_P_ALL))
            self._sentinels_in = self._packet_socket()
        with entered(self.box):
            ip("link set lo up")
            self._address("eth0", BOX4, BOX6)
            ip(f"neigh replace {WORLD4} lladdr {WORLD_MAC} dev eth0 nud permanent")
            ip(f"-6 neigh replace {WORLD6} lladdr {WORLD_MAC} dev eth0 nud permanent")
            ip(f"route add default via {WORLD4}")
            ip(f"-6 route add default via {WORLD6}")
            self._sentinels_out = self._packet_socket()
            self._box_frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(SENTINEL))
            self._box_frames.bind(("eth0", SENTINEL))
            self._box_frames.settimeout(10)
        self._frames.settimeout(10)
        self._count = 0
        self.open: List[socket.socket] = []

    def _address(self, link: str, four: str, six: str) -> None:
        ip(f"link set {link} addrgenmode none")
        ip(f"link set {link} up")
        ip(f"address add {four}/24 dev {link}")
        ip(f"address add {six}/64 dev {link} nodad")

    def _packet_socket(self) -> socket.socket:
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        made.bind(("eth0", 0))
        return made

    def close(self) -> None:
        """Close everything; with the last descriptor the namespaces go."""
        self.forget()
        for made in (self._frames, self._box_frames, self._sentinels_in, self._sentinels_out):
            made.close()
        os.close(self.box)
        os.close(self.world)

    def forget(self) -> None:
        """Close the sockets of ``open_socket``, and drop what has been recorded."""
        while self.open:
            self.open.pop().close()
        list(self.arrived())

    def open_socket(self, side: int, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket that lives in ``box`` or ``world``, closed by ``forget``."""
        with entered(side):
            made = socket.socket(family, kind, protocol)
        made.settimeout(10)
        self.open.append(made)
        return made

    def arrived(self) -> Iterator[Frame]:
        """What has reached ``world`` from ``box`` since the last call."""
        for frame in self._until_sentinel(self._sentinels_out, self._frames, WORLD_MAC, BOX_MAC):
            if frame[6:12] == bytes.fromhex(BOX_MAC.replace(":", "")):
                found = parse(frame)
                if found is not None:
                    yield found

    def settle(self) -> None:
        """Return when what ``world`` has sent to ``box`` so far has been judged there."""
        for _ in self._until_sentinel(self._sentinels_in, self._box_frames, BOX_MAC, WORLD_MAC):
            pass

    def _until_sentinel(self, out: socket.socket, into: socket.socket, to: str, by: str) -> Iterator[bytes]:
        self._count += 1
        head = bytes.fromhex(to.replace(":", "") + by.replace(":", "")) + struct.pack("!H", SENTINEL)
        sentinel = head + struct.pack("!Q", self._count)
        out.send(sentinel.ljust(60, b"\0"))
        frames = []
        while True:
            frame = into.recv(1 << 17)
            if frame.startswith(sentinel):
                break
            frames.append(frame)
        yield from frames


def ip(arguments: str) -> None:
    """Run ip(8) in the namespace that this thread is in."""
    done = subprocess.run(["ip", *arguments.split()], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {arguments}: {done.stderr}"


def family_of(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def box_address(address: str) -> str:
    """The box's own address of the same family as ``address``."""
    return BOX6 if ":" in address else BOX4
