"""`peers: true` and host.containers.internal: what the policy names is reached by its name, and nothing else near by.

What a server has received decides, never what the sender says; what must not arrive has a twin that does.
"""

import secrets
import shlex
from typing import Any, Iterator

import pytest
from arrivals import Target, sender
from conftest import write_profile

IMAGE = "$RCC_LAB_IMAGE"

# Listens on the given TCP ports of every address, appends what it is sent to a file and sends it back.
LISTENER = """
import socket, sys, threading
lock = threading.Lock()

def serve(listening):
    while True:
        connection, _ = listening.accept()
        with connection:
            connection.settimeout(2)
            try:
                data = connection.recv(100)
                with lock, open(sys.argv[1], "ab") as file:
                    file.write(data + b"\\n")
                connection.sendall(data)
            except OSError:
                pass

for port in sys.argv[2:]:
    listening = socket.create_server(("::", int(port)), family=socket.AF_INET6, dualstack_ipv6=True)
    threading.Thread(target=serve, args=(listening,)).start()
open(sys.argv[1], "ab").close()
"""
GOT = "/tmp/got"

PEERED = "version: 1\negress:\n  - peers: true\n    ports: [5432]\n"
NAMED = "version: 1\negress:\n  - host: {NAME}\n"  # names are answered, but not peers'
PUBLIC = "version: 1\negress:\n  - internet: true\n"
ADMITTING = "version: 1\negress: []\ningress: published\n"
HOST = "version: 1\negress:\n  - host: host.containers.internal\n    ports: [11434]\n    private: true\n"


def run(lab: Any, command: str, timeout: float = 60) -> str:
    code, out, err = lab.run(command, timeout=timeout)
    assert code == 0, (command, out, err)
    return str(out)


def listen(lab: Any, name: str, flags: str, ports: str = "5432 5433") -> None:
    """A container that listens; there when it does."""
    words = shlex.join(["python3", "-c", LISTENER, GOT, *ports.split()])
    run(lab, f"podman run -d --name {name} {flags} {IMAGE} {words}")
    wait = f"for i in $(seq 100); do test -e {GOT} && exit 0; sleep 0.1; done; exit 1"
    run(lab, f"podman exec {name} sh -c {shlex.quote(wait)}")


def address_of(lab: Any, name: str, network: str) -> str:
    return run(
        lab, f"podman inspect -f '{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}' {name}"
    ).strip()


def reaches(lab: Any, flags: str, target: Target, server: str) -> bool:
    """Whether what a fresh container with ``flags`` sends to ``target`` arrives at the container ``server``."""
    token = "tok" + secrets.token_hex(8)
    run(lab, f"podman run --rm {flags} {IMAGE} {sender(token, [target])}")
    return token in run(lab, f"podman exec {server} cat {GOT}")


def sends(lab: Any, name: str, target: Target, server: str) -> bool:
    """The same from a container that runs."""
    token = "tok" + secrets.token_hex(8)
    run(lab, f"podman exec {name} {sender(token, [target])}")
    return token in run(lab, f"podman exec {server} cat {GOT}")


def write_profiles(lab: Any) -> None:
    words = {"NAME": lab.env["RCC_LAB_NAME"]}
    for name, text in (
        ("peered", PEERED),
        ("named", NAMED),
        ("open", PUBLIC),
        ("admitting", ADMITTING),
        ("host", HOST),
    ):
        write_profile(lab, name, text.format(**words))


@pytest.fixture(scope="module", params=["rootful", "rootless"])
def place(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The lab with two networks, `db` on the first and `far` on the second."""
    lab = request.getfixturevalue(request.param)
    write_profiles(lab)
    for network in ("net1", "net2"):
        run(lab, f"podman network create {network}")
    listen(lab, "db", "--network net1 --network-alias DataBase")
    listen(lab, "far", "--network net2")
    yield lab
    lab.run("podman rm -f -t 0 -a; podman pod rm -f -a; podman network rm -f net1 net2", timeout=60)


BY_NAME = Target("tcp", "db", 5432)
ASKED = "--network net1 --label rcc=peered"


@pytest.mark.parametrize("name", ["db", "DB", "db.dns.podman", "database", "id"])
def test_a_peer_is_reached_by_each_of_its_names(place: Any, name: str) -> None:
    if name == "id":
        name = run(place, "podman inspect -f '{{.Id}}' db")[:12]
    assert reaches(place, ASKED, Target("tcp", name, 5432), "db")


def test_not_on_another_port(place: Any) -> None:
    other = Target("tcp", "db", 5433)
    assert reaches(place, "--network net1", other, "db")
    assert not reaches(place, ASKED, other, "db")
    asked = Target("tcp", address_of(place, "db", "net1"), 5433, "db")
    assert not reaches(place, ASKED, asked, "db")


@pytest.mark.parametrize("profile", ["named", "closed", "open", "host"])
def test_not_where_the_policy_does_not_say_so(place: Any, profile: str) -> None:
    asked = Target("tcp", address_of(place, "db", "net1"), 5432, "db")
    assert reaches(place, "--network net1", asked, "db")
    for target in (BY_NAME, asked):
        assert not reaches(place, f"--network net1 --label rcc={profile}", target, "db")


def test_not_the_address_without_its_name(place: Any) -> None:
    address = address_of(place, "db", "net1")
    assert not reaches(place, ASKED, Target("tcp", address, 5432), "db")
    assert reaches(place, ASKED, Target("tcp", address, 5432, "db"), "db")


def test_not_a_container_of_another_network(place: Any) -> None:
    by_name = Target("tcp", "far", 5432)
    by_address = Target("tcp", address_of(place, "far", "net2"), 5432, "far")
    assert reaches(place, "--network net1", Target("tcp", by_address.address, 5432), "far"), "or this proves nothing"
    assert not reaches(place, ASKED, by_name, "far")
    assert not reaches(place, ASKED, by_address, "far")
    assert reaches(place, "--network net1,net2 --label rcc=peered", by_name, "far")


def test_a_peer_comes_and_goes(place: Any) -> None:
    run(place, f"podman run -d --name app {ASKED} {IMAGE} sleep 600")
    try:
        late = Target("tcp", "late", 5432)
        assert "no address" in run(place, f"podman exec app {sender('x', [Target('tcp', '127.0.0.1', 1, 'late')])}")
        listen(place, "late", "--network net1")
        assert sends(place, "app", late, "late")
        run(place, "podman rm -f -t 0 late")
        assert "no address" in run(place, f"podman exec app {sender('x', [Target('tcp', '127.0.0.1', 1, 'late')])}")
        assert sends(place, "app", BY_NAME, "db")
        # A network that is connected later counts as well.
        assert not sends(place, "app", Target("tcp", "far", 5432), "far")
        run(place, "podman network connect net2 app")
        assert sends(place, "app", Target("tcp", "far", 5432), "far")
    finally:
        place.run("podman rm -f -t 0 app late")


def test_who_joins_a_network_has_its_peers(place: Any) -> None:
    run(place, "podman pod create --name pod --network net1")
    run(place, f"podman run -d --name joined --network net1 {IMAGE} sleep 600")
    try:
        for flags in ("--pod pod", "--network container:joined"):
            assert reaches(place, f"{flags} --label rcc=peered", BY_NAME, "db"), flags
            assert not reaches(place, f"{flags} --label rcc=peered", Target("tcp", "db", 5433), "db"), flags
    finally:
        place.run("podman rm -f -t 0 joined; podman pod rm -f pod")


def test_an_internal_network(place: Any) -> None:
    run(place, "podman network create --internal inner")
    try:
        listen(place, "deep", "--network inner")
        assert reaches(place, "--network inner --label rcc=peered", Target("tcp", "deep", 5432), "deep")
        assert not reaches(place, "--network inner --label rcc=peered", Target("tcp", "deep", 5433), "deep")
    finally:
        place.run("podman rm -f -t 0 deep; podman network rm -f inner")


def test_a_namespace_that_the_runtime_makes(place: Any) -> None:
    """With a user namespace of its own the network comes after the rules (createRuntime)."""
    flags = f"{ASKED} --uidmap 0:1:5000"
    assert reaches(place, flags, BY_NAME, "db")
    assert not reaches(place, flags, Target("tcp", "db", 5433), "db")


def test_a_labelled_peer_admits_who_its_own_policy_admits(place: Any) -> None:
    try:
        listen(place, "shut", "--network net1 --label rcc=closed")
        assert not reaches(place, "--network net1", Target("tcp", "shut", 5432), "shut")
        assert not reaches(place, ASKED, Target("tcp", "shut", 5432), "shut")
        listen(place, "ajar", "--network net1 --label rcc=admitting -p 15432:5432")
        assert reaches(place, ASKED, Target("tcp", "ajar", 5432), "ajar")
        assert not reaches(place, "--network net1", Target("tcp", "ajar", 5433), "ajar")
    finally:
        place.run("podman rm -f -t 0 shut ajar")


def test_the_default_network_has_no_names_and_so_no_peers(rootful: Any) -> None:
    """Podman's default network has no DNS; rootless containers have no common network by default."""
    write_profiles(rootful)
    try:
        listen(rootful, "plain", "")
        asked = Target("tcp", address_of(rootful, "plain", "podman"), 5432, "plain")
        assert reaches(rootful, "", asked, "plain")
        for target in (asked, Target("tcp", "plain", 5432)):
            assert not reaches(rootful, "--label rcc=peered", target, "plain")
    finally:
        rootful.run("podman rm -f -t 0 plain")


def test_neighbours_on_the_lan_are_no_peers(rootful: Any) -> None:
    """macvlan puts containers on the LAN, and netavark knows no names there."""
    write_profiles(rootful)
    run(rootful, "podman network create -d macvlan -o parent=lan --subnet 192.168.77.0/24 outer")
    try:
        listen(rootful, "outside", "--network outer --ip 192.168.77.60")
        target = Target("tcp", "192.168.77.60", 5432, "outside")
        assert reaches(rootful, "--network outer --ip 192.168.77.61", target, "outside")
        assert not reaches(rootful, "--network outer --ip 192.168.77.62 --label rcc=peered", target, "outside")
    finally:
        rootful.run("podman rm -f -t 0 outside; podman network rm -f outer")


@pytest.fixture(scope="module")
def service(place: Any) -> Iterator[Any]:
    """A server on the lab host itself; what it got is asked for by ``host_got``."""
    words = shlex.join(["python3", "-c", LISTENER, GOT, "11434", "11435"])
    pid = run(place, f"rm -f {GOT}; setsid {words} < /dev/null > /dev/null 2>&1 & echo $!").strip()
    run(place, f"for i in $(seq 100); do test -e {GOT} && exit 0; sleep 0.1; done; exit 1")
    yield place
    place.run(f"kill {pid}")


def host_got(lab: Any, flags: str, target: Target) -> bool:
    token = "tok" + secrets.token_hex(8)
    run(lab, f"podman run --rm {flags} {IMAGE} {sender(token, [target])}")
    return token in run(lab, f"cat {GOT}")


OLLAMA = Target("tcp", "host.containers.internal", 11434)
OTHER_SERVICE = Target("tcp", "host.containers.internal", 11435)


@pytest.mark.parametrize("network", ["", "--network net1", "--network slirp4netns", "--network net1 --uidmap 0:1:5000"])
def test_a_service_on_the_host(service: Any, network: str) -> None:
    assert host_got(service, network, OTHER_SERVICE), "or this proves nothing"
    assert host_got(service, f"{network} --label rcc=host", OLLAMA)
    assert not host_got(service, f"{network} --label rcc=host", OTHER_SERVICE)
    for profile in ("default", "closed", "open", "peered"):
        assert not host_got(service, f"{network} --label rcc={profile}", OLLAMA), profile


def test_the_host_s_name_is_answered_by_the_gateway_too(service: Any) -> None:
    """Programs that read no /etc/hosts ask for it."""
    dig = "dig +short +time=3 +tries=1 host.containers.internal"
    found = run(service, f"podman run --rm --network net1 --label rcc=host {IMAGE} {dig}").split()
    listed = run(service, f"podman run --rm --network net1 {IMAGE} grep host.containers.internal /etc/hosts").split()
    assert found == listed[:1]
    assert not run(service, f"podman run --rm --network net1 --label rcc=peered {IMAGE} {dig}").split()
