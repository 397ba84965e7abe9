"""A folder that is this user's alone."""

import os
import stat

from rcc.core.errors import RccError


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
