"""Entering namespaces, coming back, and whose they may be."""

import os
import subprocess
import sys

import pytest
from pair import Pair, entered, new_namespace
from rcc.core.errors import KernelError
from rcc.system.addresses import own_addresses
from rcc.system.netns import OWN, inode_of, inside
from rcc.system.nft import Nft

pytestmark = pytest.mark.netns


def test_a_job_runs_inside_and_the_caller_stays_outside(lab: Pair) -> None:
    home = inode_of(OWN)
    for place in (lab.box, f"/proc/self/fd/{lab.box}"):
        assert inside(place, lambda: inode_of(OWN)) == inode_of(lab.box) != home
        assert inside(lab.world, lambda: inside(lab.box, lambda: inode_of(OWN))) == inode_of(lab.box)
        assert inode_of(OWN) == home


def test_an_error_inside_is_the_callers(lab: Pair) -> None:
    def fail() -> None:
        raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        inside(lab.box, fail)


def test_places_that_are_none() -> None:
    for place in ("/proc/self/ns/no-such", "/etc/passwd", "/proc/self/ns/mnt", "/proc/0/ns/net"):
        with pytest.raises(KernelError):
            inside(place, lambda: pytest.fail("entered"))
    with pytest.raises(KernelError):
        inode_of("/proc/0/ns/net")


def test_no_descriptor_is_left(lab: Pair) -> None:
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        inside(lab.box, lambda: None)
        with pytest.raises(KernelError):
            inside("/etc/passwd", lambda: None)
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_rules_stay_where_they_were_made(lab: Pair) -> None:
    """An ``Nft`` belongs to the namespace it was made in, also when it is used elsewhere."""
    with entered(lab.box):
        nft = Nft()
    nft.load('table inet rcc { chain about { return comment "here"; }; }\n')
    with entered(lab.box):
        assert Nft().present() == "here"
    with entered(lab.world):
        assert Nft().present() is None


def test_addresses_are_those_of_the_namespace(lab: Pair) -> None:
    with entered(lab.box):
        found = {str(address) for address in own_addresses("/proc/thread-self")}
    assert found == {"127.0.0.1", "::1", "10.77.0.2", "fd77::2"}


CHILD = """
import sys
sys.path[:0] = {path!r}
from rcc.core.errors import KernelError
from rcc.system.netns import inside
from rcc.system.nft import Nft
def job():
    nft = Nft()
    nft.load('table inet rcc {{ chain about {{ return comment "child"; }}; }}\\n')
    return nft.present()
try:
    print("present", inside({place!r}, job))
except KernelError as error:
    print("KernelError", error.message, "|", error.hint)
"""


def run_child(place: str, *prefix: str, descriptor: int = -1) -> str:
    code = CHILD.format(path=[path for path in sys.path if path], place=place)
    command = [*prefix, sys.executable, "-c", code]
    keep = (descriptor,) if descriptor >= 0 else ()
    return subprocess.run(command, capture_output=True, text=True, check=True, pass_fds=keep).stdout


def test_a_namespace_of_a_user_namespace_below_opens() -> None:
    """--userns: the container's network namespace belongs to a user namespace below that of the engine."""
    command = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", "echo ready; exec cat"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as below:
        assert below.stdin is not None and below.stdout is not None
        assert below.stdout.readline() == "ready\n"
        assert run_child(f"/proc/{below.pid}/ns/net") == "present child\n"
        below.stdin.close()


def test_a_namespace_of_a_user_namespace_above_does_not() -> None:
    """Root of a nested user namespace has no rights over a network namespace that it did not make."""
    above = new_namespace()
    try:
        said = run_child(f"/proc/self/fd/{above}", "unshare", "--user", "--map-root-user", descriptor=above)
    finally:
        os.close(above)
    assert said.startswith("KernelError cannot enter the network namespace") and "Operation not permitted" in said
    assert "podman unshare" in said


def test_nf_tables_of_others_say_so() -> None:
    """A process without rights over its own network namespace gets one line of cause and one of remedy."""
    said = run_child(OWN, "unshare", "--user", "--map-root-user")
    assert said.startswith("KernelError") and "Operation not permitted" in said
