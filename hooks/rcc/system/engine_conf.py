"""Where containers.conf(5) puts Podman's database when it is not under the graph root: ``static_dir``.

Read only for a container that is found nowhere else.  On the path of unlabelled containers: only posix.
"""

import posix

FILES = ("usr/share/containers/containers.conf", "etc/containers/containers.conf")
FOLDERS = ("etc/containers/containers.conf.d",)
USER_FILE, USER_FOLDER = ".config/containers/containers.conf", ".config/containers/containers.conf.d"
SIZE_LIMIT = 1 << 20  # bytes


def static_dirs(prefix: str = "/", home: "str | None" = None) -> "tuple[str, ...]":
    """Every absolute ``static_dir`` that a containers.conf of the system or of the user (``home``) names, in any order.

    One that another file overrides does no harm: it is one more place to look for a container by its id.
    """
    base = prefix.rstrip("/")
    paths = [f"{base}/{name}" for name in FILES]
    for folder in FOLDERS:
        paths += _in_folder(f"{base}/{folder}")
    if home:
        paths += [f"{home}/{USER_FILE}", *_in_folder(f"{home}/{USER_FOLDER}")]
    found: "list[str]" = []
    for path in paths:
        for line in _text(path).splitlines():
            key, equals, value = line.partition("=")
            folder = value.partition("#")[0].strip().strip("\"'")
            if equals and key.strip() == "static_dir" and folder.startswith("/") and folder not in found:
                found.append(folder)
    return tuple(found)


def _in_folder(path: str) -> "list[str]":
    try:
        return [f"{path}/{name}" for name in sorted(posix.listdir(path)) if name.endswith(".conf")]
    except OSError:
        return []


def _text(path: str) -> str:
    try:
        descriptor = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
    except OSError:
        return ""
    try:
        return posix.read(descriptor, SIZE_LIMIT).decode("utf-8", "replace")
    except OSError:
        return ""
    finally:
        posix.close(descriptor)
