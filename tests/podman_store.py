"""Recorded stores, specs and states of real Podman, laid out under a folder of the test's own (tests/fixtures)."""

import json
import lzma
import os
import shutil
from typing import Any, Dict, Tuple

FIXTURES = os.path.join(os.path.dirname(__file__), "fixtures")
RECORDED_AT = "/var/tmp/rccfix/st"
DATABASES = {
    "4.3.1": ("4.3.1-bolt_state.db.xz", "libpod/bolt_state.db"),
    "4.3.1-annotated": ("4.3.1-annotated-bolt_state.db.xz", "libpod/bolt_state.db"),
    "5.4.2": ("5.4.2-db.sql.xz", "db.sql"),
}


def unpack(version: str) -> bytes:
    """The bytes of a recorded database."""
    with lzma.open(os.path.join(FIXTURES, "podman", DATABASES[version][0])) as stream:
        return stream.read()


def lay_out(folder: str, version: str) -> str:
    """A graph root with the database of ``version`` and its images, in ``folder``; its path."""
    graph = os.path.join(folder, "graph")
    path = os.path.join(graph, DATABASES[version][1])
    os.makedirs(os.path.dirname(path))
    with open(path, "wb") as stream:
        stream.write(unpack(version))
    images = "annotated-images" if version.endswith("annotated") else "images"
    shutil.copytree(os.path.join(FIXTURES, "podman", images), graph, dirs_exist_ok=True)
    if version.endswith("annotated"):
        os.mkdir(os.path.join(graph, "overlay-containers"))
        shutil.copy(os.path.join(FIXTURES, "podman", "containers.json"), os.path.join(graph, "overlay-containers"))
    return graph


def recorded(name: str, folder: str = RECORDED_AT) -> Tuple[bytes, str]:
    """A recorded spec (``VERSION-CASE``) with its paths moved to ``folder``, and the hook's working directory."""
    with open(os.path.join(FIXTURES, "specs", f"{name}.spec.json"), "rb") as stream:
        data = stream.read()
    with open(os.path.join(FIXTURES, "specs", "cwd.json"), encoding="utf-8") as text:
        cwd = json.load(text).get(f"{name}.spec.json", "/")
    return data.replace(RECORDED_AT.encode(), folder.encode()), cwd.replace(RECORDED_AT, folder)


def recorded_state(name: str, stage: str) -> Dict[str, Any]:
    """A recorded state of the same case."""
    with open(os.path.join(FIXTURES, "specs", f"{name}.{stage}.json"), encoding="utf-8") as stream:
        state: Dict[str, Any] = json.load(stream)
    return state


def names(prefix: str = "") -> Tuple[str, ...]:
    """The recorded specs."""
    files = sorted(os.listdir(os.path.join(FIXTURES, "specs")))
    return tuple(f[: -len(".spec.json")] for f in files if f.endswith(".spec.json") and f.startswith(prefix))
