"""The lab's image and Podman stores that hold it, made once and kept in a cache folder.

The image has sh, python3, curl, dig and ip.  Each lab has its own copy of a store.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from typing import Iterator, List, Optional

from addresses import SUBIDS, UID

HERE = os.path.dirname(os.path.realpath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
CACHE = os.path.abspath(os.environ.get("RCC_LAB_CACHE") or os.path.join(TOP, ".cache", "lab"))
NAME = "localhost/rcc-lab:1"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What a base image usually says; `podman kube play` gives a container no PATH of its own.
CHANGES = ("--change", 'CMD=["sh"]', "--change", f"ENV=PATH={PATH}")
INCLUDE = "python3,curl,iproute2,bind9-dnsutils"
TRIM = (
    "rm -rf $1/usr/share/doc $1/usr/share/man $1/usr/share/locale $1/usr/share/perl* $1/var/lib/apt $1/var/cache"
    " $1/var/lib/dpkg/info $1/usr/share/zoneinfo $1/usr/share/i18n"
    " $1/usr/lib/*/perl $1/usr/lib/*/gconv"
)
SOURCES = ("/etc/apt/sources.list", "/etc/apt/sources.list.d/debian.sources")  # the machine's mirror; no third party's


class NoImage(Exception):
    """The image could not be made; says why."""


def cached_store(rootless: bool) -> Optional[str]:
    """A graph root that holds the image, for root or for the lab's user; None when there is none yet."""
    path = _store_path(rootless)
    return path if os.path.isdir(path) else None


def buildable() -> bool:
    """Whether an image is here or can be made."""
    return os.path.exists(os.path.join(_image_folder(), "image.tar")) or shutil.which("mmdebstrap") is not None


def build_store(rootless: bool) -> str:
    """As cached_store, made when there is none; one process makes it, others wait.  Raises NoImage."""
    path, folder = _store_path(rootless), _image_folder()
    os.makedirs(folder, exist_ok=True)
    with _locked(os.path.join(folder, "lock")):
        tar = os.path.join(folder, "image.tar")
        if not os.path.exists(tar):
            _debootstrap(tar)
        if not os.path.isdir(path):
            _fill(tar, path, rootless)
    return path


def _suite() -> str:
    """This machine's Debian, whose packages its mirror has."""
    with open("/etc/os-release", encoding="utf-8") as stream:
        facts = dict(line.rstrip("\n").split("=", 1) for line in stream if "=" in line)
    return facts.get("VERSION_CODENAME", "bookworm").strip('"') if facts.get("ID") == "debian" else "bookworm"


def _key(*words: str) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]


def _image_folder() -> str:
    return os.path.join(CACHE, _key(INCLUDE, TRIM, _suite()))


def _store_path(rootless: bool) -> str:
    """Stores are as their Podman writes them, so another Podman has another."""
    podman = shutil.which("podman")
    stamp = str(os.stat(podman).st_mtime_ns) if podman else ""
    who = f"{UID} {SUBIDS}" if rootless else "root"
    return os.path.join(_image_folder(), f"store-{_key(NAME, *CHANGES, stamp, who)}")


@contextmanager
def _locked(path: str) -> Iterator[None]:
    with open(path, "w", encoding="ascii") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _debootstrap(tar: str) -> None:
    print("enter: making the lab's image (once, about half a minute)", file=sys.stderr)
    work = tar + ".work"
    shutil.rmtree(work, ignore_errors=True)  # of one that was killed
    os.mkdir(work, 0o755)  # apt's own user reads in there
    sources: List[str] = [path for path in SOURCES if _suite() in _text(path)]
    beside = os.path.join(work, "image.tar")
    words = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={INCLUDE}", f"--customize-hook={TRIM}"]
    words += [_suite(), beside, *sources]
    done = subprocess.run(words, check=False, stdout=sys.stderr, env={**os.environ, "TMPDIR": work})
    if done.returncode:
        raise NoImage(f"mmdebstrap could not make the lab's image (status {done.returncode}); it needs a Debian mirror")
    os.rename(beside, tar)
    shutil.rmtree(work, ignore_errors=True)


def _text(path: str) -> str:
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8") as stream:
        return stream.read()


def _fill(tar: str, path: str, rootless: bool) -> None:
    """Import the image into the empty store of a lab made for that."""
    import lab_host
    import namespaces

    print(f"enter: filling the {'rootless' if rootless else 'rootful'} store (once)", file=sys.stderr)
    shutil.rmtree(path + ".new", ignore_errors=True)
    # A process of its own: the namespaces that a process makes for its children it makes once.
    child = os.fork()
    if child == 0:
        with open(tar, "rb") as stream:
            os.dup2(stream.fileno(), 0)
        os.dup2(2, 1)
        os._exit(namespaces.run(lab_host.keep_store(rootless, path)))
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise NoImage("the lab's image could not be imported")
