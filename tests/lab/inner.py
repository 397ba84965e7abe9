"""The first process of a lab: mounts, links, servers, then the command; the kernel ends everything when it ends."""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from typing import Dict, List

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

import addresses
from addresses import LAN, LINKS, NAME, OTHER, RESOLVER, SERVERS, SUBIDS, UID, USER

HERE = os.path.dirname(os.path.realpath(__file__))
IMAGE = "localhost/rcc-lab:1"
READY_SECONDS = 15
CONTAINERS_CONF = """\
[containers]
cgroups = "disabled"
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
"""
STORAGE_CONF = """\
[storage]
driver = "overlay"
graphroot = "/var/lib/containers/storage"
runroot = "/run/containers/storage"
"""
# The default network, with IPv6: Podman's own has none (containers-common, netavark's podman.json).
NETWORK = """\
{"name": "podman", "id": "2f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be53c0b7a1bb9", "driver": "bridge",
 "network_interface": "podman0", "created": "2024-01-01T00:00:00Z", "ipv6_enabled": true, "internal": false,
 "dns_enabled": false, "ipam_options": {"driver": "host-local"},
 "subnets": [{"subnet": "10.88.0.0/16", "gateway": "10.88.0.1"}, {"subnet": "fd88::/64", "gateway": "fd88::1"}]}
"""


def sh(*words: str) -> None:
    """Run a command that must succeed."""
    subprocess.run(words, check=True, stdout=sys.stderr)


def write(path: str, text: str, mode: int = 0o644) -> None:
    """Write a file, with the folders above it."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(text)
    os.chmod(path, mode)


def mounts(folder: str) -> None:
    """Private views of what a package or Podman would change on a machine."""
    sh("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    for path in ("/run/lock", "/run/netns", "/run/lab"):
        os.makedirs(path)
    layers = os.path.join(folder, "layers")
    os.makedirs(layers)
    sh("mount", "-t", "tmpfs", "tmpfs", layers)
    for tree in ("usr", "etc", "root"):
        upper, work = os.path.join(layers, tree), os.path.join(layers, f"{tree}-work")
        os.makedirs(upper)
        os.makedirs(work)
        staged = os.path.join(folder, "stage", tree)
        if os.path.isdir(staged):
            shutil.copytree(staged, upper, dirs_exist_ok=True, symlinks=True)
        sh("mount", "-t", "overlay", "-o", f"lowerdir=/{tree},upperdir={upper},workdir={work}", "overlay", f"/{tree}")
    for path in (".config", ".local", ".cache"):  # what is readable of root's home stays, his settings do not count
        shutil.rmtree(os.path.join("/root", path), ignore_errors=True)
    for path in ("/var/lib/containers", "/home"):
        inner = os.path.join(folder, "disk", path.strip("/").replace("/", "-"))
        os.makedirs(inner)
        os.makedirs(path, exist_ok=True)
        sh("mount", "--bind", inner, path)
    # crun refuses the v1 and v2 mixture of some machines; a fresh v2 mount in this mount namespace suits it.
    subprocess.run(["umount", "-l", "/sys/fs/cgroup"], check=False, stderr=subprocess.DEVNULL)
    sh("mount", "-t", "cgroup2", "none", "/sys/fs/cgroup")
    # Rootless networks want these; the machine's own nodes stay as they are.
    for name, path, major, minor in (("tun", "/dev/net/tun", 10, 200), ("fuse", "/dev/fuse", 10, 229)):
        node = f"/run/lab/{name}"
        os.mknod(node, 0o20666, os.makedev(major, minor))
        os.chmod(node, 0o666)
        if os.path.exists(path):
            sh("mount", "--bind", node, path)
    sh("mount", "--make-rshared", "/")


def configure() -> None:
    """The lab host's own settings: Podman, the resolver, the hosts file, the user."""
    write("/etc/containers/containers.conf", CONTAINERS_CONF)
    write("/etc/containers/storage.conf", STORAGE_CONF)
    write("/etc/containers/networks/podman.json", NETWORK)
    for path, text in (
        ("/etc/resolv.conf", f"nameserver {RESOLVER.ip4}\noptions timeout:2\n"),
        ("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
        ("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
    ):
        if os.path.islink(path):
            os.unlink(path)
        write(path, text)
    for path, line in (
        ("/etc/passwd", f"{USER}:x:{UID}:{UID}::/home/{USER}:/bin/sh"),
        ("/etc/group", f"{USER}:x:{UID}:"),
    ):
        with open(path, encoding="utf-8") as stream:
            kept = stream.read()
        write(path, kept.rstrip("\n") + f"\n{line}\n")
    for path in ("/etc/subuid", "/etc/subgid"):
        write(path, f"{USER}:{SUBIDS}:65536\n")
    for path in (f"/home/{USER}", f"/run/user/{UID}"):
        os.makedirs(path, mode=0o700)
        os.chown(path, UID, UID)


def links() -> None:
    """Three namespaces, joined by two veth pairs; the only way off the lab host is to `internet`, which ends there."""
    sh("ip", "link", "set", "lo", "up")
    for side, (near4, far4, near6, far6) in LINKS.items():
        sh("ip", "netns", "add", side)
        sh("ip", "link", "add", side, "type", "veth", "peer", "name", "host", "netns", side)
        for words in (
            f"addr add {near4}/24 dev {side}",
            f"addr add {near6}/64 dev {side} nodad",
            f"link set {side} up",
        ):
            sh("ip", *words.split())
        for words in (
            "link set lo up", f"addr add {far4}/24 dev host", f"addr add {far6}/64 dev host nodad", "link set host up",
            f"route add default via {near4}", f"route add default via {near6}",
        ):  # fmt: skip
            sh("ip", "-n", side, *words.split())
        for server in (*SERVERS, RESOLVER):
            if server.side == side:
                sh("ip", "-n", side, "addr", "add", f"{server.ip4}/32", "dev", "lo" if side == "internet" else "host")
                sh(
                    "ip",
                    "-n",
                    side,
                    "addr",
                    "add",
                    f"{server.ip6}/128",
                    "dev",
                    "lo" if side == "internet" else "host",
                    "nodad",
                )
    sh("ip", "route", "add", "default", "via", LINKS["internet"][1])
    sh("ip", "route", "add", "default", "via", LINKS["internet"][3])
    for key in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"):
        with open(f"/proc/sys/{key}", "w", encoding="ascii") as stream:
            stream.write("1")


def servers(record: str, zone: str) -> None:
    """Start the far sides and wait until every one of them is ready."""
    certificate = "/run/lab/server.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=rcc-lab",
         "-keyout", certificate, "-out", certificate + ".crt"],
        check=True, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    read, ready = os.pipe()
    expected = 0
    for side in LINKS:
        _start(side, "recorder.py", [side, record], ready)
        _start(side, "servers.py", [side, certificate], ready)
        expected += 2
    _start(RESOLVER.side, "dns_server.py", [zone, RESOLVER.ip4, RESOLVER.ip6], ready)
    expected += 1
    os.close(ready)
    signal.alarm(READY_SECONDS)  # a server that hangs ends the lab
    while expected:
        got = os.read(read, expected)
        if not got:
            sys.exit("lab: a server ended at once")
        expected -= len(got)
    signal.alarm(0)
    os.close(read)


def _start(side: str, program: str, words: List[str], ready: int) -> None:
    os.set_inheritable(ready, True)
    command = [
        "nsenter",
        f"--net=/run/netns/{side}",
        "/usr/bin/python3",
        "-I",
        os.path.join(HERE, program),
        str(ready),
        *words,
    ]
    subprocess.Popen(command, close_fds=False, stdin=subprocess.DEVNULL, start_new_session=True)


def graph_root(rootless: bool) -> str:
    """Where Podman keeps images and containers."""
    return f"/home/{USER}/.local/share/containers/storage" if rootless else "/var/lib/containers/storage"


def store(source: str, rootless: bool) -> None:
    """A copy of the cached store; its owners are those of the cache."""
    target = graph_root(rootless)
    folder = os.path.dirname(target)
    os.makedirs(folder, exist_ok=True)
    if source:
        sh("cp", "-a", "--reflink=auto", source, target)
    if rootless:
        path = f"/home/{USER}"
        for part in (".local", "share", "containers"):
            path = os.path.join(path, part)
            os.chown(path, UID, UID)


def environment(rootless: bool, record: str, zone: str) -> Dict[str, str]:
    """What the command sees."""
    names = {"NAME": NAME, "OTHER": OTHER, "LAN": LAN}
    found = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
    for key in ("TERM", "CI"):
        if key in os.environ:
            found[key] = os.environ[key]
    for key, value in os.environ.items():
        if key in ("STARTS",):
            found[key] = value
    if rootless:
        found.update(HOME=f"/home/{USER}", USER=USER, LOGNAME=USER, XDG_RUNTIME_DIR=f"/run/user/{UID}")
    profiles = f"/home/{USER}/.config/rcc/profiles" if rootless else "/etc/rcc/profiles"
    os.makedirs(profiles, exist_ok=True)
    found.update(RCC_LAB_IMAGE=IMAGE, RCC_LAB_PROFILES=profiles, RCC_LAB_ZONE=zone, RCC_LAB_RECORD=record)
    for key, server in names.items():
        if key != "LAN":
            found[f"RCC_LAB_{key}"] = server.name
        found[f"RCC_LAB_{key}_IP4"], found[f"RCC_LAB_{key}_IP6"] = server.ip4, server.ip6
    return found


def run(command: List[str], env: Dict[str, str], rootless: bool) -> int:
    """Run the command, reap whatever ends meanwhile; the command's status."""
    words = command
    if rootless:
        sh("chown", "-R", f"{UID}:{UID}", f"/home/{USER}/.config")
        words = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--", *command]
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.chdir(env["HOME"])
        try:
            os.execvpe(words[0], words, env)
        except OSError as error:
            print(f"enter: {words[0]}: {error.strerror}", file=sys.stderr)
            os._exit(127)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    while True:
        pid, status = os.wait()
        if pid == child:
            return os.waitstatus_to_exitcode(status)


def main(words: List[str]) -> int:
    """Build the lab, run the command."""
    folder, source, mode, keep, *command = words
    rootless = mode == "rootless"
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG: enter killed, lab gone
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    mounts(folder)
    configure()
    links()
    record, zone = "/run/lab/record.jsonl", "/run/lab/zone"
    write(zone, addresses.ZONE, 0o666)
    write(record, "", 0o644)
    servers(record, zone)
    store(source, rootless)
    code = run(command, environment(rootless, record, zone), rootless)
    if keep and code == 0:
        # As a whole or not at all: another lab may be waiting for this very folder.
        sh("cp", "-a", "--reflink=auto", graph_root(rootless), keep + ".new")
        os.rename(keep + ".new", keep)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
