"""Podman's settings on the lab host, and its graph root, which holds the cached image."""

import os
import subprocess
from typing import Callable

from view import user_folder, write

# rcc's settings are a drop-in of their own, as packages install it: nothing here may hide it.
CONTAINERS_CONF = """\
[containers]
cgroups = "disabled"  # the fresh cgroup v2 may have no controllers
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]  # no CAP_SYS_RESOURCE needed
{security}
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
network_cmd_options = ["enable_ipv6=true"]  # slirp4netns, whose IPv6 is off by default in Podman 4.3
[network]
network_backend = "netavark"
"""
# A default profile would be loaded into the machine's kernel and stay there.
NO_APPARMOR = 'apparmor_profile = "unconfined"\n'
STORAGE_CONF = """\
[storage]
driver = "overlay"
graphroot = "/var/lib/containers/storage"
runroot = "/run/containers/storage"
"""
POLICY = '{"default": [{"type": "insecureAcceptAnything"}]}\n'
# The default network, with IPv6: Podman's own has none (netavark's podman.json).
NETWORK = """\
{"name": "podman", "id": "2f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be53c0b7a1bb9", "driver": "bridge",
 "network_interface": "podman0", "created": "2024-01-01T00:00:00Z", "ipv6_enabled": true, "internal": false,
 "dns_enabled": false, "ipam_options": {"driver": "host-local"},
 "subnets": [{"subnet": "10.88.0.0/16", "gateway": "10.88.0.1"}, {"subnet": "fd88::/64", "gateway": "fd88::1"}]}
"""


def configure() -> None:
    """Write the settings."""
    security = NO_APPARMOR if _apparmor() else ""
    write("/etc/containers/containers.conf", CONTAINERS_CONF.format(security=security))
    write("/etc/containers/storage.conf", STORAGE_CONF)
    write("/etc/containers/policy.json", POLICY)
    write("/etc/containers/networks/podman.json", NETWORK)


def _apparmor() -> bool:
    try:
        with open("/sys/module/apparmor/parameters/enabled", encoding="ascii") as stream:
            return stream.read().startswith("Y")
    except FileNotFoundError:
        return False


def graph_root(rootless: bool) -> str:
    """Where Podman keeps images and containers."""
    folder = user_folder(".local/share/containers") if rootless else "/var/lib/containers"
    return os.path.join(folder, "storage")


def copy_store(source: str, target: str) -> Callable[[], None]:
    """Begin to make ``target`` a graph root like ``source``; what is returned waits until it is there.

    A copy, not a mount of the layers: Podman binds its folder of layers, and with --uidmap a clone of it, without what
    is mounted below (containers/storage, drivers/overlay), and then a container finds no file.
    """
    process = subprocess.Popen(["cp", "-a", source, target])

    def wait() -> None:
        if process.wait():
            raise OSError(f"cannot copy {source}")

    return wait
