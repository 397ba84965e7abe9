"""The DNS gateway of a labelled container: names of the policy work, no other name leaves, however it is asked for.

The recorder at the lab's DNS decides what left.  Each spelling of a forbidden question has a twin from a container
without the label, which arrives.
"""

import secrets
import shlex
import time
from typing import Any, Iterator, List

import pytest
from arrivals import Target, arrived, sender
from conftest import write_profile

DIG = "dig +time=3 +tries=1"

# Asks in ways that dig does not know.  Each line of output is an rcode, or why there was none.
ASKER = """
import socket, struct, sys
kind, server, token = sys.argv[1:4]

def name(*labels):
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\\0"

def question(number, encoded, qtype=1, extra=b"", additional=0):
    return struct.pack(">6H", number, 0x100, 1, 0, 0, additional) + encoded + struct.pack(">2H", qtype, 1) + extra

label = token.encode()
forbidden = name(label, b"example")
family = socket.AF_INET6 if ":" in server else socket.AF_INET

def udp(data, device=""):
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.settimeout(2)
        if device:
            s.setsockopt(socket.SOL_SOCKET, 25, device.encode() + b"\\0")  # SO_BINDTODEVICE
        try:
            s.sendto(data, (server, 53))
            print(s.recv(4096)[3] & 15)
        except OSError as error:
            print(error)

if kind == "stream":  # several messages in one TCP stream, the last one cut over two segments
    with socket.socket(family, socket.SOCK_STREAM) as s:
        s.settimeout(3)
        try:
            s.connect((server, 53))
            messages = [question(n, forbidden, qtype) for n, qtype in ((1, 1), (2, 28), (3, 16), (4, 255))]
            data = b"".join(struct.pack(">H", len(m)) + m for m in messages)
            s.sendall(data[:-9]); s.sendall(data[-9:])
            got = b""
            while got.count(label) < 4:
                part = s.recv(4096)
                if not part: break
                got += part
            print(len(got))
        except OSError as error:
            print(error)
elif kind == "escaped":  # a zero byte, a dot and an upper-case letter inside labels
    for odd in (b"\\0" + label, label + b".example", label.upper(), label + b"\\xff"):
        udp(question(7, name(odd, b"example")))
elif kind == "two":  # two questions in one message, the first one allowed
    allowed = name(*sys.argv[4].encode().split(b"."))
    udp(struct.pack(">6H", 5, 0x100, 2, 0, 0, 0) + allowed + b"\\0\\1\\0\\1" + forbidden + b"\\0\\1\\0\\1")
elif kind == "option":  # an EDNS option beside an allowed name
    allowed = name(*sys.argv[4].encode().split(b"."))
    option = struct.pack(">2H", 65001, len(label)) + label
    udp(question(6, allowed, extra=b"\\0" + struct.pack(">2HIH", 41, 1232, 0, len(option)) + option, additional=1))
elif kind == "device":  # bound to the way out, past the loopback
    with open("/proc/net/route") as routes:
        device = next(line.split()[0] for line in routes if line.split()[1] == "00000000")
    udp(question(8, forbidden), device)
elif kind == "opcode":  # a status request, a notify and an update
    for opcode in (2, 4, 5):
        udp(struct.pack(">6H", 9, opcode << 11, 1, 0, 0, 0) + forbidden + b"\\0\\1\\0\\1")
elif kind == "flood":  # more than a datagram holds in any way
    udp(question(10, forbidden) + b"x" * 3000)
"""


@pytest.fixture(autouse=True)
def zone(request: pytest.FixtureRequest) -> Iterator[None]:
    lab = request.getfixturevalue("lab" if "lab" in request.fixturenames else "rootful")
    keep = lab.run("cat $RCC_LAB_ZONE")[1]
    yield
    lab.run(f"cat > $RCC_LAB_ZONE <<'EOF'\n{keep}\nEOF")
    lab.run("podman rm -f -t 0 -a", timeout=60)


def start(lab: Any, name: str, flags: str = "") -> None:
    code, _, err = lab.run(f"podman run -d --name {name} {flags} $RCC_LAB_IMAGE sleep 600", timeout=60)
    assert code == 0, err


def inside(lab: Any, name: str, command: str, timeout: float = 30) -> str:
    """What a command in the container says, whatever its status."""
    return str(lab.run(f"podman exec {name} sh -c {shlex.quote(command)}", timeout=timeout)[1])


def digs(lab: Any) -> List[str]:
    """Ways to ask for a forbidden name with dig; TOKEN is put in."""
    other4, other6, name = lab.env["RCC_LAB_OTHER_IP4"], lab.env["RCC_LAB_OTHER_IP6"], lab.env["RCC_LAB_NAME"]
    ways = [
        f"TOKEN.example {kind}" for kind in ("A", "AAAA", "TXT", "MX", "ANY", "TYPE65", "TYPE10", "SRV", "NS", "PTR")
    ]
    ways += [
        f"{way} {option}" for way in ("TOKEN.example.", f"TOKEN.{name}") for option in ("+tcp", "+noedns", "+notcp")
    ]
    ways += [
        f"TOKEN.example {option}" for option in ("+bufsize=4096", "+subnet=192.0.2.0/24", "+nsid", "+cookie", "+norec")
    ]
    ways += [f"@{other4} TOKEN.example", f"@{other4} +tcp TOKEN.example"]
    if not lab.rootless:  # Podman 4.3.1 gives IPv6 to rootful bridges
        ways += [f"@{other6} TOKEN.example", f"@{other6} +tcp TOKEN.example"]
    ways += ["-c CH TOKEN.example TXT", f"@{other4} TOKEN\\\\000.{name}"]
    return ways


def test_no_other_name_leaves_however_dig_asks(lab: Any) -> None:
    start(lab, "plain")
    start(lab, "closed", "--label rcc=1")
    tokens = {}
    for name in ("plain", "closed"):
        ways = [(way, "tok" + secrets.token_hex(6)) for way in digs(lab)]
        script = "; ".join(f"{DIG} {way.replace('TOKEN', token)}" for way, token in ways)
        inside(lab, name, script, timeout=120)
        tokens[name] = ways
    for way, token in tokens["closed"]:
        assert not arrived(lab, token), way
    # Without rcc nearly all of them arrive; those that do not (a class that the engine's DNS drops) prove nothing.
    reached = [way for way, token in tokens["plain"] if arrived(lab, token)]
    assert len(reached) >= len(tokens["plain"]) - 3, reached


@pytest.mark.parametrize("kind", ["stream", "escaped", "two", "option", "device", "opcode", "flood"])
def test_no_other_name_leaves_however_bytes_are_put(lab: Any, kind: str) -> None:
    asked = lab.env["RCC_LAB_NAME"]
    server = lab.run("awk '/^nameserver/ {print $2; exit}' /etc/resolv.conf")[1].strip()  # takes TCP as well
    reached = {}
    for name, flags in (("plain", ""), ("closed", "--label rcc=1")):
        start(lab, name, flags)
        token = "tok" + secrets.token_hex(6)
        words = shlex.join(["python3", "-c", ASKER, kind, server, token, asked])
        out = lab.run(f"podman exec {name} {words}", timeout=30)[1]
        reached[name] = (bool(arrived(lab, token)), out)
    assert not reached["closed"][0], reached
    assert reached["plain"][0], f"without rcc it must arrive, or this proves nothing: {reached}"


def test_a_refusal_is_quick_and_says_why(lab: Any) -> None:
    start(lab, "closed", "--label rcc=1")
    out = inside(lab, "closed", f"{DIG} secret.example")
    assert "NXDOMAIN" in out and "rcc" in out, out  # the text of the extended error
    began = time.monotonic()
    out = inside(lab, "closed", "getent hosts secret.example || echo refused")
    assert "refused" in out and time.monotonic() - began < 5


def test_a_resolver_of_its_own_choice_is_the_gateway(lab: Any) -> None:
    start(lab, "closed", "--label rcc=1")
    wanted = lab.env["RCC_LAB_NAME_IP4"]
    for way in (f"@{lab.env['RCC_LAB_OTHER_IP4']}", f"@{lab.env['RCC_LAB_LAN_IP4']} +tcp", "@127.0.0.1", "@::1"):
        out = inside(lab, "closed", f"{DIG} +short {way} {lab.env['RCC_LAB_NAME']}")
        assert wanted in out, (way, out)


def test_a_name_whose_address_changes_every_moment(lab: Any) -> None:
    """The address that the answer names is open before the answer leaves; the one before closes by and by."""
    one, two = lab.env["RCC_LAB_NAME_IP4"], lab.env["RCC_LAB_OTHER_IP4"]
    write_profile(lab, "moving", "version: 1\negress:\n  - host: moving.example\n")
    lab.run(f"printf 'moving.example 0 A {one}\\n' >> $RCC_LAB_ZONE")
    start(lab, "mover", "--label rcc=moving")
    for turn in range(8):
        address = (one, two)[turn % 2]
        lab.run(f"sed -i 's/^moving.example.*/moving.example 0 A {address}/' $RCC_LAB_ZONE")
        out = inside(lab, "mover", "curl -sSk -o /dev/null -w '%{remote_ip}' --max-time 8 https://moving.example/ 2>&1")
        assert out.strip() == address, (turn, out)


def test_wildcards(lab: Any) -> None:
    write_profile(lab, "wild", "version: 1\negress:\n  - host: '*.cdn.example'\n    ports: [7000/udp]\n")
    one, two = lab.env["RCC_LAB_NAME_IP4"], lab.env["RCC_LAB_OTHER_IP4"]
    lines = f"a.b.cdn.example 60 A {one}\\ncdn.example 60 A {two}\\nevilcdn.example 60 A {two}\\n"
    lab.run(f"printf '{lines}' >> $RCC_LAB_ZONE")
    start(lab, "wild", "--label rcc=wild")
    for name, address, wanted in (
        ("a.b.cdn.example", one, True),
        ("cdn.example", two, False),
        ("evilcdn.example", two, False),
    ):
        token = "tok" + secrets.token_hex(6)
        lab.run(f"podman exec wild {sender(token, [Target('udp', address, 7000, name)])}")
        assert bool(arrived(lab, token)) is wanted, name


def test_aliases_are_followed_from_the_question_only(lab: Any) -> None:
    one = lab.env["RCC_LAB_NAME_IP4"]
    write_profile(lab, "alias", "version: 1\negress:\n  - host: www.alias.example\n    ports: [7000/udp]\n")
    lab.run(f"printf 'www.alias.example 5 CNAME edge.alias.example\\nedge.alias.example 5 A {one}\\n' >> $RCC_LAB_ZONE")
    start(lab, "alias", "--label rcc=alias")
    assert one in inside(lab, "alias", f"{DIG} +short www.alias.example")
    assert "NXDOMAIN" in inside(lab, "alias", f"{DIG} edge.alias.example"), (
        "the alias's target is no name of the policy"
    )
    token = "tok" + secrets.token_hex(6)
    lab.run(f"podman exec alias {sender(token, [Target('udp', one, 7000)])}")
    assert arrived(lab, token)


def test_the_internet_profile_has_every_name_but_no_private_address(lab: Any) -> None:
    lan = lab.env["RCC_LAB_LAN_IP4"]
    lab.run(f"printf 'rebind.example 60 A {lan}\\n' >> $RCC_LAB_ZONE")
    start(lab, "public", "--label rcc=public")
    assert lab.env["RCC_LAB_OTHER_IP4"] in inside(
        lab, "public", f"{DIG} +short $RCC_LAB_OTHER".replace("$RCC_LAB_OTHER", lab.env["RCC_LAB_OTHER"])
    )
    assert lan not in inside(lab, "public", f"{DIG} +short rebind.example")


def test_a_container_with_no_names_refuses_at_once(lab: Any) -> None:
    start(lab, "closed", "--label rcc=closed")
    began = time.monotonic()
    out = inside(lab, "closed", f"getent hosts {lab.env['RCC_LAB_NAME']} || echo refused")
    assert "refused" in out and time.monotonic() - began < 6
