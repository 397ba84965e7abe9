"""The files of the three layers, read with suspicion, and a signature by which a cache of them can be checked.

    vendor  PREFIX/usr/share/rcc      admin  PREFIX/etc/rcc      user  HOME/.config/rcc
    each with rcc.yaml, profiles/NAME.yaml, presets/NAME.yaml

On the start path of every labelled container (``signature_holds``): import next to nothing here.
"""

import os
import stat
import time
from typing import Iterator, List, NamedTuple, Optional, Tuple

from rcc.core.errors import RccError
from rcc.core.sources import PRESET, PROFILE, SETTINGS, Source, Sources

__all__ = ["Read", "Source", "layer_directories", "read_file", "read_sources", "signature_holds"]

SIZE_LIMIT = 256 * 1024  # bytes; what core/yaml_tree reads
FILES_LIMIT = 1000  # in one directory
FOLDERS = ((PROFILE, "profiles"), (PRESET, "presets"))
# A file changed so lately may change again within one tick of the clock that stamps it (jiffies before Linux 6.13).
FRESH = 2_000_000_000  # nanoseconds

# Path, inode, mtime, ctime (nanoseconds), size; zeros when absent.  ctime also tells changes of owner and mode, and
# cannot be set back.
Stamp = Tuple[str, int, int, int, int]
Signature = Tuple[Stamp, ...]
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class Read(NamedTuple):
    """Every file there is, and the signature of all that was looked at."""

    sources: Sources
    signature: Signature


class _Layer(NamedTuple):
    """Where a layer is, and the uid (as seen here) that must own what is in it."""

    name: str
    path: str
    owner: int


def layer_directories(prefix: str = "/", home: Optional[str] = None) -> Tuple[Tuple[str, str], ...]:
    """Name and path of each layer, weakest first; no user's layer without ``home``."""
    layers = [("vendor", os.path.join(prefix, "usr/share/rcc")), ("admin", os.path.join(prefix, "etc/rcc"))]
    if home:
        layers.append(("user", os.path.join(home, ".config/rcc")))
    return tuple(layers)


def read_sources(prefix: str = "/", home: Optional[str] = None) -> Read:
    """All files of all layers; ``home`` is the user's home folder, None for no user's layer.

    A file that is a link, not a regular file, writable by others or owned by the wrong user, or lies in such a folder,
    is given with its ``trouble`` instead of its text, so that only those who need it fail.  Vendor's and admin's files
    must belong to whoever owns PREFIX itself: root, whom a rootless user's namespace shows as the overflow uid, for
    ``/`` as for the files under it (user_namespaces(7)).  The user's must belong to the user of this process.

    Raises RccError when ``prefix`` cannot be looked at.
    """
    try:
        system_owner = os.stat(prefix).st_uid
    except OSError as error:
        raise RccError(f"cannot look at {prefix}: {error.strerror}", where=prefix) from error
    sources: List[Source] = []
    stamps: List[Stamp] = []
    for name, path in layer_directories(prefix, home):
        layer = _Layer(name, path, os.getuid() if name == "user" else system_owner)
        sources += _read_layer(layer, stamps)
    now = time.time_ns()
    settled = [stamp if now - max(stamp[2:4]) > FRESH else (*stamp[:2], -1, -1, stamp[4]) for stamp in stamps]
    return Read(tuple(sources), tuple(settled))


def signature_holds(signature: "Signature | List[List[object]]") -> bool:
    """Whether nothing that ``signature`` covers has changed since; lists, as JSON gives them, will do.

    False, too, when a file was so new at the time of reading that a later change may not show.
    """
    return bool(signature) and all(len(stamp) == 5 and _stamp(str(stamp[0])) == tuple(stamp) for stamp in signature)


def read_file(path: str) -> bytes:
    """The text of a file that the user names himself; links are followed.  Raises RccError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise RccError(f"cannot read: {error.strerror}", where=path) from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise RccError("not a regular file", where=path)
        return _read(descriptor)
    except OSError as error:
        raise RccError(f"cannot read: {error.strerror}", where=path) from error
    finally:
        os.close(descriptor)


def _stamp(path: str) -> Stamp:
    """What stands at ``path`` now.  What cannot be looked at counts as absent: nor could it be read."""
    try:
        found = os.lstat(path)
    except OSError:
        return (path, 0, 0, 0, 0)
    return (path, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size)


def _read_layer(layer: _Layer, stamps: List[Stamp]) -> Iterator[Source]:
    stamps.append(_stamp(layer.path))
    settings = os.path.join(layer.path, "rcc.yaml")
    # Stamped before it is read: a change in between makes the signature fail, never hold.
    stamps.append(_stamp(settings))
    trouble = _directory_trouble(layer, layer.path)
    if trouble is None:
        return
    found = _read_source(layer, SETTINGS, "", settings, trouble)
    if found is not None:
        yield found
    for kind, folder in FOLDERS:
        path = os.path.join(layer.path, folder)
        stamps.append(_stamp(path))
        inner = _directory_trouble(layer, path)
        if inner is None:
            continue
        names = _names(path)
        if names is None:
            # Whatever stands in there may forbid what the layers before allow: nobody starts until it can be read.
            yield _troubled(layer, SETTINGS, "", path, inner or f"the folder {path} cannot be listed")
            continue
        for file in names:
            full = os.path.join(path, file)
            stamps.append(_stamp(full))
            found = _read_source(layer, kind, file[: -len(".yaml")], full, trouble or inner)
            if found is not None:
                yield found


def _names(path: str) -> Optional[List[str]]:
    """The NAME.yaml of a folder, sorted, None when it cannot be listed; backup files and the like are no policies."""
    try:
        names = [name for name in os.listdir(path) if name.endswith(".yaml") and _is_name(name[: -len(".yaml")])]
    except OSError:
        return None
    return sorted(names) if len(names) <= FILES_LIMIT else None


def _is_name(name: str) -> bool:
    """[a-z0-9][a-z0-9._-]*, without importing re."""
    plain = "abcdefghijklmnopqrstuvwxyz0123456789"
    return bool(name) and name[0] in plain and all(character in plain + "._-" for character in name)


def _directory_trouble(layer: _Layer, path: str) -> Optional[str]:
    """Why nothing in ``path`` can be trusted; empty when it can; None when there is no such directory."""
    try:
        descriptor = os.open(path, _OPEN | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"the folder {path} cannot be read: {_reason(error)}"
    try:
        return _ownership_trouble(os.fstat(descriptor), layer.owner, layer.name == "user", f"the folder {path}")
    finally:
        os.close(descriptor)


def _read_source(layer: _Layer, kind: str, name: str, path: str, trouble: str) -> Optional[Source]:
    """One file; None when it is not there."""
    try:
        descriptor = os.open(path, _OPEN)
    except FileNotFoundError:
        return None
    except OSError as error:
        return _troubled(layer, kind, name, path, trouble or f"the file cannot be read: {_reason(error)}")
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            trouble = trouble or "not a regular file"
        trouble = trouble or _ownership_trouble(found, layer.owner, layer.name == "user", "the file")
        if trouble:
            return _troubled(layer, kind, name, path, trouble)
        return Source(layer.name, kind, name, path, _read(descriptor))
    except OSError as error:
        return _troubled(layer, kind, name, path, f"the file cannot be read: {_reason(error)}")
    finally:
        os.close(descriptor)


def _troubled(layer: _Layer, kind: str, name: str, path: str, trouble: str) -> Source:
    remedy = f"look at it: ls -ld {path} {os.path.dirname(path)}"
    return Source(layer.name, kind, name, path, b"", trouble, remedy)


def _reason(error: OSError) -> str:
    import errno

    return (
        "it is a link, or not what it should be" if error.errno in (errno.ELOOP, errno.ENOTDIR) else str(error.strerror)
    )


def _ownership_trouble(found: os.stat_result, owner: int, is_user: bool, what: str) -> str:
    if found.st_uid != owner:
        return f"{what} belongs to uid {found.st_uid}, not {owner}"
    # Many distributions give every user a group of his own and a umask of 002, so a group's right to write is no fault
    # in itself; for root's files it is.
    mask = stat.S_IWOTH if is_user else stat.S_IWOTH | stat.S_IWGRP
    if found.st_mode & mask:
        return f"{what} can be written to by others (mode {stat.S_IMODE(found.st_mode):04o})"
    return ""


def _read(descriptor: int) -> bytes:
    """Everything, but no more than one byte beyond the limit, which the reader then refuses."""
    parts: List[bytes] = []
    left = SIZE_LIMIT + 1
    while left > 0:
        part = os.read(descriptor, left)
        if not part:
            break
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
