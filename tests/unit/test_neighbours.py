"""Who is a peer, by the files that netavark has written, and what the gateway answers from them."""

import os
import random
import shutil
import time
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Tuple

import pytest
from rcc.app.neighbours import Local, Neighbours
from rcc.core.compile import Facts, compile_ruleset
from rcc.core.peers import (
    ANSWER_LIMIT,
    CONTAINERS_LIMIT,
    Network,
    Place,
    find_peers,
    parse_network,
    place_of,
    short_name,
)
from rcc.core.policy import HostRule, InternetRule, PeersRule, Policy, Ports, Where
from rcc.system import aardvark
from rcc.system.state import Member, Record

FIXTURES = Path(__file__).parent.parent / "fixtures" / "aardvark"
DB = "5d32e792240869a32786fe90c1ad7fe4f4613b30d6c45f49cd29461abd978565"
APP = "e3be55cac2754c501f31ebfd66fa0ff8c8c09fd9a856c975b2b0981142c32a36"
SIX = "72faded190e322d73301b8971f286b74f31d2139420476ba3a72d85e4d9172ef"
POD = "bb9b64294c0fb3abca0c0cc23f9ba009c5450f755608d6adf693b2c3f8379267"
STRANGER = "0" * 64
POSTGRES = Ports("tcp", 5432, 5432)
PEERS = PeersRule((POSTGRES,), Where())
HOST = HostRule("host.containers.internal", False, (Ports("tcp", 11434, 11434),), True, Where())


def networks(version: str) -> Tuple[Network, ...]:
    files = sorted((FIXTURES / version).iterdir())
    found = [parse_network(file.name, file.read_text()) for file in files if file.name not in aardvark.NO_NETWORKS]
    assert all(found)
    return tuple(network for network in found if network)


def texts(addresses: Any) -> Tuple[str, ...]:
    return tuple(str(address) for address in addresses)


def peers(container: str, name: str, version: str = "netavark-1.4") -> Tuple[str, ...]:
    return texts(find_peers(networks(version), [container], name))


@pytest.mark.parametrize("name", ["db", "DB", "database", "DataBase", DB[:12], "db.dns.podman", "dB.DNS.podman."])
def test_every_name_of_a_peer(name: str) -> None:
    assert peers(APP, name) == ("10.89.0.2",)


def test_peers_are_on_the_container_s_own_networks() -> None:
    assert peers(DB, "app") == ("10.89.0.3",)  # not its address on net2
    assert peers(APP, "six") == ("10.89.0.5",)  # not its addresses on net3
    assert peers(SIX, "db") == ("10.89.0.2",)
    assert peers(SIX, "six")[0] in ("10.89.0.5", "10.89.2.2")


def test_a_container_s_own_name_is_on_all_its_networks() -> None:
    assert peers(APP, "app") == ("10.89.0.3", "10.89.1.2")
    assert peers(SIX, "six") == ("10.89.0.5", "10.89.2.2", "fdfb:4051:ead7:f7c4::2")


def test_a_pod_is_one_container() -> None:
    assert peers(APP, "thepod") == ("10.89.0.4",)
    assert peers(APP, "inpod") == ()
    assert peers(POD, "db") == ("10.89.0.2",)


@pytest.mark.parametrize(
    "name", ["", "d", "db.", "db.example", "db.dns.podman.example", "dns.podman", ".dns.podman", DB, DB[:11], "net1"]
)
def test_other_names(name: str) -> None:
    assert peers(APP, name) == (("10.89.0.2",) if name == "db." else ())


def test_who_is_on_no_network_has_no_peers() -> None:
    assert peers(STRANGER, "db") == ()
    assert texts(find_peers(networks("netavark-1.4"), [], "db")) == ()
    assert texts(find_peers(networks("netavark-1.4"), [STRANGER, APP], "db")) == ("10.89.0.2",)


def test_what_later_versions_write() -> None:
    found = networks("netavark-1.14")
    assert [network.name for network in found] == ["net1", "net2"]
    assert texts(found[0].gateways) == ("10.89.0.1",) and texts(found[1].gateways) == ("10.89.1.1", "fd00:89::1")
    app = "8a8f60ecb09b7e64c6d5214a8043865e608507db8c3f61f995eae6d078875901"
    assert peers(app, "dbhost", "netavark-1.14") == ("10.89.0.2",)
    assert peers(app, "app", "netavark-1.14") == ("10.89.0.3", "10.89.1.2", "fd00:89::2")


def test_several_containers_of_one_name() -> None:
    text = f"10.0.0.1\n{'a' * 64} 10.0.0.2  web,a\n{'b' * 64} 10.0.0.3  web,b\n{'c' * 64} 10.0.0.4  asker\n"
    found = parse_network("n", text)
    assert found is not None
    assert texts(find_peers([found, found], ["c" * 64], "web")) == ("10.0.0.2", "10.0.0.3")


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1", "10.0.1.1", "127.0.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1", "100.100.100.200", "192.0.0.1"],
)
def test_addresses_that_are_no_container_s(address: str) -> None:
    """The gateways of all networks are the host's; a line that is out of date must not lead there."""
    one = parse_network("n", f"10.0.0.1\n{'a' * 64} {address},10.0.0.2  web\n{'c' * 64} 10.0.0.4  asker\n")
    two = parse_network("m", "10.0.1.1\n")
    assert one is not None and two is not None
    assert texts(find_peers([one, two], ["c" * 64], "web")) == ("10.0.0.2",)


@pytest.mark.parametrize("address", ["::1", "fe80::2", "fd00:ec2::254", "::ffff:10.0.0.9", "ff02::1"])
def test_addresses_6_that_are_no_container_s(address: str) -> None:
    one = parse_network("n", f"10.0.0.1\n{'a' * 64} 10.0.0.2 {address},fd00::2 web\n{'c' * 64} 10.0.0.4  asker\n")
    assert one is not None
    assert texts(find_peers([one], ["c" * 64], "web")) == ("10.0.0.2", "fd00::2")


@pytest.mark.parametrize("text", ["", "\n", "10.0.0.1", "x\n", "10.0.0.1,\n", " 9.9.9.9\n", "\n10.0.0.1\n", "\0\n"])
def test_no_first_line(text: str) -> None:
    assert parse_network("n", text) is None


@pytest.mark.parametrize(
    "line",
    [
        "",
        "a 10.0.0.2",
        "a 10.0.0.2 web",  # two spaces are wanted where there is no IPv6
        "a 10.0.0.2/24  web",
        "a 10.0.0.2,  web",
        "a fd00::2  web",
        "a  10.0.0.x web",
        "a\t10.0.0.2\t\tweb",
        "a 10.0.0.2%eth0  web",
    ],
)
def test_lines_that_are_none(line: str) -> None:
    found = parse_network("n", f"10.0.0.1\n{line}\nb 10.0.0.3  web\n")
    assert found is not None and [entry.container for entry in found.entries] == ["b"]


def test_a_line_without_its_end_does_not_count() -> None:
    """It may be half written: 10.0.0.1 of 10.0.0.12."""
    found = parse_network("n", "10.0.0.254\na 10.0.0.2  web\nb 10.0.0.3  we")
    assert found is not None and [entry.container for entry in found.entries] == ["a"]


def test_bounds() -> None:
    many = "".join(f"{number:064x} 10.{number >> 8 & 255}.{number & 255}.2  web\n" for number in range(5000))
    found = parse_network("n", "11.0.0.1\n" + many)
    assert found is not None and len(found.entries) == CONTAINERS_LIMIT
    assert len(find_peers([found], [f"{7:064x}"], "web")) == ANSWER_LIMIT


def test_short_names() -> None:
    assert short_name("Db.dns.podman.") == short_name("db.") == short_name("DB") == "db"
    assert short_name("a.b.dns.podman") == "a.b"


def test_places() -> None:
    root = f"/run/user/1000/containers/overlay-containers/{DB}/userdata"
    wanted = Place("/run/user/1000/containers", DB)
    assert place_of(f"{root}/resolv.conf", f"{root}/hosts") == wanted
    assert place_of("/home/me/resolv.conf", f"{root}/hosts") == wanted
    assert place_of("", f"{root}/hosts") == wanted
    for other in (
        "",
        "/etc/resolv.conf",
        "resolv.conf",
        f"{root[1:]}/hosts",
        f"/x/{DB}/userdata/hosts",
        f"{root}/../x/h",
    ):
        assert place_of(other) is None


def test_any_text_is_read_without_trouble() -> None:
    draw = random.Random(11)
    text = (FIXTURES / "netavark-1.4" / "net1").read_text()
    for _ in range(3000):
        letters = list(text)
        for _ in range(draw.randint(1, 8)):
            place = draw.randrange(len(letters))
            letters[place : place + draw.randint(0, 30)] = draw.choice(
                ["", " ", ",", "\n", "\0", "::", "é", "10.89.0.1"]
            )
        found = parse_network("net1", "".join(letters))
        if found is not None:
            gateways = set(found.gateways)
            for name in ("db", "", "app"):
                assert not gateways & set(find_peers([found], [APP], name))


# The files.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder, at rest."""
    target = tmp_path / "run" / aardvark.USERS_FOLDER
    shutil.copytree(FIXTURES / "netavark-1.4", target)
    target.chmod(0o755)
    for file in target.iterdir():
        file.chmod(0o644)
        age(file)
    return target


def age(path: Path) -> None:
    os.utime(path, (time.time() - 10, time.time() - 10))


def test_folders() -> None:
    assert aardvark.folder_of("/run/containers/storage", 0) == "/run/containers/networks/aardvark-dns"
    assert aardvark.folder_of("/run/user/7/containers", 7) == "/run/user/7/containers/networks/aardvark-dns"


def test_reading_the_folder(folder: Path) -> None:
    read = aardvark.read_files(str(folder))
    assert sorted(read.texts) == ["net1", "net2", "net3"] and read.settled
    assert read.signature == aardvark.signature_of(str(folder))
    (folder / "net2").write_text("10.89.1.1\n")
    again = aardvark.read_files(str(folder))
    assert not again.settled and again.signature != read.signature and again.texts["net2"] == "10.89.1.1\n"


def test_no_folder(tmp_path: Path) -> None:
    assert aardvark.read_files(str(tmp_path / "none")).texts == {}
    (tmp_path / "file").write_text("x")
    assert aardvark.read_files(str(tmp_path / "file")).texts == {}


def test_links_are_not_followed(folder: Path, tmp_path: Path) -> None:
    (folder / "net1").rename(tmp_path / "net1")
    (folder / "net1").symlink_to(tmp_path / "net1")
    assert sorted(aardvark.read_files(str(folder)).texts) == ["net2", "net3"]
    (tmp_path / "link").symlink_to(folder)
    assert aardvark.read_files(str(tmp_path / "link")).texts == {}


def test_what_is_no_file_does_not_hang(folder: Path) -> None:
    os.mkfifo(folder / "fifo")
    (folder / "sub").mkdir()
    assert sorted(aardvark.read_files(str(folder)).texts) == ["net1", "net2", "net3"]


def test_what_others_can_write_is_not_read(folder: Path) -> None:
    (folder / "net1").chmod(0o666)
    assert sorted(aardvark.read_files(str(folder)).texts) == ["net2", "net3"]
    folder.chmod(0o777)
    assert aardvark.read_files(str(folder)).texts == {}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_what_belongs_to_others_is_not_read(folder: Path) -> None:
    os.chown(folder / "net1", 12345, 0)
    assert sorted(aardvark.read_files(str(folder)).texts) == ["net2", "net3"]
    (folder / "net2").chmod(0o664)
    os.chown(folder / "net2", 0, 12345)
    assert sorted(aardvark.read_files(str(folder)).texts) == ["net3"]
    os.chown(folder, 12345, 0)
    assert aardvark.read_files(str(folder)).texts == {}


def test_long_files_and_odd_bytes(folder: Path) -> None:
    (folder / "net1").write_bytes(b"10.0.0.1\n" + b"x" * aardvark.SIZE_LIMIT)
    (folder / "net2").write_bytes(b"\xff\xfe\n")
    read = aardvark.read_files(str(folder))
    assert sorted(read.texts) == ["net2", "net3"] and parse_network("net2", read.texts["net2"]) is None


# What the gateway is told.


def record(*egress: Any, run_root: str = "", hosts: str = "", container: str = APP) -> Record:
    folder = f"{run_root}/overlay-containers/{APP}/userdata"
    return Record(
        netns=1,
        path="",
        members=(Member(container, "app", "run"),),
        policy=Policy("p", egress=egress),
        source="",
        notes=(),
        generation=1,
        ident="1.1",
        published=(),
        resolv_conf=f"{folder}/resolv.conf" if run_root else "",
        hosts=hosts,
        dns_servers=(),
        bare=False,
        since=0.0,
    )


OWN = (ip_address("10.88.0.1"), ip_address("11.0.1.1"), ip_address("203.0.113.5"))


@pytest.fixture
def neighbours() -> Neighbours:
    return Neighbours(folder_of=lambda root: os.path.join(root, aardvark.USERS_FOLDER), own=lambda: OWN)


def test_peers_are_answered_where_the_policy_has_them(folder: Path, neighbours: Neighbours) -> None:
    root = str(folder.parent.parent)
    assert neighbours.local(record(PEERS, run_root=root), "db") == Local((ip_address("10.89.0.2"),), True)
    assert neighbours.local(record(PEERS, InternetRule((), Where()), run_root=root), "db.dns.podman") is not None
    assert neighbours.local(record(run_root=root), "db") is None
    assert neighbours.local(record(HOST, InternetRule((), Where()), run_root=root), "db") is None
    assert neighbours.local(record(PEERS, run_root=root), "nobody") is None
    assert neighbours.local(record(PEERS), "db") is None  # not Podman's: nobody knows which networks it is on


def test_who_joins_another_s_network_has_its_peers(folder: Path, neighbours: Neighbours) -> None:
    found = neighbours.local(record(PEERS, run_root=str(folder.parent.parent), container=STRANGER), "db")
    assert found == Local((ip_address("10.89.0.2"),), True)


def test_peers_come_and_go(folder: Path, neighbours: Neighbours) -> None:
    asker = record(PEERS, run_root=str(folder.parent.parent))
    file = folder / "net1"
    assert neighbours.local(asker, "late") is None
    with file.open("a") as stream:
        stream.write(f"{STRANGER} 10.89.0.9  late\n")
    assert neighbours.local(asker, "late") == Local((ip_address("10.89.0.9"),), True)
    file.write_text("".join(line for line in file.read_text().splitlines(True) if DB not in line))
    age(file)
    assert neighbours.local(asker, "db") is None
    assert neighbours.local(asker, "late") is not None
    file.unlink()
    assert neighbours.local(asker, "late") is None


def test_a_file_that_is_being_written_hides_nobody(folder: Path, neighbours: Neighbours) -> None:
    asker = record(PEERS, run_root=str(folder.parent.parent))
    assert neighbours.local(asker, "db") is not None
    (folder / "net1").write_text("")  # File::create of netavark's delete_entry
    assert neighbours.local(asker, "db") is not None
    age(folder / "net1")
    assert neighbours.local(asker, "db") is None


def test_files_at_rest_are_read_once(folder: Path, neighbours: Neighbours, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    real = aardvark.read_files
    monkeypatch.setattr(aardvark, "read_files", lambda folder: reads.append(folder) or real(folder))
    asker = record(PEERS, run_root=str(folder.parent.parent))
    for name in ("db", "db", "nobody", "app"):
        neighbours.local(asker, name)
    assert len(reads) == 1


def test_what_a_reload_keeps(folder: Path, neighbours: Neighbours) -> None:
    root = str(folder.parent.parent)
    db, late, lan = (ip_address(text) for text in ("10.89.0.2", "10.89.0.9", "192.168.1.1"))
    asked = {db: ("api.example.com", "db.dns.podman"), late: ("late",), lan: ("db", NAME)}
    kept = neighbours.still_peers(record(PEERS, run_root=root), asked)
    assert kept == (db,)
    assert neighbours.still_peers(record(run_root=root), asked) == ()
    policy = Policy("p", egress=(PEERS, HOST._replace(ports=(Ports("tcp", 5000, 6000),))))
    facts = Facts(host_addresses=OWN, peers=(*kept, OWN[0], ip_address("169.254.169.254")))
    ruleset = compile_ruleset(policy, facts, 1)
    timed = [element for element in ruleset.private if element.lifetime is not None]
    assert [(str(element.network), element.ports) for element in timed] == [("10.89.0.2/32", POSTGRES)]
    assert [(str(element.network), element.ports) for element in ruleset.former] == [("10.89.0.2/32", POSTGRES)]
    assert compile_ruleset(policy._replace(egress=(HOST,)), facts, 1).former == ()


def hosts_file(tmp_path: Path, text: str) -> str:
    (tmp_path / "hosts").write_text(text)
    return str(tmp_path / "hosts")


NAME = "host.containers.internal"


def test_the_host_is_what_the_hosts_file_says(tmp_path: Path, neighbours: Neighbours) -> None:
    hosts = hosts_file(tmp_path, f"127.0.0.1 localhost\n10.88.0.1\t{NAME} host.docker.internal\n")
    assert neighbours.local(record(HOST, hosts=hosts), NAME) == Local((ip_address("10.88.0.1"),), False)
    # Not as private: nothing is told, and nobody else is asked.  Not named at all: a name like any other.
    assert neighbours.local(record(HOST._replace(private=False), hosts=hosts), NAME) == Local((), False)
    assert neighbours.local(record(PEERS, InternetRule((), Where()), hosts=hosts), NAME) is None
    assert neighbours.local(record(HOST, hosts=hosts), "host.docker.internal") is None


@pytest.mark.parametrize("address", ["10.89.0.2", "192.168.77.80", "127.0.0.1", "169.254.169.254", "8.8.8.8"])
def test_the_hosts_file_chooses_only_among_the_host_s_addresses(
    tmp_path: Path, neighbours: Neighbours, address: str
) -> None:
    assert neighbours.local(record(HOST, hosts=hosts_file(tmp_path, f"{address} {NAME}\n")), NAME) is None


def test_the_host_behind_user_mode_networks(tmp_path: Path, neighbours: Neighbours) -> None:
    for address in ("10.0.2.2", "169.254.1.2"):
        hosts = hosts_file(tmp_path, f"{address} {NAME}\n")
        assert neighbours.local(record(HOST, hosts=hosts), NAME) == Local((ip_address(address),), False)


def test_no_hosts_file(neighbours: Neighbours) -> None:
    assert neighbours.local(record(HOST), NAME) is None
