"""static_dir in containers.conf, wherever it stands, and a database in such a folder."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from podman_store import lay_out
from rcc.system.engine_conf import static_dirs
from rcc.system.podman_db import find


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_every_file_counts(tmp_path: Path) -> None:
    write(tmp_path, "usr/share/containers/containers.conf", '[engine]\n#static_dir = "/commented"\n')
    write(tmp_path, "etc/containers/containers.conf", '[engine]\nstatic_dir = "/a" # here\n')
    write(tmp_path, "etc/containers/containers.conf.d/9.conf", "static_dir='/b'\n")
    write(tmp_path, "etc/containers/containers.conf.d/9.bak", 'static_dir="/no"\n')
    write(
        tmp_path,
        "home/.config/containers/containers.conf",
        'static_dir="relative"\nstatic_dir = "/c"\nx_static_dir="/d"\n',
    )
    assert static_dirs(str(tmp_path), str(tmp_path / "home")) == ("/a", "/b", "/c")
    assert static_dirs(str(tmp_path / "nothing")) == ()


@pytest.mark.parametrize(("version", "name"), [("4.3.1", "libpod/bolt_state.db"), ("5.4.2", "db.sql")])
def test_a_database_in_such_a_folder(tmp_path: Any, version: str, name: str) -> None:
    lay_out(str(tmp_path / "store"), version)
    static = tmp_path / "static"
    static.mkdir()
    database = next(Path(tmp_path).rglob(os.path.basename(name)))
    shutil.copy(database, static / os.path.basename(name))
    assert find(("0" * 64,), (str(static),)) is None
