"""Labels by id from real databases of Podman 4.3.1 (BoltDB) and 5.4.2 (SQLite), and the ways in which they fail."""

import glob
import json
import os
import sqlite3
import subprocess
from typing import Any, Callable, Dict, Tuple

import pytest
from podman_store import lay_out, recorded
from rcc.core.errors import StoreError
from rcc.core.oci import container_ref
from rcc.system import podman_db
from rcc.system.podman_db import find, id_by_layer

HOOKS = os.path.join(os.path.dirname(__file__), "..", "..", "hooks")
VERSIONS = ("4.3.1", "5.4.2")
ID = "c" * 64


def identity(name: str) -> str:
    data, cwd = recorded(name)
    return container_ref(json.loads(data), cwd).ids[0]


@pytest.fixture(params=VERSIONS)
def version(request: Any) -> str:
    return str(request.param)


@pytest.fixture
def graph(tmp_path: Any, version: str) -> str:
    return lay_out(str(tmp_path), version)


def test_a_labelled_container(graph: str, version: str) -> None:
    found = find((identity(f"{version}-none"),), ("/nonexistent", graph))
    assert found is not None and found.owners == () and found.database.startswith(graph)
    assert found.container.labels == {"rcc": "1"}
    config = found.container.config
    assert config["name"] == "none" and "networkMode" not in config and config["RawImageName"] == "localhost/plain"
    assert config["CreateCommand"][-4:] == ["--label", "rcc=1", "localhost/plain", "/bin/t"]
    assert found.container.pod is None and found.container.pod_labels == {}


def test_an_unlabelled_one(graph: str, version: str) -> None:
    found = find((identity(f"{version}-host"),), (graph,))
    assert found is not None and found.container.labels == {} and found.container.annotations.get("rcc") is None


def test_a_member_of_a_labelled_pod(graph: str, version: str) -> None:
    found = find((identity(f"{version}-pod-member"),), (graph,))
    assert found is not None and found.container.labels == {}
    assert found.container.pod_labels == {"rcc": "1"}
    assert [owner.id for owner in found.owners] == [identity(f"{version}-pod-infra")]
    assert found.owners[0].labels == {"rcc": "1"} and found.owners[0].pod_labels == {"rcc": "1"}


def test_joining_a_network(graph: str, version: str) -> None:
    found = find((identity(f"{version}-joined"),), (graph,))
    assert found is not None and "rcc" not in found.container.labels
    (owner,) = found.owners
    assert owner.id == identity(f"{version}-owner")
    asked = owner.labels if version == "4.3.1" else owner.annotations
    assert asked["rcc"] == "1"


def test_the_image_s_labels_are_among_them(graph: str, version: str) -> None:
    found = find((identity(f"{version}-labelled"),), (graph,))
    assert found is not None and found.container.labels["rcc"] == "1" and found.container.labels["other"] == "x"


def test_in_no_database(graph: str, tmp_path: Any) -> None:
    assert find((ID,), (graph,)) is None
    assert find((ID,), (str(tmp_path / "empty"), "/nonexistent")) is None
    assert find((), (graph,)) is None


def test_the_time_of_creation_decides_between_candidates(tmp_path: Any) -> None:
    graph = lay_out(str(tmp_path), "4.3.1")
    none, host = identity("4.3.1-none"), identity("4.3.1-host")
    created = json.loads(recorded("4.3.1-host")[0])["annotations"]["io.kubernetes.cri-o.Created"]
    found = find((none, host), (graph,), created)
    assert found is not None and found.container.id == host
    assert find((none,), (graph,), created) is None


def test_both_databases_are_looked_into(tmp_path: Any) -> None:
    graph = lay_out(str(tmp_path), "4.3.1")
    for name, data in sqlite_rows(one={"id": ID, "labels": {"rcc": "x"}}).items():
        write_sqlite(os.path.join(graph, name), data)
    assert find((ID,), (graph,)) is not None
    assert find((identity("4.3.1-none"),), (graph,)) is not None


def test_a_transient_store(tmp_path: Any) -> None:
    write_sqlite(str(tmp_path / "db.sql"), {"ContainerConfig": {ID: {"id": ID, "labels": None}}})
    found = find((ID,), ("/nonexistent", str(tmp_path)))
    assert found is not None and found.container.labels == {}


def test_the_container_by_its_layer(tmp_path: Any) -> None:
    graph = lay_out(str(tmp_path), "4.3.1-annotated")
    ref = container_ref(json.loads(recorded("4.3.1-image-annotated")[0]))
    assert id_by_layer(ref.layer, (graph,)) == ref.ids[0]
    assert id_by_layer("0" * 64, (graph, "/nonexistent")) == ""
    path = os.path.join(graph, "overlay-containers", "containers.json")
    os.rename(path, os.path.join(os.path.dirname(path), "volatile-containers.json"))
    assert id_by_layer(ref.layer, (graph,)) == ref.ids[0]
    with open(path.replace("containers.json", "volatile-containers.json"), "w", encoding="ascii") as stream:
        stream.write("[")
    with pytest.raises(StoreError, match="list of containers"):
        id_by_layer(ref.layer, (graph,))


# Damage, on SQLite databases of Podman's layout.


def sqlite_rows(**containers: Dict[str, Any]) -> Dict[str, Dict[str, Dict[str, Any]]]:
    return {"db.sql": {"ContainerConfig": {config["id"]: config for config in containers.values()}}}


def write_sqlite(path: str, tables: Dict[str, Dict[str, Any]], dump: Callable[[Any], Any] = json.dumps) -> None:
    connection = sqlite3.connect(path)
    for table in ("ContainerConfig", "PodConfig"):
        connection.execute(f"CREATE TABLE {table}(ID TEXT PRIMARY KEY NOT NULL, JSON TEXT NOT NULL)")
        for key, value in tables.get(table, {}).items():
            connection.execute(f"INSERT INTO {table} VALUES (?, ?)", (key, dump(value)))
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"id": "d" * 64}, "something else"),
        (["x"], "something else"),
        ({"id": ID, "pod": "p" * 64}, "pod"),
        ({"id": ID, "netNsCtr": "e" * 64}, "joins the network"),
        ({"id": ID, "netNsCtr": ID}, "without end"),
        ({"id": ID, "netNsCtr": 7}, "without end"),
    ],
)
def test_databases_that_do_not_fit_together(tmp_path: Any, config: Any, reason: str) -> None:
    write_sqlite(str(tmp_path / "db.sql"), {"ContainerConfig": {ID: config}})
    with pytest.raises(StoreError, match=reason) as caught:
        find((ID,), (str(tmp_path),))
    assert caught.value.where.endswith("db.sql")


@pytest.mark.parametrize("labels", [["rcc"], {"rcc": 1}, "rcc"])
def test_labels_that_are_no_text(tmp_path: Any, labels: Any) -> None:
    write_sqlite(str(tmp_path / "db.sql"), {"ContainerConfig": {ID: {"id": ID, "labels": labels}}})
    found = find((ID,), (str(tmp_path),))
    assert found is not None
    with pytest.raises(StoreError, match="labels"):
        _ = found.container.labels


def test_a_row_that_is_no_json(tmp_path: Any) -> None:
    write_sqlite(str(tmp_path / "db.sql"), {"ContainerConfig": {ID: {}}}, dump=lambda value: "{")
    with pytest.raises(StoreError, match="damaged"):
        find((ID,), (str(tmp_path),))


@pytest.mark.parametrize("name", ["db.sql", "libpod/bolt_state.db"])
@pytest.mark.parametrize("data", [b"nonsense, and more of it" * 100, b"\0" * 8192])
def test_nonsense(tmp_path: Any, name: str, data: bytes) -> None:
    os.makedirs(tmp_path / "libpod")
    (tmp_path / name).write_bytes(data)
    with pytest.raises(StoreError, match="database") as caught:
        find((ID,), (str(tmp_path),))
    assert caught.value.hint


def test_a_database_without_tables_has_no_containers(tmp_path: Any) -> None:
    """Nor does it hide those of a BoltDB beside it; a container in neither is refused by select."""
    (tmp_path / "db.sql").write_bytes(b"")
    assert find((ID,), (str(tmp_path),)) is None


def test_a_locked_database(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(podman_db, "WAIT", 0.05)
    path = str(tmp_path / "db.sql")
    write_sqlite(path, {"ContainerConfig": {ID: {"id": ID}}})
    assert find((ID,), (str(tmp_path),)) is not None
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match="locked"):
        find((ID,), (str(tmp_path),))
    writer.execute("ROLLBACK")
    writer.close()
    assert find((ID,), (str(tmp_path),)) is not None


def test_paths_with_letters_that_mean_something_in_a_uri(tmp_path: Any) -> None:
    folder = tmp_path / "a?mode=rwc#%20 é"
    folder.mkdir()
    write_sqlite(str(folder / "db.sql"), {"ContainerConfig": {ID: {"id": ID}}})
    assert find((ID,), (str(folder),)) is not None
    assert sorted(os.listdir(folder)) == ["db.sql"]


def pythons() -> Tuple[str, ...]:
    found = [*sorted(glob.glob(os.path.expanduser("~/.pyenv/versions/3.*/bin/python3"))), "/usr/bin/python3"]
    new = [p for p in found if "/versions/3." not in p or int(p.split("/versions/3.")[1].partition(".")[0]) >= 9]
    return tuple(path for path in new if os.path.exists(path))


@pytest.mark.parametrize("python", pythons())
def test_every_python_at_hand(python: str, graph: str, version: str) -> None:
    """_sqlite3 works without functools, which is importable again afterwards."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from rcc.system.podman_db import find\n"
        "found = find((sys.argv[2],), (sys.argv[3],))\n"
        "assert found.container.pod_labels == {'rcc': '1'} and found.owners\n"
        "assert 'collections' not in sys.modules and 'functools' not in sys.modules\n"
        "import functools, sqlite3; assert functools.reduce\n"
        "assert sqlite3.connect(':memory:').execute('SELECT 1').fetchone()\n"
    )
    command = [python, "-IS", "-c", script, HOOKS, identity(f"{version}-pod-member"), graph]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
