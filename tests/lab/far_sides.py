"""Start the programs of both far sides: recorders first, then servers and the DNS."""

import os
import select
import subprocess
import sys
from typing import Callable, List

from addresses import LINKS, RESOLVER

HERE = os.path.dirname(os.path.realpath(__file__))
CERTIFICATE = "/run/lab/server.pem"
PATIENCE = 30  # seconds; a loaded machine takes two


def start(record: str, zone: str) -> Callable[[], None]:
    """Start them all; what is returned waits until each is ready and raises SystemExit when one is not."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "30", "-subj", "/CN=lab.example", "-keyout", CERTIFICATE, "-out", CERTIFICATE + ".crt"],
        check=True, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    told, ready = os.pipe()
    programs = [(side, ["recorder.py", str(ready), side, record]) for side in LINKS]
    programs += [(side, ["servers.py", str(ready), side, CERTIFICATE]) for side in LINKS]
    programs.append((RESOLVER.side, ["dns_server.py", str(ready), zone, RESOLVER.ip4, RESOLVER.ip6]))
    for side, (name, *words) in programs:
        _start(side, name, words, ready)
    os.close(ready)

    def wait() -> None:
        expected = len(programs)
        while expected:
            got = os.read(told, expected) if select.select([told], [], [], PATIENCE)[0] else b""
            if not got:
                sys.exit("enter: a server of the lab's far sides did not start")
            expected -= len(got)
        os.close(told)

    return wait


def _start(side: str, name: str, words: List[str], ready: int) -> None:
    command = ["nsenter", f"--net=/run/netns/{side}", "/usr/bin/python3", "-I", os.path.join(HERE, name), *words]
    # A session of its own: Ctrl-C is for the command.
    subprocess.Popen(command, pass_fds=[ready], stdin=subprocess.DEVNULL, start_new_session=True)
