"""What Podman's own database knows of a container, read without calling Podman.

Podman keeps each container's configuration as JSON (libpod/container_config.go, the same keys in 4.3.1 and 5.4.2:
``labels``, ``pod``, ``netNsCtr``, ``createNetNS``, ``networkMode``, ``network_options``, ``newPortMappings``,
``rootfsImageID``, ``RawImageName``, ``CreateCommand``, ``createdTime``, ``privileged``, ...) and each pod's
(libpod/pod.go: ``labels``, ...):

    SQLite   <graphroot>/db.sql, with a transient store <runroot>/db.sql, with a ``static_dir`` <static_dir>/db.sql
             (libpod/sqlite_state.go NewSqliteState): tables ContainerConfig and PodConfig, columns ID and JSON
    BoltDB   <graphroot>/libpod/bolt_state.db, with a ``static_dir`` <static_dir>/bolt_state.db
             (libpod/boltdb_state_internal.go): buckets ctr/ID and pod/ID, key config

While hooks run Podman holds the container's lock, and no transaction: `podman inspect` would wait for ever, the file
can be read.  On the path of every unlabelled container: only C modules.
"""

import posix
import sys

from rcc.core.errors import StoreError
from rcc.system.fast_json import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, List, Optional, Protocol, Tuple

    Json = Dict[str, Any]

    class Database(Protocol):
        """An open database of either kind.  All methods raise StoreError."""

        path: str

        def read(self, kind: str, identity: str) -> "Optional[bytes]":
            """The JSON of a container or pod, None when it is not there."""

        def close(self) -> None:
            """Let others write again."""


CONTAINER, POD = "container", "pod"
WAIT = 10.0  # seconds for a lock; others hold it for milliseconds
CHAIN_LIMIT = 8  # containers that join the network of one that joins another's
SQLITE_FILES = ("db.sql", "libpod/db.sql")
BOLT_FILES = ("libpod/bolt_state.db", "bolt_state.db")
SQLITE_TABLES = {CONTAINER: "ContainerConfig", POD: "PodConfig"}
BOLT_BUCKETS = {CONTAINER: b"ctr", POD: b"pod"}


class Stored:
    """A container as the database has it: its ContainerConfig, and the PodConfig of its pod (None without a pod)."""

    __slots__ = ("config", "id", "pod")

    def __init__(self, identity: str, config: "Json", pod: "Optional[Json]") -> None:
        self.id = identity
        self.config = config
        self.pod = pod

    @property
    def labels(self) -> "Json":
        """The container's labels, those of its image among them."""
        return _texts(self.config, "labels")

    @property
    def pod_labels(self) -> "Json":
        """The labels of its pod."""
        return _texts(self.pod or {}, "labels")

    @property
    def annotations(self) -> "Json":
        """The annotations that it was made with."""
        return _texts(self.config.get("spec") or {}, "annotations")


class Found:
    """A container, and those whose network it joins: the one that it names first, the namespace's owner last."""

    __slots__ = ("container", "database", "owners")

    def __init__(self, container: Stored, owners: "Tuple[Stored, ...]", database: str) -> None:
        self.container = container
        self.owners = owners
        self.database = database


def find(ids: "Tuple[str, ...]", roots: "Tuple[str, ...]", created: str = "") -> "Optional[Found]":
    """The first of ``ids`` that a database under ``roots`` has, made at ``created`` (where that is known).

    None when no database has it.  Raises StoreError for databases that cannot be read, and for a container whose pod or
    network's owner is missing from its database.
    """
    for root in roots:
        for database in _databases(root):
            try:
                for identity in ids:
                    data = database.read(CONTAINER, identity)
                    if data is None:
                        continue
                    config = _object(data, identity, database)
                    if not created or config.get("createdTime") == created:
                        return Found(_with_pod(identity, config, database), _owners(config, database), database.path)
            finally:
                database.close()
    return None


def id_by_layer(layer: str, roots: "Tuple[str, ...]") -> str:
    """The id of the container whose top layer is ``layer``, empty when no store has it.  Raises StoreError.

    Podman lists containers and their layers in <graphroot>/<driver>-containers/containers.json, those of `podman run
    --rm` in volatile-containers.json there or under the run root (containers/storage containers.go).
    """
    for root in roots:
        for folder in _listed(root):
            if not folder.endswith("-containers"):
                continue
            for name in ("volatile-containers.json", "containers.json"):
                identity = _id_in(f"{root}/{folder}/{name}", layer)
                if identity:
                    return identity
    return ""


def _databases(root: str) -> "Iterator[Database]":
    for name in SQLITE_FILES:
        if _exists(f"{root}/{name}"):
            yield _Sqlite(f"{root}/{name}")
    for name in BOLT_FILES:
        try:
            bolt = _Bolt(f"{root}/{name}")
        except FileNotFoundError:
            continue
        yield bolt


def _owners(config: "Json", database: "Database") -> "Tuple[Stored, ...]":
    found: "List[Stored]" = []
    identity = config.get("netNsCtr")
    while identity:
        if len(found) >= CHAIN_LIMIT or not isinstance(identity, str):
            raise StoreError("the container joins networks of containers without end", where=database.path)
        data = database.read(CONTAINER, identity)
        if data is None:
            raise StoreError(
                f"the container joins the network of container {identity[:12]}, which Podman's database does not have",
                where=database.path,
            )
        found.append(_with_pod(identity, _object(data, identity, database), database))
        identity = found[-1].config.get("netNsCtr")
    return tuple(found)


def _with_pod(identity: str, config: "Json", database: "Database") -> Stored:
    pod = config.get("pod")
    if not pod:
        return Stored(identity, config, None)
    data = database.read(POD, str(pod))
    if data is None:
        raise StoreError(f"Podman's database does not have the container's pod {str(pod)[:12]}", where=database.path)
    return Stored(identity, config, _object(data, str(pod), database))


def _object(data: bytes, identity: str, database: "Database") -> "Json":
    try:
        value = loads(data)
    except ValueError as error:
        raise _damaged(database.path, f"{identity[:12]}: {error}") from error
    if not isinstance(value, dict) or value.get("id") != identity:
        raise _damaged(database.path, f"what it has of {identity[:12]} is of something else")
    return value


def _texts(holder: "Json", key: str) -> "Json":
    """A map of text to text under ``key``; null, as Go writes an empty one, counts as empty."""
    found = holder.get(key) or {}
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise StoreError(f"Podman's database has {key} that are no map of text")
    return found


class _Sqlite:
    """Read-only through libsqlite3: it takes the locks, and refuses a file that a crash has left half written."""

    def __init__(self, path: str) -> None:
        self.path = path
        sqlite = _sqlite_module()
        self._error = sqlite.Error
        try:
            self._connection = sqlite.connect(_uri(path), timeout=WAIT, uri=True, isolation_level=None)
        except sqlite.Error as error:
            raise self._failed(error) from error

    def read(self, kind: str, identity: str) -> "Optional[bytes]":
        try:
            cursor = self._connection.execute(f"SELECT JSON FROM {SQLITE_TABLES[kind]} WHERE ID = ?", (identity,))  # noqa: S608
            row = cursor.fetchone()
            cursor.close()
        except self._error as error:
            if "no such table" in str(error):
                return None  # an empty file, as an aborted migration leaves it: BoltDB is looked into next
            raise self._failed(error) from error
        if row is None:
            return None
        # Podman's driver stores Go's []byte as a blob (seen with 5.4.2), whatever the column's type.
        return row[0] if isinstance(row[0], bytes) else str(row[0]).encode("utf-8", "replace")

    def close(self) -> None:
        self._connection.close()

    def _failed(self, error: Exception) -> StoreError:
        if "locked" in str(error):
            return StoreError(
                f"another process has kept Podman's database locked for {WAIT:g} s",
                hint=f"see who holds it: fuser -v {self.path}",
                where=self.path,
            )
        return StoreError(f"Podman's database cannot be read: {error}", hint=_LOOK, where=self.path)


class _Bolt:
    def __init__(self, path: str) -> None:
        from rcc.system.boltdb import BoltDb

        self.path = path
        self._file = BoltDb(path, WAIT)

    def read(self, kind: str, identity: str) -> "Optional[bytes]":
        return self._file.get((BOLT_BUCKETS[kind], identity.encode("ascii", "replace")), b"config")

    def close(self) -> None:
        self._file.close()


def _sqlite_module() -> "Any":
    """The C module ``_sqlite3`` without functools.

    From Python 3.11 on it imports functools, and with it collections, for the cache of statements
    (Modules/_sqlite/module.c, load_functools_lru_cache), which costs a container start 3 ms; a cache that keeps nothing
    serves our two statements.
    """
    borrowed = "functools" not in sys.modules
    if borrowed:
        stand_in: "Any" = type(sys)("functools")
        stand_in.lru_cache = lambda size: lambda function: function
        sys.modules["functools"] = stand_in
    try:
        import _sqlite3
    except ImportError as error:
        raise StoreError(
            "this Python cannot read Podman's database: it has no sqlite3",
            hint="install it: libsqlite3-0 on Debian, python3-libs on Fedora",
        ) from error
    finally:
        if borrowed:
            del sys.modules["functools"]
    return _sqlite3


def _uri(path: str) -> str:
    """A read-only URI of a file (sqlite.org/uri.html): bytes that mean something there are escaped."""
    plain = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._-"
    data = path.encode(sys.getfilesystemencoding(), "surrogateescape")
    escaped = "".join(chr(byte) if byte in plain else f"%{byte:02X}" for byte in data)
    return f"file:{escaped}?mode=ro"


def _exists(path: str) -> bool:
    try:
        posix.stat(path)
    except OSError:
        return False
    return True


def _listed(root: str) -> "List[str]":
    try:
        return sorted(posix.listdir(root))
    except OSError:
        return []


def _id_in(path: str, layer: str) -> str:
    try:
        with open(path, "rb") as stream:
            entries = loads(stream.read())
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        raise StoreError(f"the list of containers cannot be read: {error}", hint=_LOOK, where=path) from error
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and entry.get("layer") == layer:
            return str(entry.get("id") or "")
    return ""


def _damaged(path: str, detail: str) -> StoreError:
    return StoreError(f"Podman's database is damaged: {detail}", hint=_LOOK, where=path)


_LOOK = "see what Podman itself says of it: podman ps -a"
