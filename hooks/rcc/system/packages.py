"""Where distributions keep Python packages: rcc's executables run with -S, which knows none of those places."""

import os
import sys


def add_distribution_packages(path: "list[str]") -> None:
    """Append the folders of distribution packages that exist (Debian's, then Fedora's and others') to ``path``.

    Never /usr/local or the user's own: what is imported as root comes from the distribution.
    """
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for folder in (
        "/usr/lib/python3/dist-packages",
        f"/usr/lib/{version}/site-packages",
        f"/usr/lib64/{version}/site-packages",
    ):
        if folder not in path and os.path.isdir(folder):
            path.append(folder)
