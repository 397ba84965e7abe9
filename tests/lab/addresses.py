"""The lab's addresses and names: public-looking where the internet is, because rcc closes special ranges by
themselves.
"""

from typing import Dict, NamedTuple, Tuple


class Server(NamedTuple):
    """A server with an address of each family; ``side`` is the namespace it lives in."""

    side: str
    name: str
    ip4: str
    ip6: str


NAME = Server("internet", "name.lab.example", "11.0.0.10", "2600:1:2:3::10")
OTHER = Server("internet", "other.lab.example", "11.0.0.20", "2600:1:2:3::20")
LAN = Server("lan", "lan.lab.example", "192.168.77.10", "fd77::10")
METADATA = Server("internet", "metadata", "169.254.169.254", "fd00:ec2::254")
SERVERS = (NAME, OTHER, LAN, METADATA)
RESOLVER = Server("internet", "dns", "11.0.0.53", "2600:1:2:3::53")

# The links between the lab host and each side: host's end, far end.
LINKS: Dict[str, Tuple[str, str, str, str]] = {
    "internet": ("11.0.1.1", "11.0.1.2", "2600:1:2:4::1", "2600:1:2:4::2"),
    "lan": ("192.168.77.1", "192.168.77.2", "fd77::1", "fd77::2"),
}
ZONE = "".join(f"{server.name} 60 A {server.ip4}\n{server.name} 60 AAAA {server.ip6}\n" for server in (NAME, OTHER))
USER, UID, SUBIDS = "labber", 4711, 200000
