"""The lab's image and Podman stores that hold it, made once and kept in a cache folder.

Each lab gets a copy of a store, so what it changes is gone with it.  The image has sh, python3, curl, dig and ip.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from typing import Iterator

import addresses

HERE = os.path.dirname(os.path.realpath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
CACHE = os.environ.get("RCC_LAB_CACHE") or os.path.join(TOP, ".cache", "lab")
NAME = "localhost/rcc-lab:1"
INCLUDE = "python3,curl,iproute2,bind9-dnsutils"
TRIM = (
    "rm -rf $1/usr/share/doc $1/usr/share/man $1/usr/share/locale $1/usr/share/perl* $1/var/lib/apt $1/var/cache"
    " $1/var/lib/dpkg/info $1/usr/share/zoneinfo $1/usr/share/i18n"
)
# What a base image usually says; `podman kube play` gives a container no PATH of its own.
CHANGES = ("--change=ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", '--change=CMD ["sh"]')
RECIPE = "\n".join(
    (NAME, INCLUDE, TRIM, *CHANGES, addresses.USER, str(addresses.UID), str(addresses.SUBIDS), "store 1")
)


def store(rootless: bool) -> str:
    """The folder of a graph root that holds the image, for root or for the lab's user."""
    key = hashlib.sha256(RECIPE.encode()).hexdigest()[:16]
    folder = os.path.join(CACHE, key)
    name = os.path.join(folder, "store-user" if rootless else "store-root")
    if os.path.isdir(name):
        return name
    os.makedirs(folder, exist_ok=True)
    with _locked(os.path.join(folder, "lock")):
        tar = os.path.join(folder, "image.tar")
        if not os.path.exists(tar):
            _debootstrap(tar)
        if not os.path.isdir(name):
            _fill(tar, name, rootless)
    return name


@contextmanager
def _locked(path: str) -> Iterator[None]:
    with open(path, "w", encoding="ascii") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _debootstrap(tar: str) -> None:
    print("lab: making the image (once, about half a minute)", file=sys.stderr)
    if shutil.which("mmdebstrap") is None:
        sys.exit("lab: missing: apt-get install mmdebstrap")
    beside = os.path.join(os.path.dirname(tar), "new.tar")
    words = [
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        f"--include={INCLUDE}",
        f"--customize-hook={TRIM}",
        "bookworm",
        beside,
    ]
    subprocess.run(words, check=True, stdout=sys.stderr)
    os.rename(beside, tar)


def _fill(tar: str, name: str, rootless: bool) -> None:
    """Import the image into a fresh store: in a lab of its own, which keeps the store when it ends."""
    import outer

    print(f"lab: filling the {'rootless' if rootless else 'rootful'} store", file=sys.stderr)
    folder = outer.tempfile.mkdtemp(prefix="rcc-lab-")
    try:
        with open(tar, "rb") as stream:
            command = ["podman", "import", "-q", *CHANGES, "-", NAME]
            status = outer.run(folder, "", rootless, command, fill=stream, keep=name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if status:
        sys.exit("lab: the image could not be imported")
