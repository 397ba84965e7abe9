"""What a spec tells of its container, on specs as Podman made them, and on what a user or image can put into one."""

import json
from typing import Any, Dict

import pytest
from podman_store import RECORDED_AT, names, recorded, recorded_state
from rcc.core.errors import SpecError
from rcc.core.oci import (
    add_hook,
    annotations,
    container_ref,
    hosts,
    is_id,
    mount_source,
    netns_path,
    parse_state,
    resolv_conf,
)

GRAPH, RUN = f"{RECORDED_AT}/graph", f"{RECORDED_AT}/run"
ID, OTHER = "a" * 64, "b" * 64


def spec_of(name: str) -> Dict[str, Any]:
    spec: Dict[str, Any] = json.loads(recorded(name)[0])
    return spec


def with_mounts(*mounts: "tuple[str, str]", **more: Any) -> Dict[str, Any]:
    return {"mounts": [{"destination": d, "source": s, "type": "bind"} for d, s in mounts], **more}


def userdata(root: str, identity: str, name: str, driver: str = "overlay") -> str:
    return f"{root}/{driver}-containers/{identity}/userdata/{name}"


@pytest.mark.parametrize("name", [n for n in names() if "build" not in n])
def test_real_containers_are_found_first(name: str) -> None:
    data, cwd = recorded(name)
    spec = json.loads(data)
    own = {m["source"].split("/")[-3] for m in spec["mounts"] if m["destination"] == "/run/.containerenv"}
    own = own or {m["source"].split("/")[-3] for m in spec["mounts"] if m["destination"] == "/etc/hosts"}
    ref = container_ref(spec, cwd)
    assert ref.libpod
    assert {ref.ids[0]} == own
    assert any(root.startswith(f"{RECORDED_AT}/graph") for root in ref.roots) or name == "4.3.1-rootfs-plain"
    assert is_id(ref.layer) or "rootfs" in name


def test_the_graph_root_comes_first() -> None:
    for name in ("4.3.1-bridge", "4.3.1-host", "5.4.2-none", "4.3.1-ipc-host"):
        data, cwd = recorded(name)
        assert container_ref(json.loads(data), cwd).roots[0] == GRAPH
    assert container_ref(spec_of("4.3.1-vfs")).roots[0] == f"{RECORDED_AT}/graphv"
    transient, cwd = recorded("5.4.2-transient")
    ref = container_ref(json.loads(transient), cwd)
    assert set(ref.roots) == {f"{RECORDED_AT}/grapht", f"{RECORDED_AT}/runt"}


@pytest.mark.parametrize("name", ["4.3.1-build", "4.3.1-build-on-annotated"])
def test_a_build_is_no_container(name: str) -> None:
    ref = container_ref(spec_of(name), "/home/me")
    assert not ref.libpod and not ref.ids and not ref.roots and not ref.layer


def test_an_image_cannot_make_its_container_look_like_a_build() -> None:
    ref = container_ref(spec_of("4.3.1-image-annotated"))
    assert ref.libpod, "its annotation io.container.manager says otherwise"
    assert ref.layer


def test_mounts_elsewhere_name_nobody() -> None:
    """`-v .../overlay-containers/OTHER/userdata/y:/z` and the like."""
    ref = container_ref(
        with_mounts(
            ("/z", userdata("/x", OTHER, "hostname")),
            ("/etc/hostname", userdata("/x", OTHER, "y")),
            ("/etc/hosts", f"/x/overlay-containers/{OTHER}/hosts"),
            ("/dev/shm", f"/x/volumes/{OTHER}/_data"),
            ("/run/.containerenv", userdata("/run/containers/storage", ID, ".containerenv")),
        )
    )
    assert ref.ids == (ID,)
    assert ref.roots == ("/run/containers/storage",)


def test_the_users_mounts_come_after_podmans_own() -> None:
    """The real one of user-mounts: /etc/hostname is another container's; the database decides between the two."""
    ref = container_ref(spec_of("4.3.1-user-mounts"))
    assert ref.ids[1:] == (OTHER,)
    assert ref.created


def test_joined_containers_lend_their_shm() -> None:
    spec = spec_of("4.3.1-joinedipc")
    owner = json.loads(recorded("4.3.1-owner")[0])
    ref = container_ref(spec)
    assert len(ref.ids) == 2 and ref.ids[1] == container_ref(owner).ids[0]


@pytest.mark.parametrize(
    "path",
    [
        "relative/overlay-containers/" + ID + "/userdata",
        "/x/overlay-containers/" + ID[:-1] + "/userdata",
        "/x/overlay-containers/" + ID.upper() + "/userdata",
        "/x/overlay-containers/" + ID + "/userdata/",
        "/x/overlay/" + ID + "/userdata",
        "/x/-containers/" + ID + "/userdata",
        "",
    ],
)
def test_other_working_directories(path: str) -> None:
    assert container_ref({}, path).ids == ()


def test_folders_that_are_not_in_their_shortest_form_are_no_roots() -> None:
    ref = container_ref({}, f"/x/../y/overlay-containers/{ID}/userdata")
    assert ref.ids == (ID,) and ref.roots == ()


@pytest.mark.parametrize(
    ("path", "root"),
    [
        (f"/g/overlay/{ID}/merged", "/g"),
        (f"/g/vfs/dir/{ID}", "/g"),
        (f"/g/btrfs/subvolumes/{ID}", "/g"),
        (f"/g/zfs/graph/{ID}", "/g"),
        (f"/overlay/{ID}/merged", "/"),
        (f"/g/overlay/{ID}/diff", ""),
        (f"/g/other/dir/{ID}", ""),
        ("/home/me/rootfs", ""),
        ("rootfs", ""),
    ],
)
def test_the_layer_and_the_graph_root(path: str, root: str) -> None:
    ref = container_ref({"root": {"path": path}})
    assert ref.roots == ((root,) if root else ())
    assert ref.layer == (ID if root else "")


@pytest.mark.parametrize(
    "path",
    [f"/libpod_parent/libpod-{ID}", f"m.slice:libpod:{ID}", f"/m.slice/libpod-{ID}.scope", f"/a/libpod-payload-{ID}"],
)
def test_the_cgroup_names_the_container(path: str) -> None:
    assert container_ref({"linux": {"cgroupsPath": path}}).ids == (ID,)


def test_states() -> None:
    for name in ("4.3.1-none", "4.3.1-pod-member", "5.4.2-owner", "5.4.2-pod-member"):
        state = parse_state(recorded_state(name, "createRuntime"))
        assert is_id(state.id) and state.pid > 0 and state.bundle.endswith(f"{state.id}/userdata")
        assert state.status == "created"
    ended = parse_state(recorded_state("4.3.1-none", "poststop"))
    assert ended.pid == 0 and ended.status == "stopped"
    assert parse_state(recorded_state("5.4.2-owner", "createRuntime")).annotations["rcc"] == "1"


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {"id": "x"},
        {"id": "", "bundle": "/b"},
        {"id": "../x", "bundle": "/b"},
        {"id": "..", "bundle": "/b"},
        {"id": 1, "bundle": "/b"},
        {"id": "x", "bundle": "b"},
        {"id": "x", "bundle": "/b", "pid": "1"},
        {"id": "x", "bundle": "/b", "pid": -1},
        {"id": "x", "bundle": "/b", "pid": True},
        {"id": "x", "bundle": "/b", "annotations": []},
        {"id": "x", "bundle": "/b", "annotations": {"rcc": 1}},
    ],
)
def test_states_that_are_none(data: Any) -> None:
    with pytest.raises(SpecError):
        parse_state(data)


def test_network_namespaces() -> None:
    assert netns_path(spec_of("4.3.1-host")) is None
    assert netns_path(spec_of("4.3.1-none")) == ""
    assert str(netns_path(spec_of("4.3.1-bridge"))).startswith("/run/netns/netns-")
    assert str(netns_path(spec_of("4.3.1-joined"))).startswith("/proc/")
    assert netns_path({}) is None
    with pytest.raises(SpecError):
        netns_path({"linux": {"namespaces": [{"type": "network"}, {"type": "network", "path": "/x"}]}})


def test_files_of_the_resolver() -> None:
    bridge = spec_of("4.3.1-bridge")
    assert resolv_conf(bridge).startswith(RUN) and hosts(bridge).endswith("/userdata/hosts")
    assert resolv_conf(spec_of("4.3.1-none")) == ""
    assert mount_source(with_mounts(("/etc/hosts", "/a"), ("/etc//hosts/", "/b")), "/etc/hosts") == "/b"
    assert mount_source(with_mounts(("/etc/hosts", "tmpfs")), "/etc/hosts") == ""


def test_hooks_are_added_once_and_after_the_others() -> None:
    spec: Dict[str, Any] = {"hooks": {"createRuntime": [{"path": "/other"}]}}
    for timeout in (30, 60):
        add_hook(spec, "createRuntime", "/usr/bin/python3", ["python3", "x"], ["PATH=/bin"], timeout)
    add_hook(spec, "poststop", "/usr/bin/python3", ["python3", "x"], [], 10)
    assert spec["hooks"]["createRuntime"] == [
        {"path": "/other"},
        {"path": "/usr/bin/python3", "args": ["python3", "x"], "env": ["PATH=/bin"], "timeout": 60},
    ]
    assert len(spec["hooks"]["poststop"]) == 1
    empty: Dict[str, Any] = {"hooks": None}
    add_hook(empty, "poststop", "/p", [], [], 1)
    assert empty["hooks"]["poststop"]


@pytest.mark.parametrize(
    "spec",
    [
        {"mounts": {}},
        {"mounts": ["x"]},
        {"root": []},
        {"annotations": []},
        {"annotations": {"a": None}},
        {"linux": []},
    ],
)
def test_specs_that_are_none(spec: Dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        container_ref(spec)


def test_absent_and_null_parts() -> None:
    assert annotations({"annotations": None}) == {}
    assert container_ref({"mounts": None, "root": None, "linux": None}).ids == ()
