"""What cannot be isolated does not start: the reason reaches the caller, `rcc why` repeats it, and nothing is sent."""

import json
import secrets
from typing import Any, Iterator

import pytest
from arrivals import Target, arrived, sender
from conftest import write_profile

LABEL = "--label rcc=1"


@pytest.fixture(autouse=True)
def clean(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    used = next(name for name in ("lab", "rootful", "rootless") if name in request.fixturenames)
    request.getfixturevalue(used).run("podman pod rm -f -t 0 -a; podman rm -f -t 0 -a", timeout=60)


def refused(lab: Any, flags: str, reason: str, remedy: str = "", before: str = "") -> None:
    """`podman run FLAGS` fails with the reason on its standard error and in `rcc why`, and its token never arrives."""
    token = "tok" + secrets.token_hex(8)
    target = Target("udp", lab.env["RCC_LAB_NAME_IP4"], 7000)
    code, _, err = lab.run(f"{before} podman run --rm {flags} $RCC_LAB_IMAGE {sender(token, [target])}", timeout=60)
    assert code != 0, f"{flags}: started"
    assert reason in err, f"{flags}: {err}"
    assert "rcc why" in err, "Podman's own line names the command that tells more"
    assert remedy in err
    assert not arrived(lab, token)
    code, out, _ = lab.run("rcc why --json")
    newest = json.loads(out)[0]
    assert code == 0 and reason in newest["message"] and newest["verdict"] == "refused"
    assert reason in lab.run("rcc why")[1]


@pytest.mark.parametrize(
    ("flags", "reason", "remedy"),
    [
        ("--network=host", "host's own network", "--network=host"),
        ("--privileged", "--privileged", "--privileged"),
        ("--cap-add=NET_ADMIN", "NET_ADMIN", "--cap-drop=NET_ADMIN"),
        ("--cap-add=SYS_ADMIN", "SYS_ADMIN", "--cap-drop=SYS_ADMIN"),
        ("--cap-add=all", "NET_ADMIN", "--cap-drop=NET_ADMIN"),
        ("--security-opt=seccomp=unconfined", "seccomp", "seccomp=unconfined"),
        ("--label rcc=defualt", "defualt", "default"),
        ("--label rcc=Not/AName", "Not/AName", ""),
    ],
)
def test_flags_that_undo_isolation(lab: Any, flags: str, reason: str, remedy: str) -> None:
    refused(lab, f"{LABEL} {flags}" if "label" not in flags else flags, reason, remedy)


def test_a_foreign_namespace(rootful: Any) -> None:
    rootful.run("ip netns add foreign")
    refused(rootful, f"{LABEL} --network=ns:/run/netns/foreign", "somebody else", "--network=")
    rootful.run("ip netns del foreign")


@pytest.mark.parametrize(
    ("owner", "reason"),
    [
        ("--network=host", "host's own network"),
        ("--network=ns:/run/netns/foreign", "somebody else"),
        ("--cap-add=NET_ADMIN", "NET_ADMIN"),
        ("--privileged", "--privileged"),
    ],
)
def test_joining_a_network_that_cannot_be_isolated(rootful: Any, owner: str, reason: str) -> None:
    """The twin of the flags themselves: the same namespaces by way of another container."""
    rootful.run("ip netns add foreign")
    tables = rootful.run("nft list tables")[1]
    for before, name in (("", "owner"), ("--network=container:owner", "between")):
        flags = before or owner
        code, _, err = rootful.run(f"podman run -d --name {name} {flags} $RCC_LAB_IMAGE sleep 100", timeout=60)
        assert code == 0, err
    for name in ("owner", "between"):
        refused(rootful, f"{LABEL} --network=container:{name}", reason)
    assert rootful.run("nft list tables")[1] == tables, "no table on the host, ever"
    rootful.run("podman rm -f -t 0 between owner; ip netns del foreign")


def test_joining_an_isolated_network_with_rights_over_it(lab: Any) -> None:
    """Not asking for isolation does not help where the network is another's, and that one asked."""
    code, _, err = lab.run(f"podman run -d --name closed {LABEL} $RCC_LAB_IMAGE sleep 100", timeout=60)
    assert code == 0, err
    for flags in ("--label rcc=0", ""):
        refused(lab, f"{flags} --cap-add=NET_ADMIN --network=container:closed", "NET_ADMIN")
    code, _, err = lab.run("podman run --rm --label rcc=0 --network=container:closed $RCC_LAB_IMAGE true", timeout=60)
    assert code == 0, err


def test_a_mount_of_what_rcc_keeps(lab: Any) -> None:
    for folder in ("$XDG_RUNTIME_DIR", "$XDG_RUNTIME_DIR/rcc") if lab.rootless else ("/run", "/run/rcc", "/"):
        refused(lab, f"{LABEL} -v {folder}:/mnt:ro", "rcc keeps")


def test_rootless_ports_that_pass_by_the_rules(rootless: Any) -> None:
    for network in ("slirp4netns", "bridge"):
        refused(rootless, f"{LABEL} --network={network} -p 18080:8000", "published ports", "ingress: published")
    code, _, err = rootless.run("podman run --rm --label rcc=web -p 18080:8000 $RCC_LAB_IMAGE true", timeout=60)
    assert code == 0, err


def test_a_broken_policy_names_file_line_and_column(lab: Any) -> None:
    write_profile(lab, "broken", "version: 1\negress:\n  - hots: a.example\n")
    refused(lab, "--label rcc=broken", "hots")
    assert "broken.yaml:3:" in lab.run("rcc why")[1]
    lab.run("rm $RCC_LAB_PROFILES/broken.yaml")


def test_a_policy_that_breaks_later_is_noticed(lab: Any) -> None:
    """What was understood of the files last time holds only while they are what they were."""
    write_profile(lab, "later", "version: 1\negress: []\n")
    for _ in range(2):
        assert lab.run("podman run --rm --label rcc=later $RCC_LAB_IMAGE true", timeout=60)[0] == 0
    write_profile(lab, "later", "version: 1\negress: what\n")
    refused(lab, "--label rcc=later", "egress")
    lab.run("rm $RCC_LAB_PROFILES/later.yaml")


def test_an_unreadable_database(rootful: Any) -> None:
    """The labels cannot be read, so nobody knows whether the container asks: it does not start."""
    code, out, err = rootful.run(
        "mkdir -p fake/overlay-containers fake/libpod && echo nonsense > fake/libpod/bolt_state.db && "
        "id=$(printf 'a%.0s' $(seq 64)) && "
        'echo \'{"ociVersion":"1.0.2","process":{},"root":{"path":"/x"},'
        '"annotations":{"io.container.manager":"libpod"},"mounts":['
        '{"destination":"/run/.containerenv","source":"\'$PWD/fake/overlay-containers/$id/userdata/.containerenv\'","type":"bind"},'
        '{"destination":"/dev/shm","source":"\'$PWD/fake/overlay-containers/$id/userdata/shm\'","type":"bind"}]}\' '
        "| /usr/bin/python3 -IS /usr/libexec/rcc/rcc-hook precreate; code=$?; rm -rf fake; exit $code"
    )
    assert code == 1 and not out, (out, err)
    assert "database" in err


def test_a_missing_script_stops_containers_instead_of_opening_them(rootful: Any) -> None:
    """Podman skips a hook whose executable is missing; the executable is Python, so a missing script is an error."""
    rootful.run("mv /usr/libexec/rcc/rcc-hook /usr/libexec/rcc/gone")
    code, _, err = rootful.run(f"podman run --rm {LABEL} $RCC_LAB_IMAGE true", timeout=60)
    rootful.run("mv /usr/libexec/rcc/gone /usr/libexec/rcc/rcc-hook")
    assert code != 0
    assert "rcc" in err
    assert rootful.run(f"podman run --rm {LABEL} $RCC_LAB_IMAGE true", timeout=60)[0] == 0


def test_a_kernel_without_nf_tables(rootful: Any) -> None:
    """A stand-in for libnftables that answers as a kernel without nf_tables does."""
    stop = "/usr/libexec/rcc/rcc-agent --stop"  # it has the true one in memory
    rootful.run(stop)
    rootful.run(
        "cp /usr/lib/rcc/rcc/system/nft.py nft.keep && cat >> /usr/lib/rcc/rcc/system/nft.py <<'EOF'\n"
        "def _no_nf_tables(self, text):\n"
        "    raise _sorted_error('Error: Could not process rule: Operation not supported')\n"
        "Nft.load = _no_nf_tables\n"
        "EOF"
    )
    try:
        refused(rootful, LABEL, "nf_tables")
    finally:
        rootful.run(f"mv nft.keep /usr/lib/rcc/rcc/system/nft.py; {stop}")


def test_unlabelled_containers_never_notice(lab: Any) -> None:
    for flags in ("--network=host", "--privileged", "--cap-add=NET_ADMIN", "--label rcc=off --privileged"):
        code, _, err = lab.run(f"podman run --rm {flags} $RCC_LAB_IMAGE true", timeout=60)
        assert code == 0 and "rcc" not in err, (flags, err)
