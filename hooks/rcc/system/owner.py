"""Whose containers these are: the user on the host for whom this process works, his home and his folder of state.

A hook of a rootless Podman is uid 0 of the user's own user namespace and has no usable environment (Podman passes none
to precreate and poststop), so the user is found by the namespace's uid map, never by HOME or XDG_RUNTIME_DIR.

On the path of every unlabelled container: only posix.
"""

import posix

S_IFMT, S_IFDIR = 0o170000, 0o040000  # inode(7)
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


def state_root(uid: "int | None" = None, prefix: str = "/") -> str:
    """The folder of state: /run/rcc for root, /run/user/UID/rcc for a user, /tmp/rcc-UID where he has no /run/user."""
    uid = owner_uid() if uid is None else uid
    base = prefix.rstrip("/")
    if uid == 0:
        return f"{base}/run/rcc"
    try:
        runtime = posix.stat(f"{base}/run/user/{uid}")
    except OSError:
        return f"{base}/tmp/rcc-{uid}"
    is_own = runtime.st_uid == posix.getuid() and runtime.st_mode & S_IFMT == S_IFDIR
    return f"{base}/run/user/{uid}/rcc" if is_own else f"{base}/tmp/rcc-{uid}"


def own_namespaces() -> "list[int]":
    """The inodes of this process's user, network, mount and PID namespaces (namespaces(7)): what a path means here."""
    return [posix.stat(f"/proc/self/ns/{kind}").st_ino for kind in ("user", "net", "mnt", "pid")]


def home_of(uid: int) -> "str | None":
    """The home folder of ``uid`` by the password database, None for a user without one."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_dir or None
    except KeyError:
        return None
