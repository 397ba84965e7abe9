"""Send a token from a container and see whether it arrived: the recorder's word, never the sender's."""

import secrets
import shlex
from typing import Any, List, NamedTuple, Sequence

# Runs in the container: each target gets the token by UDP or in a TCP connection, after its name has been looked up if
# it has one.  Never fails: the recorder decides.
SENDER = """
import socket, sys
token = sys.argv[1].encode()
for word in sys.argv[2:]:
    protocol, address, port, name = word.split(",")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    try:
        if name:
            socket.getaddrinfo(name, None, family)
    except OSError as error:
        print("no address", word, error)
    try:
        with socket.socket(family, kind) as s:
            s.settimeout(2)
            s.connect((address, int(port)))
            s.send(token)
            s.recv(100)
            print("reply", word)
    except OSError as error:
        print("error", word, error)
"""


class Target(NamedTuple):
    """Where a token goes: protocol, literal address, port; ``name`` is asked for first, which opens its addresses."""

    protocol: str
    address: str
    port: int
    name: str = ""

    def __str__(self) -> str:
        return f"{self.protocol},{self.address},{self.port},{self.name}"


def sender(token: str, targets: Sequence[Target]) -> str:
    """The shell words that send the token to all targets, for use behind an image's name."""
    return shlex.join(["python3", "-c", SENDER, token, *map(str, targets)])


def arrived(lab: Any, token: str) -> List[Any]:
    """The frames that carried the token and reached the far side."""
    found: List[Any] = lab.record(token)
    return found


def send(lab: Any, flags: str, targets: Sequence[Target], *, wanted: bool) -> str:
    """Run a container with ``flags`` that sends to ``targets``; assert whether the token arrives.  Its output."""
    token = "tok" + secrets.token_hex(8)
    code, out, err = lab.run(f"podman run --rm {flags} $RCC_LAB_IMAGE {sender(token, targets)}", timeout=60)
    assert code == 0, err
    found = arrived(lab, token)
    assert bool(found) is wanted, f"{flags}: {targets}: arrived {found}, said {out}"
    return str(out)


def blocked(lab: Any, flags: str, targets: Sequence[Target]) -> None:
    """Each target by itself: the token arrives without the flags, and does not with them."""
    for target in targets:
        send(lab, "", [target], wanted=True)
        send(lab, flags, [target], wanted=False)
