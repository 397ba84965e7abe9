"""All of port 53 goes to the listeners on the container's own loopback, and by no other way anywhere."""

import contextlib
import socket
from typing import Any, Iterator

import pytest
from pair import Pair, entered, family_of
from rcc.core.policy import EVERY_PORT
from rcc.core.ruleset import DNS_PORT, GATEWAY_PORT
from test_ruleset_in_kernel import BASE, NAME4, NAME6, TOKEN, load

pytestmark = pytest.mark.netns

GATEWAY = BASE._replace(gateway=True)
OPEN = GATEWAY._replace(internet=EVERY_PORT)  # the widest there is: port 53 is the gateway's all the same
ANY = (NAME4, NAME6, "10.77.0.1", "fd77::1", "8.8.4.4", "127.0.0.1", "::1", "127.0.0.53")


def bound(lab: Pair, address: str, kind: int, device: str = "") -> socket.socket:
    made = lab.open_socket(lab.box, family_of(address), kind)
    if device:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    return made


def token_arrived(lab: Pair) -> bool:
    """Whether anything of a question got out, to whichever address."""
    frames = list(lab.arrived())
    return any(TOKEN in f.payload or {f.destination_port} & {DNS_PORT, GATEWAY_PORT} for f in frames)


@pytest.fixture
def listeners(lab: Pair) -> Iterator[Any]:
    """The gateway's sockets in the box: (family, kind) to socket."""
    found = {}
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            with entered(lab.box):
                made = socket.socket(family, kind)
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                made.bind((address, GATEWAY_PORT))
            if kind == socket.SOCK_STREAM:
                made.listen()
            made.settimeout(5)
            found[(family, kind)] = made
    yield found
    for made in found.values():
        made.close()


@pytest.mark.parametrize("ruleset", [GATEWAY, OPEN], ids=["closed", "internet"])
@pytest.mark.parametrize("address", ANY)
def test_a_datagram_is_answered_from_where_it_was_sent_to(
    lab: Pair, listeners: Any, address: str, ruleset: Any
) -> None:
    load(lab, ruleset)
    made = bound(lab, address, socket.SOCK_DGRAM)
    made.sendto(TOKEN, (address, DNS_PORT))
    listener = listeners[(made.family, socket.SOCK_DGRAM)]
    data, sender = listener.recvfrom(100)
    assert data == TOKEN
    listener.sendto(b"reply", sender)
    data, source = made.recvfrom(100)
    assert data == b"reply" and source[:2] == (address, DNS_PORT)
    assert not token_arrived(lab)


@pytest.mark.parametrize("address", ANY)
def test_a_connection_too(lab: Pair, listeners: Any, address: str) -> None:
    load(lab, OPEN)
    made = bound(lab, address, socket.SOCK_STREAM)
    made.connect((address, DNS_PORT))
    made.sendall(TOKEN)
    accepted, _ = listeners[(made.family, socket.SOCK_STREAM)].accept()
    with accepted:
        assert accepted.recv(100) == TOKEN
        accepted.sendall(b"reply")
    assert made.recv(100) == b"reply"
    assert not token_arrived(lab)


@pytest.mark.parametrize("address", [NAME4, NAME6])
def test_a_question_larger_than_a_frame(lab: Pair, listeners: Any, address: str) -> None:
    load(lab, OPEN)
    made = bound(lab, address, socket.SOCK_DGRAM)
    made.sendto(TOKEN.ljust(5000, b"x"), (address, DNS_PORT))
    assert len(listeners[(made.family, socket.SOCK_DGRAM)].recv(9000)) == 5000
    assert not token_arrived(lab)


@pytest.mark.parametrize("rules", [False, True])
@pytest.mark.parametrize("with_listeners", [False, True])
@pytest.mark.parametrize("address", [NAME4, NAME6])
@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_socket_bound_to_the_way_out(
    lab: Pair, address: str, kind: int, with_listeners: bool, rules: bool, request: pytest.FixtureRequest
) -> None:
    """SO_BINDTODEVICE needs no right (Linux 5.7): redirected, it would still leave by its device."""
    if with_listeners:
        request.getfixturevalue("listeners")
    if rules:
        load(lab, OPEN)
    made = bound(lab, address, kind, "eth0")
    made.setblocking(False)
    with contextlib.suppress(OSError):
        made.connect((address, DNS_PORT))
    with contextlib.suppress(OSError):
        made.send(TOKEN)
    assert token_arrived(lab) is not rules


@pytest.mark.parametrize("rules", [False, True])
@pytest.mark.parametrize("port", [DNS_PORT, GATEWAY_PORT, 7000])
def test_the_loopback_address_by_the_way_out(lab: Pair, port: int, rules: bool) -> None:
    if rules:
        load(lab, OPEN)
    made = bound(lab, NAME4, socket.SOCK_DGRAM, "eth0")
    with contextlib.suppress(OSError):
        made.sendto(TOKEN, ("127.0.0.1", port))
    assert any(TOKEN in frame.payload for frame in lab.arrived()) is not rules


def test_without_listeners_a_question_fails_at_once(lab: Pair) -> None:
    load(lab, OPEN)
    made = bound(lab, NAME4, socket.SOCK_DGRAM)
    made.connect((NAME4, DNS_PORT))
    made.send(TOKEN)
    with pytest.raises(ConnectionRefusedError):
        made.recv(100)
    with pytest.raises(ConnectionRefusedError):
        bound(lab, NAME4, socket.SOCK_STREAM).connect((NAME4, DNS_PORT))
    assert not token_arrived(lab)


def test_a_flow_to_a_resolver_does_not_outlive_the_static_mode(lab: Pair) -> None:
    """Its packets are established, so nat never sees them: the filter judges them again."""
    from ipaddress import ip_address

    load(lab, BASE._replace(gateway=False, resolvers=(ip_address(NAME4),)))
    made = bound(lab, NAME4, socket.SOCK_DGRAM)
    made.connect((NAME4, DNS_PORT))
    made.send(TOKEN)
    assert token_arrived(lab)
    load(lab, OPEN._replace(generation=2), "test.2")
    with contextlib.suppress(OSError):
        made.send(TOKEN)
        made.send(TOKEN)
    assert not token_arrived(lab)


@pytest.mark.parametrize("ruleset", [GATEWAY, OPEN], ids=["closed", "internet"])
def test_a_question_with_ip_options_reaches_nobody(lab: Pair, listeners: Any, ruleset: Any) -> None:
    """They name hops that no rule has judged; a question needs none."""
    load(lab, ruleset)
    made = bound(lab, NAME4, socket.SOCK_DGRAM)
    made.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, bytes([1, 1, 1, 0]))  # ip(7); no-operations
    with contextlib.suppress(OSError):
        made.sendto(TOKEN, (NAME4, DNS_PORT))
    listeners[(socket.AF_INET, socket.SOCK_DGRAM)].settimeout(0.2)
    with pytest.raises(socket.timeout):
        listeners[(socket.AF_INET, socket.SOCK_DGRAM)].recv(100)
    assert not token_arrived(lab)
