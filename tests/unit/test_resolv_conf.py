from ipaddress import ip_address

from rcc.core.resolv_conf import HOSTS_LIMIT, TEXT_LIMIT, lines_naming, parse_hosts, parse_resolv_conf


def test_name_servers_as_engines_write_them() -> None:
    text = "search a.example\nnameserver 10.88.0.1\nnameserver\tfd00::1 # it\n\nnameserver 10.88.0.1\noptions ndots:0\n"
    assert parse_resolv_conf(text) == (ip_address("10.88.0.1"), ip_address("fd00::1"))


def test_only_the_first_three_count() -> None:
    text = "".join(f"nameserver 10.0.0.{number}\n" for number in range(1, 9))
    assert [str(address) for address in parse_resolv_conf(text)] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]


def test_what_is_no_name_server_counts_for_nothing() -> None:
    text = "#nameserver 1.1.1.1\n; nameserver 1.1.1.1\nnameserver\nnameserver #\nnameserver a\nservers 1.1.1.1\n"
    assert parse_resolv_conf(text + "nameserver 1.1.1.1.1\nNAMESERVER 1.1.1.1\nnameserver 0x7f.1\n") == ()


def test_scopes_and_mapped_addresses() -> None:
    text = "nameserver fe80::1%eth0\nnameserver ::ffff:10.0.0.1\n"
    assert parse_resolv_conf(text) == (ip_address("fe80::1"), ip_address("10.0.0.1"))


def test_hosts_as_podman_writes_them() -> None:
    text = "127.0.0.1\tlocalhost localhost.\n::1 localhost #6\n10.0.2.2 Host.Containers.Internal host.docker.internal\n"
    assert parse_hosts(text) == (
        ("localhost", ip_address("127.0.0.1")),
        ("localhost", ip_address("127.0.0.1")),
        ("localhost", ip_address("::1")),
        ("host.containers.internal", ip_address("10.0.2.2")),
        ("host.docker.internal", ip_address("10.0.2.2")),
    )


def test_hosts_lines_that_are_none() -> None:
    assert parse_hosts("# 1.2.3.4 a\nnot-an-address a\n1.2.3.4\n\n1.2.3.400 a\n") == ()


def test_a_huge_file_is_bounded() -> None:
    assert len(parse_hosts("10.0.0.1 " + "a " * 400_000)) == HOSTS_LIMIT
    assert parse_resolv_conf("\n" * (2 << 20) + "nameserver 1.1.1.1\n") == ()


def test_lines_that_name_a_host() -> None:
    names = ("host.containers.internal", "host.docker.internal")
    text = "1.1.1.1 a\n10.0.0.1\tHost.Containers.Internal host.docker.internal\n2.2.2.2 b"
    assert lines_naming(text, names) == "10.0.0.1\thost.containers.internal host.docker.internal"
    assert lines_naming("10.0.0.1 host.docker.internal", names) == "10.0.0.1 host.docker.internal"
    assert lines_naming("x" * TEXT_LIMIT + "\n10.0.0.1 host.docker.internal\n", names) == ""
    many = "".join(f"10.0.0.{number} host.docker.internal\n" for number in range(200))
    assert 0 < len(lines_naming(many, names).split("\n")) < 50
    assert lines_naming("", names) == lines_naming("\n\n", names) == ""
