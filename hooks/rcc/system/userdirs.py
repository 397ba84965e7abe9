"""Where rcc keeps what it knows while containers run, for root and for a rootless user alike.

A hook of a rootless Podman is uid 0 of the user's own user namespace and has no usable environment (Podman passes none
to precreate and poststop), so the user is found by the namespace's uid map, never by HOME or XDG_RUNTIME_DIR.
"""

import os
import stat

from rcc.core.errors import RccError
from rcc.system.owner import owner_uid


def state_root(uid: "int | None" = None, prefix: str = "/") -> str:
    """The folder of state: /run/rcc for root, /run/user/UID/rcc for a user, /tmp/rcc-UID where he has no /run/user."""
    uid = owner_uid() if uid is None else uid
    if uid == 0:
        return os.path.join(prefix, "run/rcc")
    runtime = os.path.join(prefix, f"run/user/{uid}")
    if os.path.isdir(runtime) and os.stat(runtime).st_uid == os.getuid():
        return os.path.join(runtime, "rcc")
    return os.path.join(prefix, f"tmp/rcc-{uid}")


def own_directory(path: str) -> str:
    """Make ``path`` (mode 0700) if need be and return it.

    Raises RccError when it is a link, somebody else's or open to others: /tmp is shared (threat 56).
    """
    try:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise RccError(f"cannot make the state folder: {error.strerror}", where=path) from error
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise RccError(
            "the state folder is not a private folder of this user",
            hint=f"look at it and remove it: ls -ld {path}",
            where=path,
        )
    return path
