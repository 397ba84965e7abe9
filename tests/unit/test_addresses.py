from ipaddress import ip_address
from pathlib import Path

import pytest
from rcc.core.errors import KernelError
from rcc.system import addresses
from rcc.system.addresses import own_addresses

# Recorded with Linux 6.18: two addresses on one network, a broadcast, a route that is not local.
FIB_TRIE = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 192.0.2.0/30 2 0 2
        |-- 192.0.2.0
           /30 link UNICAST
        |-- 192.0.2.2
           /32 host LOCAL
     +-- 127.0.0.0/8 2 0 2
        +-- 127.0.0.0/31 1 0 0
           |-- 127.0.0.0
              /8 host LOCAL
           |-- 127.0.0.1
              /32 host LOCAL
        |-- 127.255.255.255
           /32 link BROADCAST
Local:
  +-- 0.0.0.0/0 3 0 5
     |-- 192.0.2.2
        /32 host LOCAL
     |-- 203.0.113.9
        /32 host LOCAL
        /32 link UNICAST
     |-- 192.0.2.3
        /32 link BROADCAST
"""
IF_INET6 = """00000000000000000000000000000001 01 80 10 80       lo
20010db8000000000000000000000007 02 40 00 80     eth0
fe8000000000000000fc00fffe000001 02 40 20 80     eth0
"""


def proc(root: Path, **files: str) -> str:
    (root / "net").mkdir()
    for name, text in files.items():
        (root / "net" / name).write_text(text)
    return str(root)


def test_recorded_host(tmp_path: Path) -> None:
    found = own_addresses(proc(tmp_path, fib_trie=FIB_TRIE, if_inet6=IF_INET6))
    assert [str(address) for address in found] == [
        "127.0.0.1", "192.0.2.2", "203.0.113.9", "::1", "2001:db8::7", "fe80::fc:ff:fe00:1",
    ]  # fmt: skip


def test_ipv6_may_be_absent_ipv4_may_not(tmp_path: Path) -> None:
    root = proc(tmp_path, fib_trie=FIB_TRIE)
    assert all(address.version == 4 for address in own_addresses(root))
    (tmp_path / "net" / "fib_trie").unlink()
    with pytest.raises(KernelError, match="host's own addresses"):
        own_addresses(root)


def test_an_endless_file_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "FIB_TRIE_LIMIT", 100)
    with pytest.raises(KernelError, match="too long"):
        own_addresses(proc(tmp_path, fib_trie=FIB_TRIE))


def test_this_machine() -> None:
    assert ip_address("127.0.0.1") in own_addresses()
