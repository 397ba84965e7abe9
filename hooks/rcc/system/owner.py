"""Whose containers these are: the user on the host for whom this process works, and his home folder.

A hook of a rootless Podman is uid 0 of the user's own user namespace and has no usable environment (Podman passes none
to precreate and poststop), so the user is found by the namespace's uid map, never by HOME or XDG_RUNTIME_DIR.

On the path of every unlabelled container: only posix.
"""

import posix

FULL_MAP = 4294967295  # length of the identity map of the initial user namespace (user_namespaces(7))


def owner_uid(uid_map: "str | None" = None) -> int:
    """The uid, as the host sees it, of the user whom this process works for.

    ``uid_map`` is the text of /proc/self/uid_map (user_namespaces(7)); read from there when None.
    """
    if uid_map is None:
        descriptor = posix.open("/proc/self/uid_map", posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            uid_map = posix.read(descriptor, 1 << 16).decode("utf-8")
        finally:
            posix.close(descriptor)
    uid = posix.getuid()
    for line in uid_map.splitlines():
        inside, outside, length = (int(word) for word in line.split())
        if inside <= uid < inside + length:
            return uid if length == FULL_MAP else outside + uid - inside
    return uid


def home_of(uid: int) -> "str | None":
    """The home folder of ``uid`` by the password database, None for a user without one."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_dir or None
    except KeyError:
        return None
