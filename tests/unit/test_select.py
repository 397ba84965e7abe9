"""From the bytes that Podman gives to precreate to "nobody asks" or the container with all that was read of it."""

import json
import os
from typing import Any, Optional

import pytest
from podman_store import lay_out, recorded
from rcc.app import select as module
from rcc.app.ask import request_of
from rcc.app.select import Selection, select
from rcc.core.errors import SpecError, StoreError
from rcc.core.request import Request


class Store:
    """A recorded store under a folder, with no settings and no default storage beside it."""

    def __init__(self, folder: str, version: str) -> None:
        self.folder, self.version = folder, version
        self.graph = lay_out(folder, version)
        self.prefix, self.home = os.path.join(folder, "prefix"), os.path.join(folder, "home")

    def spec(self, case: str) -> "tuple[bytes, str]":
        return recorded(f"{self.version.partition('-')[0]}-{case}", self.folder)

    def select(self, data: bytes, cwd: str) -> Optional[Selection]:
        return select(data, cwd, prefix=self.prefix, home=self.home)

    def case(self, case: str) -> Optional[Selection]:
        return self.select(*self.spec(case))

    def settings(self, layer: str, text: str) -> None:
        path = os.path.join(self.prefix, layer) if layer.startswith(("etc", "usr")) else os.path.join(self.home, layer)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(text)


@pytest.fixture(autouse=True)
def no_default_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_default_roots", lambda: ())


@pytest.fixture
def bolt(tmp_path: Any) -> Store:
    return Store(str(tmp_path), "4.3.1")


@pytest.fixture(params=["4.3.1", "5.4.2"])
def store(request: Any, tmp_path: Any) -> Store:
    return Store(str(tmp_path), request.param)


def test_nobody_asks(store: Store) -> None:
    assert store.case("host") is None


def test_a_label(store: Store) -> None:
    selection = store.case("none")
    assert selection is not None and selection.name == "none" and len(selection.container) == 64
    assert selection.annotation is None and selection.config["labels"] == {"rcc": "1"}
    assert selection.roots[0] == store.graph
    assert request_of(selection) == Request("default", "label")


def test_a_pod(store: Store) -> None:
    for case in ("pod-infra", "pod-member"):
        selection = store.case(case)
        assert selection is not None
        assert request_of(selection).profile == "default"
    assert request_of(selection).source == "label of the pod"


def test_a_joined_network(store: Store) -> None:
    selection = store.case("joined")
    assert selection is not None
    request = request_of(selection)
    assert request.profile == "default" and "owner" in request.source and not request.tighten_only


def test_an_annotation(tmp_path: Any) -> None:
    selection = Store(str(tmp_path), "5.4.2").case("owner")
    assert selection is not None and selection.annotation == "1"
    assert request_of(selection) == Request("default", "annotation")


def test_an_image_s_label(bolt: Store) -> None:
    selection = bolt.case("labelled")
    assert selection is not None
    assert request_of(selection) == Request("default", "image's label", tighten_only=True)


def test_the_same_label_from_the_user(bolt: Store) -> None:
    selection = bolt.case("labelled-user")
    assert selection is not None
    assert request_of(selection) == Request("default", "label")


def test_an_image_that_nobody_can_read(tmp_path: Any) -> None:
    """The 5.4.2 image `labelled` is not in the recorded store: its label counts as the image's."""
    selection = Store(str(tmp_path), "5.4.2").case("labelled")
    assert selection is not None
    assert request_of(selection).tighten_only


def test_an_image_that_hides_its_container(tmp_path: Any) -> None:
    """VOLUMEs over Podman's mounts, and an annotation that says that somebody else made the container (4.3.1)."""
    store = Store(str(tmp_path), "4.3.1-annotated")
    data, cwd = store.spec("image-annotated")
    for hidden in (False, True):
        spec = json.loads(data)
        if hidden:
            spec["mounts"] = [m for m in spec["mounts"] if m["destination"] != "/run/.containerenv"]
        selection = store.select(json.dumps(spec).encode(), cwd)
        assert selection is not None and selection.name == "ia"
        request = request_of(selection)
        assert request == Request("public", "image's annotation", tighten_only=True)


def test_a_users_mount_of_another_containers_folder(bolt: Store) -> None:
    """user-mounts binds a file of container bbbb... at /etc/hostname; its own name is `spoof` and nobody asks."""
    data, cwd = bolt.spec("user-mounts")
    assert bolt.select(data, cwd) is None
    # The same with a container that does ask, and with nothing else left to tell the two apart but the time of
    # creation.
    none = json.loads(bolt.spec("none")[0])
    asks = next(m["source"] for m in none["mounts"] if m["destination"] == "/etc/hostname")
    spec = json.loads(data)
    for mount in spec["mounts"]:
        if mount["destination"] in ("/run/.containerenv", "/etc/hosts", "/etc/hostname"):
            mount["source"] = asks.replace("/hostname", "/" + mount["destination"].rpartition("/")[2])
    spec["mounts"].reverse()
    assert bolt.select(json.dumps(spec).encode(), os.path.dirname(asks)) is None
    none["mounts"] = spec["mounts"]
    selection = bolt.select(json.dumps(none).encode(), cwd)
    assert selection is not None and selection.name == "none"


def test_a_time_of_creation_that_is_not_podmans(store: Store) -> None:
    """Podman 4.4 to 4.5.0 takes an image's annotation of that name: the layer tells who it is all the same."""
    data, cwd = store.spec("none")
    spec = json.loads(data)
    spec["annotations"]["io.kubernetes.cri-o.Created"] = "2020-01-01T00:00:00Z"
    with pytest.raises(StoreError):
        store.select(json.dumps(spec).encode(), cwd)
    layer = spec["root"]["path"].split("/")[-2]
    folder = os.path.join(store.graph, "overlay-containers")
    os.mkdir(folder)
    identity = next(m["source"].split("/")[-3] for m in spec["mounts"] if m["destination"] == "/etc/hostname")
    with open(os.path.join(folder, "containers.json"), "w", encoding="ascii") as stream:
        json.dump([{"id": "0" * 64, "layer": "1" * 64}, {"id": identity, "layer": layer}], stream)
    selection = store.select(json.dumps(spec).encode(), cwd)
    assert selection is not None and selection.name == "none"


@pytest.mark.parametrize("case", ["build", "build-on-annotated"])
def test_a_build(bolt: Store, case: str) -> None:
    assert bolt.case(case) is None


def test_odd_containers(bolt: Store) -> None:
    assert bolt.case("ipc-host") is None and bolt.case("rootfs") is None and bolt.case("joinedipc") is not None
    selection = bolt.case("run-tmpfs")
    assert selection is not None and selection.annotation == "1" and request_of(selection).source == "annotation"


def test_a_spec_that_does_not_show_the_graph_root(bolt: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """--rootfs with --ipc=host on 4.3.1: looked for where Podman keeps things by default."""
    with pytest.raises(StoreError, match="no database"):
        bolt.case("rootfs-plain")
    monkeypatch.setattr(module, "_default_roots", lambda: (bolt.graph,))
    assert bolt.case("rootfs-plain") is None


def test_a_container_in_no_database(bolt: Store) -> None:
    data, cwd = bolt.spec("vfs")
    with pytest.raises(StoreError, match="no database") as caught:
        bolt.select(data, cwd)
    assert "podman info" in caught.value.hint


def test_a_spec_of_podmans_without_any_trace() -> None:
    with pytest.raises(StoreError):
        select(b'{"annotations": {"io.container.manager": "libpod"}}', "/")
    assert select(b"{}", "/", prefix="/nonexistent", home="/nonexistent") is None


def test_an_unreadable_database(bolt: Store) -> None:
    with open(os.path.join(bolt.graph, "libpod", "bolt_state.db"), "wb") as stream:
        stream.write(b"nonsense")
    with pytest.raises(StoreError, match="database is damaged"):
        bolt.case("host")
    assert bolt.case("build") is None, "a build needs no database"


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff", b'{"mounts": 1}', b'{"annotations": {"rcc": 1}}'])
def test_what_is_no_spec(data: bytes) -> None:
    with pytest.raises(SpecError):
        select(data, "/")


@pytest.mark.parametrize("layer", ["etc/rcc/rcc.yaml", "usr/share/rcc/rcc.yaml", ".config/rcc/rcc.yaml"])
def test_settings_that_may_ask_for_everybody(bolt: Store, layer: str) -> None:
    bolt.settings(layer, "version: 1\ndefault_profile: offline\n")
    assert bolt.case("host") is None
    for text in ("version: 1\nisolate: always\n", 'version: 1\n"\\x69solate": always\n', "#" * 300_000):
        bolt.settings(layer, text)
        selection = bolt.case("host")
        assert selection is not None
        assert request_of(selection) == Request("", "nobody")
        assert request_of(selection, always=True).profile == "default"
        assert request_of(selection, locked=True, default_profile="d").profile == "d"


def test_settings_that_cannot_be_read_are_looked_at_in_earnest(bolt: Store) -> None:
    os.makedirs(os.path.join(bolt.prefix, "etc", "rcc", "rcc.yaml"))
    assert bolt.case("host") is not None
