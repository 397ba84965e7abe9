"""Is this container ours?  The only code that a container without the key ``rcc`` runs, so it imports next to nothing.

``select`` reads the spec that Podman gives to precreate and the container's row in Podman's database.  Whoever has the
key ``rcc``, whatever its value, is selected; what it asks for is decided afterwards (``app/ask.py``,
``core/request.py``).
"""

import posix

from rcc.core.errors import SpecError, StoreError
from rcc.core.oci import annotations, container_ref
from rcc.system.fast_json import loads
from rcc.system.podman_db import find, id_by_layer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Optional, Tuple

    from rcc.core.oci import ContainerRef
    from rcc.system.podman_db import Found

    Json = Dict[str, Any]

KEY = "rcc"
# The layers that may say `isolate: always` for containers that do not ask (system/configfiles.py).
SETTINGS = ("usr/share/rcc/rcc.yaml", "etc/rcc/rcc.yaml")
USER_SETTINGS = ".config/rcc/rcc.yaml"
SETTINGS_LIMIT = 256 * 1024  # bytes; configfiles refuses more


class Selection:
    """A container that must be looked at, with all that was read of it.

    container: its id.  name: as the user knows it.  spec: the OCI spec.  found: the database's word on it and on those
    whose network it joins.  roots: graph root first, then other places where its images may be.
    """

    __slots__ = ("container", "found", "name", "roots", "spec")

    def __init__(self, spec: "Json", found: "Found", roots: "Tuple[str, ...]") -> None:
        self.container = found.container.id
        self.name = str(found.container.config.get("name") or "")
        self.spec = spec
        self.found = found
        self.roots = roots

    @property
    def config(self) -> "Json":
        """Podman's ContainerConfig."""
        return self.found.container.config

    @property
    def annotation(self) -> "Optional[str]":
        """The value of the annotation ``rcc``."""
        return annotations(self.spec).get(KEY)


def select(data: bytes, cwd: str, *, prefix: str = "/", home: "Optional[str]" = None) -> "Optional[Selection]":
    """The container whose spec is ``data``, None when it is none of ours: nobody asks, or it is not Podman's (a build).

    ``cwd`` is the hook's working directory.  ``prefix`` and ``home`` are where settings are looked for; without
    ``home`` it is the user's own.  Raises SpecError for what is no spec, StoreError for a container whose labels cannot
    be read.
    """
    spec = parse_spec(data)
    ref = container_ref(spec, cwd)
    found, roots = _look_up(ref)
    if found is None:
        if not ref.libpod:
            return None  # `podman build` has neither annotations nor a row in the database
        raise StoreError(
            f"no database of Podman's has the container {ref.ids[0][:12] if ref.ids else ''}".rstrip(),
            hint="rcc looks under the graph root (podman info --format '{{.Store.GraphRoot}}'), the run root, and "
            "where static_dir in containers.conf says",
            where=", ".join(roots),
        )
    if asks(spec, found) or _settings_ask(prefix, home):
        return Selection(spec, found, roots)
    return None


def parse_spec(data: bytes) -> "Json":
    """The OCI spec of a container, from the hook's input or from config.json.  Raises SpecError."""
    try:
        spec = loads(data)
    except ValueError as error:
        raise SpecError(f"the container's spec is no JSON: {error}") from error
    if not isinstance(spec, dict):
        raise SpecError("the container's spec is no JSON object")
    return spec


def asks(spec: "Json", found: "Found") -> bool:
    """Whether the key is anywhere: on the container, its pod, or those whose network it joins."""
    if KEY in annotations(spec):
        return True
    if KEY in found.container.labels or KEY in found.container.pod_labels:
        return True
    return any(KEY in owner.labels or KEY in owner.annotations or KEY in owner.pod_labels for owner in found.owners)


def _look_up(ref: "ContainerRef") -> "Tuple[Optional[Found], Tuple[str, ...]]":
    """The container in the databases, and the folders where it was looked for."""
    roots = ref.roots
    found = find(ref.ids, roots, ref.created) if ref.ids else None
    if found is None and ref.libpod:
        # A spec without a layer and with --ipc=host does not show the graph root before Podman 4.6.
        roots = (*roots, *(root for root in _default_roots() if root not in roots))
        if ref.ids:
            found = find(ref.ids, roots[len(ref.roots) :], ref.created)
        if found is None and ref.layer:
            # Every mount that would name the container was taken by an image's VOLUME or a user's mount.
            identity = id_by_layer(ref.layer, roots)
            found = find((identity,), roots) if identity else None
    return found, roots


def _default_roots() -> "Tuple[str, ...]":
    """Where Podman keeps everything unless storage.conf says otherwise (containers-storage.conf(5)), or static_dir."""
    from rcc.system.engine_conf import static_dirs
    from rcc.system.owner import home_of, owner_uid

    uid = owner_uid()
    home = home_of(uid)
    if uid == 0:
        return ("/var/lib/containers/storage", "/run/containers/storage", *static_dirs(home=home))
    return (f"{home}/.local/share/containers/storage", *static_dirs(home=home)) if home else static_dirs()


def _settings_ask(prefix: str, home: "Optional[str]") -> bool:
    """Whether a settings file may ask for isolation of everybody: a cheap look that lets in too many, never too few."""
    if home is None:
        from rcc.system.owner import home_of, owner_uid

        home = home_of(owner_uid())
    paths = [f"{prefix.rstrip('/')}/{name}" for name in SETTINGS]
    if home:
        paths.append(f"{home}/{USER_SETTINGS}")
    return any(_mentions_isolate(path) for path in paths)


def _mentions_isolate(path: str) -> bool:
    try:
        descriptor = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
    except FileNotFoundError:
        return False
    except OSError:
        # Nothing that this user could have put there, or a folder that is no folder: whoever reads it in earnest says
        # why.
        return True
    try:
        data = posix.read(descriptor, SETTINGS_LIMIT + 1)
    except OSError:
        return True
    finally:
        posix.close(descriptor)
    # A key may be quoted or escaped in YAML ("\x69solate"), but every escape needs a backslash.
    return b"isolate" in data or b"\\" in data or len(data) > SETTINGS_LIMIT
