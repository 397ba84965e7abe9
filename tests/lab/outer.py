"""The part of `enter` outside the lab: see that all is there, stage rcc, fetch the image, enter fresh namespaces."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from typing import IO, List, NamedTuple, Optional

HERE = os.path.dirname(os.path.realpath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
NEEDED = {  # command: Debian package
    "podman": "podman",
    "crun": "crun",
    "ip": "iproute2",
    "nft": "nftables",
    "nsenter": "util-linux",
    "newuidmap": "uidmap",
    "catatonit": "catatonit",
    "openssl": "openssl",
    "make": "make",
}
EX_UNAVAILABLE, EX_NOPERM, EX_USAGE = 69, 77, 64


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


def missing() -> List[str]:
    """Debian packages of the commands that are not here."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return sorted({package for command, package in NEEDED.items() if shutil.which(command, path=path) is None})


def main(words: List[str]) -> int:
    """Run the command in a new lab; its status."""
    wish = parse(words)
    if wish is None:
        print("usage: tests/lab/enter [--rootless] [--without-rcc] [--] COMMAND [ARG...]", file=sys.stderr)
        return EX_USAGE
    if os.getuid() != 0:
        print("enter: the lab is made of namespaces that only root can make", file=sys.stderr)
        return EX_NOPERM
    lacking = missing()
    if lacking:
        print(f"enter: missing: apt-get install {' '.join(lacking)}", file=sys.stderr)
        return EX_UNAVAILABLE
    import image

    folder = tempfile.mkdtemp(prefix="rcc-lab-")
    try:
        if wish.with_rcc:
            stage(os.path.join(folder, "stage"))
        store = image.store(wish.rootless)
        return run(folder, store, wish.rootless, wish.command)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def stage(folder: str) -> None:
    """Install rcc under ``folder`` as the packages do."""
    words = ["make", "-s", "-C", TOP, "install", f"DESTDIR={folder}"]
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONHASHSEED": "0"}
    subprocess.run(words, check=True, stdout=sys.stderr, env=environment)


def run(
    folder: str, store: str, rootless: bool, command: List[str], fill: Optional[IO[bytes]] = None, keep: str = ""
) -> int:
    """Enter namespaces of its own; when the first process in there ends, the kernel ends all others.

    With ``fill`` as standard input the command fills a store, which is kept as ``keep``.
    """
    inner = [
        "unshare", "--mount", "--propagation", "private", "--net", "--ipc", "--pid", "--fork", "--kill-child",
        "--mount-proc", "/usr/bin/python3", "-I", os.path.join(HERE, "inner.py"),
        folder, store, "rootless" if rootless else "rootful", keep, *command,
    ]  # fmt: skip
    process = subprocess.Popen(inner, stdin=fill, stdout=sys.stderr if fill else None)

    def end(_number: int, _frame: object) -> None:
        process.terminate()

    # Ctrl-C reaches the command by the terminal; here it only must not end us before the folder is gone.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGHUP, end)
    status = process.wait()
    return status if status >= 0 else 128 - status
