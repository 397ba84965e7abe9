"""What an OCI spec or state (runtime-spec config.md, runtime.md) says about a container, and hooks added to a spec.

Pure functions over JSON that has been parsed already.  On the path of every unlabelled container: import nothing here.

Nothing in a Podman spec names the container outright, so it is told by what Podman itself puts there (seen in 4.3.1 and
5.4.2; makeBindMounts and generateSpec in libpod/container_internal_common.go):

    mounts       /run/.containerenv, /etc/hostname from ``<runroot>/<driver>-containers/<id>/userdata``, /dev/shm from
                 the same under the graph root.  /etc/hosts, /etc/resolv.conf, /dev/shm may be a joined container's
    cwd          the bundle, ``<graphroot>/<driver>-containers/<id>/userdata``, from 4.6.0; before, the caller's own
    cgroupsPath  ends in the id, where cgroups are used
    root.path    ``<graphroot>/overlay/<layer>/merged``: always Podman's own word, but the layer is not the container
    annotations  ``io.kubernetes.cri-o.Created`` (to 4.3, gone in 4.4) is set by Podman last of all and equals the
                 ``createdTime`` in the database; ``org.opencontainers.image.stopSignal`` is set by all versions

A user's mount, and a VOLUME of the image, take the place of any of these mounts, and on 4.3.1 an image's own
annotations replace ``io.container.manager``.  So these are candidates only: the database decides among them
(system/podman_db.py) by the time of creation, and a container for which no candidate is left is looked up by its layer.
"""

from rcc.core.errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

    Json = Dict[str, Any]

# The hooks that precreate adds: the interpreter, its arguments, then the stage and the run; or a program that costs the
# end of a container next to nothing and leaves a file of the run's name.  All say in their environment whose run it is.
PYTHON = "/usr/bin/python3"
TOUCH = "/usr/bin/touch"
RUN = "RCC_RUN="
HOOK = ("python3", "-IS", "/usr/libexec/rcc/rcc-hook")

ID_LENGTH = 64  # hex digits (containers/storage stringid)
HEX = "0123456789abcdef"
CREATED = "io.kubernetes.cri-o.Created"
# Any of these tells a container of libpod's; `podman build` (buildah) sets no annotation at all (seen in 4.3.1).
LIBPOD_MARKS = ("io.container.manager", CREATED, "org.opencontainers.image.stopSignal")

# Destination and file name of the mounts that Podman makes from a container's folder, those that are never another's
# first.
OWN_MOUNTS = (
    ("/run/.containerenv", ".containerenv"),
    ("/etc/hostname", "hostname"),
    ("/etc/hosts", "hosts"),
    ("/etc/resolv.conf", "resolv.conf"),
    ("/dev/shm", "shm"),
)


class ContainerRef:
    """Where to look for a container: every field is evidence, none is proof.

    ids: candidates for the container's id, best first.  roots: folders that may be the graph root or the run root, best
    first.  layer: the id of the container's top layer, empty for a root file system of the user's own (``--rootfs``).
    created: when Podman says the container was made (RFC 3339), may be empty.
    libpod: whether the spec is one of Podman's containers at all.
    """

    __slots__ = ("created", "ids", "layer", "libpod", "roots")

    def __init__(
        self, ids: "Tuple[str, ...]", roots: "Tuple[str, ...]", layer: str, created: str, libpod: bool
    ) -> None:
        self.ids = ids
        self.roots = roots
        self.layer = layer
        self.created = created
        self.libpod = libpod


class State:
    """The state of a container (OCI runtime-spec, runtime.md).  ``pid`` is 0 where it has none (poststop)."""

    __slots__ = ("annotations", "bundle", "id", "pid", "status")

    def __init__(self, identity: str, pid: int, bundle: str, status: str, annotations: "Dict[str, str]") -> None:
        self.id = identity
        self.pid = pid
        self.bundle = bundle
        self.status = status
        self.annotations = annotations


def is_id(text: object) -> bool:
    """Whether ``text`` is a full id as Podman and containers/storage make them."""
    return isinstance(text, str) and len(text) == ID_LENGTH and all(letter in HEX for letter in text)


def container_ref(spec: "Json", cwd: str = "") -> ContainerRef:
    """What ``spec`` and the hook's working directory tell about a container of Podman's.  Raises SpecError."""
    ids: "List[str]" = []
    roots: "List[str]" = []
    graph_root, layer = _graph_root(str(_object(spec, "root").get("path") or ""))
    _add(roots, graph_root)
    for root, identity in (split_userdata(cwd), ("", _cgroup_id(spec)), *_from_mounts(spec)):
        _add(roots, root)
        _add(ids, identity)
    marks = annotations(spec)
    return ContainerRef(
        tuple(ids), tuple(roots), layer, marks.get(CREATED, ""), any(mark in marks for mark in LIBPOD_MARKS)
    )


def parse_state(data: object) -> State:
    """A state as the runtime gives it to hooks.  Raises SpecError."""
    if not isinstance(data, dict):
        raise SpecError("the state on standard input is no JSON object")
    identity, bundle, pid = data.get("id"), data.get("bundle"), data.get("pid") or 0
    if not isinstance(identity, str) or not identity or len(identity) > 1024 or "/" in identity or identity[0] == ".":
        raise SpecError(f"no container has the id {str(identity)[:80]!r}")
    if not isinstance(bundle, str) or not bundle.startswith("/"):
        raise SpecError("the state names no bundle")
    if not isinstance(pid, int) or isinstance(pid, bool) or pid < 0:
        raise SpecError(f"the state has no valid pid: {str(pid)[:80]!r}")
    return State(identity, pid, bundle, str(data.get("status") or ""), annotations(data))


def annotations(holder: "Mapping[str, Any]") -> "Dict[str, str]":
    """The annotations of a spec or state; those that are no text (the specification allows none) raise SpecError."""
    found = _object(holder, "annotations")
    for key, value in found.items():
        if not isinstance(value, str):
            raise SpecError(f"the annotation {key!r} is no text")
    return found


def netns_path(spec: "Json") -> "Optional[str]":
    """The network namespace of a spec: its path, empty for a new one, None for the host's own.  Raises SpecError."""
    found = [entry for entry in _objects(_object(spec, "linux"), "namespaces") if entry.get("type") == "network"]
    if not found:
        return None
    if len(found) > 1:  # the runtimes refuse it too
        raise SpecError("the spec has two network namespaces")
    return str(found[0].get("path") or "")


def mount_source(spec: "Json", destination: str) -> str:
    """The host's path of what is mounted at ``destination``, empty when nothing is bound there; the last mount wins."""
    found = ""
    for mount in _objects(spec, "mounts"):
        if _clean(str(mount.get("destination") or "")) == destination:
            source = str(mount.get("source") or "")
            found = source if source.startswith("/") else ""
    return found


def resolv_conf(spec: "Json") -> str:
    """The host's path of the container's /etc/resolv.conf, empty when it uses the image's own."""
    return mount_source(spec, "/etc/resolv.conf")


def hosts(spec: "Json") -> str:
    """The host's path of the container's /etc/hosts, empty when it uses the image's own."""
    return mount_source(spec, "/etc/hosts")


def add_hook(spec: "Json", stage: str, path: str, args: "List[str]", env: "List[str]", timeout: int) -> None:
    """Add a hook (OCI runtime-spec, config.md) to ``spec``; one with the same path and arguments is replaced.

    timeout in seconds.  The runtime runs the hooks of a stage in order, so ours comes after those that are there: a
    network that another hook sets up is there when ours looks.  Raises SpecError.
    """
    hooks = _object(spec, "hooks")
    spec["hooks"] = hooks
    others = [hook for hook in _objects(hooks, stage) if hook.get("path") != path or hook.get("args") != args]
    hooks[stage] = [*others, {"path": path, "args": args, "env": env, "timeout": timeout}]


def run_of(spec: "Json", stage: str) -> str:
    """The token of the run whose hook of ``stage`` rcc's precreate has added to ``spec``, empty when there is none."""
    for hook in _objects(_object(spec, "hooks"), stage):
        for entry in hook.get("env") or ():
            if isinstance(entry, str) and entry.startswith(RUN) and hook.get("path") in (PYTHON, TOUCH):
                return entry[len(RUN) :]
    return ""


def _from_mounts(spec: "Json") -> "Iterator[Tuple[str, str]]":
    """Root and id of each mount that has the place and the name of one of Podman's own."""
    by_destination: "Dict[str, List[str]]" = {}
    for mount in _objects(spec, "mounts"):
        destination, source = mount.get("destination"), mount.get("source")
        if isinstance(destination, str) and isinstance(source, str):
            by_destination.setdefault(destination, []).append(source)
    for destination, name in OWN_MOUNTS:
        for source in by_destination.get(destination, ()):
            folder, _, file = source.rpartition("/")
            if file == name:
                yield split_userdata(folder)


def split_userdata(path: str) -> "Tuple[str, str]":
    """``<root>/<driver>-containers/<id>/userdata`` -> root, id; two empty strings for any other path."""
    parts = path.split("/")
    if len(parts) < 5 or parts[0] or parts[-1] != "userdata" or not is_id(parts[-2]):
        return "", ""
    if not parts[-3].endswith("-containers") or parts[-3] == "-containers":
        return "", ""
    return _absolute(parts[:-3]), parts[-2]


def _graph_root(path: str) -> "Tuple[str, str]":
    """Graph root and layer from the path of a mounted layer (containers/storage drivers/*), both empty if none."""
    parts = path.split("/")
    for driver, ending, place in (
        ("overlay", "merged", -2),
        ("dir", "", -1),  # vfs/dir/<layer>
        ("subvolumes", "", -1),  # btrfs/subvolumes/<layer>
        ("graph", "", -1),  # zfs/graph/<layer>
    ):
        if len(parts) < 4 or parts[0] or not is_id(parts[place]) or parts[place - 1] != driver:
            continue
        if driver == "overlay":
            if parts[-1] == ending:
                return _absolute(parts[:-3]), parts[-2]
        elif parts[-3] in ("vfs", "btrfs", "zfs"):
            return _absolute(parts[:-3]), parts[-1]
    return "", ""


def _cgroup_id(spec: "Json") -> str:
    """The id in ``/PARENT/libpod-ID`` or ``SLICE:libpod:ID`` (systemd); empty without cgroups."""
    path = str(_object(spec, "linux").get("cgroupsPath") or "")
    name = path.rpartition("/")[2].rpartition(":")[2]
    name = name[: -len(".scope")] if name.endswith(".scope") else name
    return name[-ID_LENGTH:] if is_id(name[-ID_LENGTH:]) else ""


def _absolute(parts: "List[str]") -> str:
    """The folder of these path components, empty for one that is not in its shortest form."""
    if any(part in ("", ".", "..") for part in parts[1:]):
        return ""
    return "/".join(parts) or "/"


def _clean(path: str) -> str:
    """``path`` without doubled and trailing slashes."""
    return "/" + "/".join(part for part in path.split("/") if part)


def _add(found: "List[str]", text: str) -> None:
    if text and text not in found:
        found.append(text)


def _object(parent: "Mapping[str, Any]", key: str) -> "Json":
    """The object under ``key``, an empty one when it is absent or null."""
    value = parent.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise SpecError(f"{key!r} is no object")
    return value


def _objects(parent: "Mapping[str, Any]", key: str) -> "List[Json]":
    """The list of objects under ``key``, an empty one when it is absent or null."""
    value = parent.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise SpecError(f"{key!r} is no list of objects")
    return value
