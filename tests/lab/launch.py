"""`enter` outside the lab: read the command line, see that all is there, fetch the image, enter fresh namespaces."""

import importlib.util
import os
import shutil
import signal
import sys
from typing import List, NamedTuple, Optional

import image
import lab_host
import namespaces

NEEDED = {  # command: Debian package
    "podman": "podman",
    "crun": "crun",
    "netavark": "netavark",
    "iptables": "iptables",  # of netavark 1.4
    "aardvark-dns": "aardvark-dns",
    "slirp4netns": "slirp4netns",
    "newuidmap": "uidmap",
    "ip": "iproute2",
    "nft": "nftables",
    "nsenter": "util-linux",
    "openssl": "openssl",
    "make": "make",
}
ELSEWHERE = "/usr/sbin:/sbin:/usr/lib/podman:/usr/libexec/podman"  # not in everybody's PATH
EX_USAGE, EX_UNAVAILABLE, EX_NOPERM = 64, 69, 77  # sysexits.h


class Wish(NamedTuple):
    """What the command line asks for."""

    rootless: bool
    with_rcc: bool
    command: List[str]


def parse(words: List[str]) -> Optional[Wish]:
    """The command line; None when it is none."""
    rootless, with_rcc = False, True
    while words and words[0].startswith("-"):
        word, words = words[0], words[1:]
        if word == "--rootless":
            rootless = True
        elif word == "--without-rcc":
            with_rcc = False
        elif word == "--":
            break
        else:
            return None
    return Wish(rootless, with_rcc, words) if words else None


def lacking() -> List[str]:
    """Debian packages of what is not here."""
    path = os.environ.get("PATH", "") + ":" + ELSEWHERE
    packages = {package for command, package in NEEDED.items() if shutil.which(command, path=path) is None}
    if importlib.util.find_spec("dns") is None:
        packages.add("python3-dnspython")
    return sorted(packages)


def main(words: List[str]) -> int:
    """Run the command in a new lab; its status."""
    wish = parse(words)
    if wish is None:
        print("usage: tests/lab/enter [--rootless] [--without-rcc] [--] COMMAND [ARG...]", file=sys.stderr)
        return EX_USAGE
    if os.getuid() != 0:
        print("enter: the lab is made of namespaces that only root can make: run it as root", file=sys.stderr)
        return EX_NOPERM
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    signal.signal(signal.SIGHUP, lambda number, _: sys.exit(128 + number))
    try:
        store = image.cached_store(wish.rootless)
        if store is None:
            missing = lacking() + ([] if image.buildable() else ["mmdebstrap"])
            if not missing:
                store = image.build_store(wish.rootless)
        else:
            missing = lacking()
        if missing:
            print(f"enter: missing: apt-get install --no-install-recommends {' '.join(missing)}", file=sys.stderr)
            return EX_UNAVAILABLE
    except image.NoImage as error:
        print(f"enter: {error}", file=sys.stderr)
        return EX_UNAVAILABLE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    plan = lab_host.Plan(wish.command, wish.rootless, wish.with_rcc, store or "")
    try:
        return namespaces.run(lambda: lab_host.live(plan))
    except PermissionError as error:
        print(f"enter: root may make no namespaces here ({error.strerror}): it lacks CAP_SYS_ADMIN", file=sys.stderr)
        return EX_NOPERM
