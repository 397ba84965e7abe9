"""`podman run --label rcc=1`: what the policy allows arrives, nothing else does, and all of it does without the
label.
"""

from typing import Any, List

import pytest
from arrivals import Target, arrived, blocked, send, sender

LABEL = "--label rcc=1"


def targets(lab: Any, name: str, *, v6: bool = True) -> List[Target]:
    found = []
    for family in ("IP4", "IP6") if v6 else ("IP4",):
        for protocol in ("tcp", "udp"):
            asked = lab.env.get(f"RCC_LAB_{name}", "")  # the LAN's server has no name
            found.append(Target(protocol, lab.env[f"RCC_LAB_{name}_{family}"], 7000, asked))
    return found


def test_an_allowed_name_answers_over_both_families(lab: Any) -> None:
    for flag in ("-4", "-6"):
        code, out, err = lab.run(
            f"podman run --rm {LABEL} $RCC_LAB_IMAGE curl -sSk {flag} --max-time 8 https://$RCC_LAB_NAME/", timeout=60
        )
        assert code == 0, (flag, out, err)
    for target in targets(lab, "NAME"):
        assert "reply" in send(lab, LABEL, [target], wanted=True)


def test_another_name_does_not(lab: Any) -> None:
    blocked(lab, LABEL, targets(lab, "OTHER"))


def test_the_lan_does_not(lab: Any) -> None:
    blocked(lab, LABEL, targets(lab, "LAN"))


def test_another_port_of_the_allowed_address_does_not(lab: Any) -> None:
    blocked(lab, "--label rcc=narrow", targets(lab, "NAME"))


def test_the_metadata_service_does_not(lab: Any) -> None:
    code, out, _ = lab.run("podman run --rm $RCC_LAB_IMAGE curl -s --max-time 5 http://169.254.169.254/", timeout=60)
    assert code == 0 and out, "without rcc it answers, or this proves nothing"
    code, out, _ = lab.run(
        f"podman run --rm {LABEL} $RCC_LAB_IMAGE curl -s --max-time 5 http://169.254.169.254/", timeout=60
    )
    assert code != 0 and not out


def test_a_denial_is_quick_and_honest(lab: Any) -> None:
    """on_denied: reject: an error at once, no time-out."""
    out = send(lab, LABEL, [Target("tcp", lab.env["RCC_LAB_OTHER_IP4"], 7000)], wanted=False)
    assert "refused" in out.lower() or "unreachable" in out.lower() or "prohibited" in out.lower(), out


def test_a_closed_profile_lets_nothing_out(lab: Any) -> None:
    blocked(lab, "--label rcc=closed", targets(lab, "NAME"))


def test_literal_addresses_and_private_ones_by_cidr(lab: Any) -> None:
    udp = Target("udp", lab.env["RCC_LAB_LAN_IP4"], 7000)
    send(lab, "--label rcc=lan", [udp], wanted=True)
    blocked(lab, "--label rcc=lan", [udp._replace(protocol="tcp")])
    send(lab, "--label rcc=ip", targets(lab, "OTHER")[:3], wanted=True)
    blocked(lab, "--label rcc=ip", [Target("udp", lab.env["RCC_LAB_OTHER_IP6"], 7000)])


def test_the_internet_profile_keeps_the_lan_and_dns_closed(lab: Any) -> None:
    send(lab, "--label rcc=public", targets(lab, "OTHER"), wanted=True)
    blocked(lab, "--label rcc=public", targets(lab, "LAN"))


def test_ping_and_raw_sockets_do_not_get_out(rootful: Any) -> None:
    """As root only: slirp4netns passes no echo requests on, so that the twin would not arrive."""
    lab = rootful
    address = lab.env["RCC_LAB_OTHER_IP4"]
    code = (
        "import socket,sys\n"
        "for kind in (socket.SOCK_RAW, socket.SOCK_DGRAM):\n"
        "  try:\n"
        "    s = socket.socket(socket.AF_INET, kind, socket.IPPROTO_ICMP)\n"
        f"    s.sendto(b'\\x08\\x00' + b'\\x00' * 6 + sys.argv[1].encode(), ('{address}', 0))\n"
        "    print('sent', kind)\n"
        "  except OSError as e: print(e)\n"
    )
    raw = "--cap-add=NET_RAW"
    for flags, token, wanted in ((raw, "tokping1", True), (f"{raw} {LABEL}", "tokping2", False)):
        _, out, err = lab.run(
            ["sh", "-c", f'podman run --rm {flags} $RCC_LAB_IMAGE python3 -c "$1" {token}', "sh", code], timeout=60
        )
        assert bool(arrived(lab, token)) is wanted, (flags, out, err)


def test_sockets_that_no_rule_sees_do_not_open(lab: Any) -> None:
    """AF_VSOCK 40, AF_ALG 38, netlink for audit and netfilter; name resolution still has its own."""
    code = (
        "import socket\n"
        "for family, kind, protocol in ((40, 1, 0), (38, 5, 0), (16, 3, 9), (16, 3, 12), (16, 3, 0), (1, 1, 0)):\n"
        "  try: socket.socket(family, kind, protocol).close(); print(family, protocol, 'open')\n"
        "  except OSError as e: print(family, protocol, 'closed')\n"
    )
    found = []
    for flags in ("", LABEL):
        done, out, err = lab.run(
            ["sh", "-c", f'podman run --rm {flags} $RCC_LAB_IMAGE python3 -c "$1"', "sh", code], timeout=60
        )
        assert done == 0, err
        found.append(out.split("\n"))
    assert "40 0 open" in found[0] or "38 0 open" in found[0], "without rcc one of them opens, or this proves nothing"
    assert [line for line in found[1] if line.endswith("open")] == ["16 0 open", "1 0 open"]


def test_the_hosts_ruleset_is_the_same_byte_for_byte(rootful: Any) -> None:
    rules = []
    rootful.run("podman run --rm $RCC_LAB_IMAGE true", timeout=60)  # netavark orders its chains anew for the first one
    for flags in (LABEL, ""):
        code, _, err = rootful.run(f"podman run -d --name same {flags} $RCC_LAB_IMAGE sleep 60", timeout=60)
        assert code == 0, err
        rules.append(rootful.run("nft -s list ruleset")[1])
        rootful.run("podman rm -f -t 0 same")
    assert rules[0] == rules[1]
    assert "rcc" not in rules[0]


@pytest.mark.parametrize("network", ["bridge", "slirp4netns", "none"])
def test_every_network_of_this_podman(lab: Any, network: str) -> None:
    flags = f"--network={network} {LABEL}"
    # Podman 4.3.1 gives IPv6 to rootful bridges (with a subnet for it) and to rootless slirp4netns.
    v6 = (network == "slirp4netns") is lab.rootless
    if network != "none":
        send(lab, flags, targets(lab, "NAME", v6=v6), wanted=True)
    for target in targets(lab, "OTHER", v6=v6):
        if network != "none":
            send(lab, f"--network={network}", [target], wanted=True)
        send(lab, flags, [target], wanted=False)
    code, out, err = lab.run(
        f"podman run --rm --cap-add=NET_RAW {flags} $RCC_LAB_IMAGE grep CapBnd /proc/self/status", timeout=60
    )
    assert code == 0, err
    assert not int(out.split()[1], 16) & (1 << 13), "NET_RAW is dropped"


def test_a_user_namespace_of_its_own(lab: Any) -> None:
    """The runtime makes the netns, Podman configures it after the hooks: the rules are there first."""
    flags = "--userns=keep-id" if lab.rootless else "--uidmap 0:100000:5000"
    network = "--network=slirp4netns" if lab.rootless else "--network=bridge"
    allowed = Target("udp", lab.env["RCC_LAB_NAME_IP4"], 7000, lab.env["RCC_LAB_NAME"])
    other = Target("udp", lab.env["RCC_LAB_OTHER_IP4"], 7000)
    send(lab, f"{flags} {network} {LABEL}", [allowed], wanted=True)
    send(lab, f"{flags} {network}", [other], wanted=True)
    send(lab, f"{flags} {network} {LABEL}", [other], wanted=False)


def test_a_network_connected_later_is_closed_too(rootful: Any) -> None:
    rootful.run("podman network create later")
    for flags, wanted in (("", True), (LABEL, False)):
        code, _, err = rootful.run(f"podman run -d --name joiner {flags} $RCC_LAB_IMAGE sleep 60", timeout=60)
        assert code == 0, err
        code, _, err = rootful.run("podman network connect later joiner")
        assert code == 0, err
        rootful.run("podman network disconnect podman joiner")
        token = f"toklater{int(wanted)}"
        target = Target("udp", rootful.env["RCC_LAB_OTHER_IP4"], 7000)
        rootful.run(f"podman exec joiner {sender(token, [target])}", timeout=30)
        assert bool(arrived(rootful, token)) is wanted
        rootful.run("podman rm -f -t 0 joiner")
    rootful.run("podman network rm later")


def test_published_ports(rootful: Any) -> None:
    """Flows from outside reach a published port where the profile admits them, and no port otherwise."""
    serve = "python3 -m http.server 8000"
    for flags, wanted in (("", True), (LABEL, False), ("--label rcc=web", True)):
        code, _, err = rootful.run(
            f"podman run -d --name served -p 18000:8000 {flags} $RCC_LAB_IMAGE {serve}", timeout=60
        )
        assert code == 0, err
        code, out, err = rootful.run(
            "for i in 1 2 3 4 5; do curl -s --max-time 2 -o /dev/null http://127.0.0.1:18000/ && exit 0;"
            " sleep 0.3; done; exit 1",
            timeout=60,
        )
        assert (code == 0) is wanted, (flags, out, err)
        rootful.run("podman rm -f -t 0 served")
