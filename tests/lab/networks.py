"""Three network namespaces and two veth pairs; the only way off the lab host is to `internet`, which ends there."""

import subprocess
from typing import List

from addresses import LINKS, RESOLVER, SERVERS

# New namespaces take some of these from the machine (ip-sysctl.rst, devconf_inherit_init_net).
SETTINGS = {
    "net/ipv4/ip_forward": 1,
    "net/ipv4/conf/all/rp_filter": 0,
    "net/ipv4/conf/default/rp_filter": 0,
    "net/ipv6/conf/all/disable_ipv6": 0,
    "net/ipv6/conf/default/disable_ipv6": 0,
    "net/ipv6/conf/all/forwarding": 1,
}


def build() -> None:
    """Make links, addresses and routes, on the lab host and on both sides."""
    for key, value in SETTINGS.items():
        with open(f"/proc/sys/{key}", "w", encoding="ascii") as stream:
            stream.write(str(value))
    _ip([], [*(f"netns add {side}" for side in LINKS), "link set lo up"])
    for side in LINKS:
        _ip([], _near(side))
        _ip(["-n", side], _far(side))
    _, gateway4, _, gateway6 = LINKS["internet"]
    _ip([], [f"route add default via {gateway4}", f"route add default via {gateway6}"])


def _near(side: str) -> List[str]:
    """The lab host's end of a link; the device bears the side's name."""
    near4, _, near6, _ = LINKS[side]
    return [
        f"link add {side} type veth peer name host netns {side}",
        f"addr add {near4}/24 dev {side}",
        f"addr add {near6}/64 dev {side} nodad",
        f"link set {side} up",
    ]


def _far(side: str) -> List[str]:
    """The side's end, called `host`, and the addresses of the side's servers."""
    near4, far4, near6, far6 = LINKS[side]
    lines = ["link set lo up", f"addr add {far4}/24 dev host", f"addr add {far6}/64 dev host nodad", "link set host up"]
    for server in (*SERVERS, RESOLVER):
        if server.side == side:
            # On the link where neighbours ask for it, on the loopback where the lab host has a route to it.
            device = "host" if side == "lan" else "lo"
            lines += [f"addr add {server.ip4}/32 dev {device}", f"addr add {server.ip6}/128 dev {device} nodad"]
    return [*lines, f"route add default via {near4}", f"route add default via {near6}"]


def _ip(words: List[str], lines: List[str]) -> None:
    subprocess.run(["ip", *words, "-batch", "-"], input="\n".join(lines), text=True, check=True)
