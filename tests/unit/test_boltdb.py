"""The BoltDB reader on a real database of Podman 4.3.1, and on damage of every kind: StoreError, no crash, no hang."""

import fcntl
import json
import os
import random
from typing import Any, Dict, Optional

import pytest
from podman_store import unpack
from rcc.core.errors import StoreError
from rcc.system import boltdb
from rcc.system.boltdb import BoltDb

SEED = 20240501
FLIPS = 600
PAGE = 4096


@pytest.fixture(scope="module")
def original() -> bytes:
    return unpack("4.3.1")


@pytest.fixture(scope="module")
def ids(original: bytes, tmp_path_factory: pytest.TempPathFactory) -> Dict[str, bytes]:
    """Name -> id, from the registry of names."""
    path = str(tmp_path_factory.mktemp("db") / "db")
    write(path, original)
    database = BoltDb(path, 1)
    known = ["bridge", "none", "big", "many0", "many59", "pod"]
    found = {name: database.get((b"name-registry",), name.encode()) for name in known}
    database.close()
    assert all(found.values())
    return {name: value for name, value in found.items() if value}


def write(path: str, data: bytes) -> str:
    with open(path, "wb") as stream:
        stream.write(data)
    return path


def config(path: str, identity: bytes, bucket: bytes = b"ctr") -> Optional[bytes]:
    database = BoltDb(path, 1)
    try:
        return database.get((bucket, identity), b"config")
    finally:
        database.close()


@pytest.fixture
def path(tmp_path: Any, original: bytes) -> str:
    return write(str(tmp_path / "db"), original)


def test_containers_and_pods(path: str, ids: Dict[str, bytes]) -> None:
    for name, identity in ids.items():
        data = config(path, identity, b"pod" if name == "pod" else b"ctr")
        assert data is not None and json.loads(data)["name"] == name
    many = json.loads(config(path, ids["many59"]) or b"")
    assert many["labels"] == {"n": "59", "rcc": "p59"}


def test_values_over_several_pages(path: str, ids: Dict[str, bytes]) -> None:
    assert len(json.loads(config(path, ids["big"]) or b"")["labels"]["long"]) == 20_000


def test_what_is_not_there(path: str, ids: Dict[str, bytes]) -> None:
    assert config(path, b"0" * 64) is None
    assert config(path, b"") is None
    assert config(path, b"f" * 64 + b"x") is None
    assert config(path, ids["none"], b"nobucket") is None
    database = BoltDb(path, 1)
    assert database.get((b"ctr", ids["none"]), b"nokey") is None
    with pytest.raises(StoreError, match="is a bucket"):
        database.get((b"ctr",), ids["none"])
    with pytest.raises(StoreError, match="is no bucket"):
        database.get((b"name-registry", b"none"), b"x")
    database.close()


def test_the_newer_meta_page_holds_and_the_other_one_serves(path: str, original: bytes, ids: Dict[str, bytes]) -> None:
    for broken in (0, PAGE):
        data = bytearray(original)
        data[broken + 16] ^= 1
        write(path, bytes(data))
        try:
            assert config(path, ids["none"]) is not None
        except StoreError as error:  # the older tree may have lost pages to newer ones
            assert "damaged" in str(error)
    data = bytearray(original)
    data[16] ^= 1
    data[PAGE + 16] ^= 1
    with pytest.raises(StoreError, match="no valid meta page"):
        config(write(path, bytes(data)), ids["none"])


@pytest.mark.parametrize("data", [b"", b"nonsense\n", bytes(PAGE), bytes(3 * PAGE), b"\xff" * PAGE])
def test_other_files(path: str, data: bytes) -> None:
    with pytest.raises(StoreError, match="damaged"):
        config(write(path, data), b"x")


def test_a_folder_or_a_pipe(tmp_path: Any) -> None:
    with pytest.raises(StoreError):
        BoltDb(str(tmp_path), 1)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StoreError):
        BoltDb(str(tmp_path / "pipe"), 1)


def test_no_file(tmp_path: Any) -> None:
    with pytest.raises(FileNotFoundError):
        BoltDb(str(tmp_path / "none"), 1)


def test_cut_short(path: str, original: bytes, ids: Dict[str, bytes]) -> None:
    want = config(path, ids["many59"])
    outcomes = set()
    for length in range(0, len(original), 16 * PAGE):
        write(path, original[:length])
        outcomes.add(outcome(path, ids["many59"]))
    assert outcomes <= {want, "StoreError"} and "StoreError" in outcomes


def test_a_writer_is_waited_for_but_not_for_ever(path: str, ids: Dict[str, bytes]) -> None:
    with open(path, "rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match=r"locked for 0\.05 s"):
            BoltDb(path, 0.05)
        fcntl.flock(other, fcntl.LOCK_SH)
        assert config(path, ids["none"]) is not None


def outcome(path: str, identity: bytes) -> Any:
    try:
        return config(path, identity)
    except StoreError:
        return "StoreError"


def test_flipped_bytes(path: str, original: bytes, ids: Dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Damage on the way to a value: StoreError, "not there", or bytes; nothing else is raised and nothing loops."""
    reads = []
    pread = os.pread
    monkeypatch.setattr(boltdb.posix, "pread", lambda *args: (reads.append(args), pread(*args))[1])
    assert config(path, ids["many59"])
    way = [(offset, length) for _, length, offset in reads]
    source = random.Random(SEED)
    errors = 0
    for _ in range(FLIPS):
        data = bytearray(original)
        for _ in range(source.randint(1, 8)):
            start, length = source.choice(way)
            spot = start + (source.randrange(min(length, 64)) if source.random() < 0.7 else source.randrange(length))
            data[spot] = source.choice((0, 255, data[spot] ^ (1 << source.randrange(8))))
        write(path, bytes(data))
        del reads[:]
        result = outcome(path, ids["many59"])
        assert result == "StoreError" or result is None or isinstance(result, bytes)
        assert len(reads) < 2 * (boltdb.DEPTH_LIMIT + 2) * 3 + len(boltdb.PAGE_SIZES)
        errors += result == "StoreError"
    assert errors > FLIPS // 10, "the damage did no damage"


def test_a_tree_that_points_to_itself(path: str, original: bytes, ids: Dict[str, bytes]) -> None:
    data = bytearray(original)
    database = BoltDb(path, 1)
    root = database._root
    database.close()
    # Page flags: branch; its only element leads back to the page itself, with an empty key.
    data[root * PAGE + 8 : root * PAGE + 12] = bytes((1, 0, 1, 0))
    data[root * PAGE + 16 : root * PAGE + 32] = bytes(8) + root.to_bytes(8, "little")
    with pytest.raises(StoreError, match="without end"):
        config(write(path, bytes(data)), ids["none"])
