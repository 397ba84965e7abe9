from ipaddress import ip_address, ip_network

import pytest
from rcc.core.special import OPENABLE4, OPENABLE6, SPECIAL4, SPECIAL6, is_special, never_by_name, touches_special

# First and last addresses of the registries' ranges (RFC 6890 and successors) that must be closed.
SPECIAL_RANGES = (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32", "169.254.0.0/16", "172.16.0.0/12",
    "192.0.0.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4",
    "255.255.255.255/32", "::/128", "::1/128", "::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64",
    "100:0:0:1::/64", "2001::/23", "2001::/32", "2001:2::/48", "2001:10::/28", "2001:20::/28", "2002::/16", "5f00::/16",
    "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "fd00:ec2::254/128",
)  # fmt: skip
PUBLIC = (
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
    "168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0",
    "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "2000::", "2001:200::",
    "2001:4860:4860::8888", "2003::", "2606:4700::1", "3fff:ffff::", "192.0.2.1", "198.51.100.1", "203.0.113.1",
    "2001:db8::1",
)  # fmt: skip


@pytest.mark.parametrize("text", SPECIAL_RANGES)
def test_special_ranges_to_their_edges(text: str) -> None:
    network = ip_network(text)
    assert is_special(network.network_address) and is_special(network.broadcast_address)
    assert touches_special(network)


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses(text: str) -> None:
    address = ip_address(text)
    assert not is_special(address) and not touches_special(ip_network(address))
    assert not never_by_name(address)


@pytest.mark.parametrize("text", ["8.0.0.0/6", "128.0.0.0/1", "2000::/3", "2001::/16", "::/0", "192.0.0.0/23"])
def test_a_network_around_a_special_range_touches_it(text: str) -> None:
    assert touches_special(ip_network(text))


@pytest.mark.parametrize("text", ["203.0.113.0/24", "2001:db8::/32", "2600::/12", "8.0.0.0/7", "192.0.2.0/24"])
def test_networks_beside_special_ranges(text: str) -> None:
    assert not touches_special(ip_network(text))


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0", "127.0.0.1", "169.254.169.254", "169.254.1.1", "168.63.129.16", "100.100.100.200", "224.0.0.251",
        "255.255.255.255", "192.0.0.192", "198.18.0.1", "::", "::1", "::ffff:10.0.0.1", "64:ff9b::a00:1",
        "2002:a00:1::", "fe80::1", "ff02::fb", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254",
    ],
)  # fmt: skip
def test_no_name_opens(text: str) -> None:
    assert never_by_name(ip_address(text))


@pytest.mark.parametrize(
    "text", ["10.0.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "fd12::1", "fc00::", "169.254.1.2"]
)
def test_a_private_name_may_open(text: str) -> None:
    assert is_special(ip_address(text)) and not never_by_name(ip_address(text))


def test_tables_do_not_overlap_and_openable_ranges_are_special() -> None:
    for table in (SPECIAL4, SPECIAL6):
        assert list(table) == sorted(table)
        assert not any(one.overlaps(other) for one, other in zip(table, table[1:]))  # type: ignore[arg-type]
    assert all(touches_special(network) for network in (*OPENABLE4, *OPENABLE6))
