"""A container may write its resolv.conf: it only chooses among servers that somebody else has named."""

from ipaddress import ip_address

from rcc.core.trusted_resolvers import trusted_resolvers

HOSTS = (ip_address("9.9.9.9"),)
GATEWAY = (ip_address("10.89.0.1"),)


def trusted(*texts: str, gateways: "tuple[object, ...]" = GATEWAY) -> "list[str]":
    found = trusted_resolvers(
        [ip_address(text) for text in texts], hosts_own=HOSTS, asked_for=[ip_address("192.0.2.7")], gateways=gateways
    )
    return [str(address) for address in found]


def test_servers_of_the_host_of_the_user_and_of_the_engine() -> None:
    assert trusted("10.89.0.1", "9.9.9.9", "192.0.2.7", "169.254.1.1") == [
        "10.89.0.1",
        "9.9.9.9",
        "192.0.2.7",
        "169.254.1.1",
    ]


def test_what_the_container_made_up_opens_nothing() -> None:
    assert trusted("6.6.6.6", "10.89.0.9", "192.168.1.1", "10.0.2.3", "::1", "127.0.0.1") == []


def test_the_engines_defaults_only_where_the_host_has_none_of_its_own() -> None:
    google = [ip_address("8.8.8.8")]
    for hosts, wanted in ((("127.0.0.53",), google), ((), google), (("9.9.9.9",), []), (("127.0.0.1", "9.9.9.9"), [])):
        own = [ip_address(text) for text in hosts]
        assert list(trusted_resolvers(google, hosts_own=own, asked_for=(), gateways=())) == wanted


def test_slirp4netns_only_beside_its_own_gateway() -> None:
    assert trusted("10.0.2.3", gateways=(ip_address("10.0.2.2"),)) == ["10.0.2.3"]
