"""The three layers on disk: what is read, what is distrusted, and when a signature still holds."""

import json
import os
import stat
from typing import Callable, Dict

import pytest
from rcc.core.errors import ConfigError, RccError
from rcc.core.layers import resolve_profile
from rcc.core.sources import PRESET, PROFILE, SETTINGS, Source
from rcc.system import configfiles
from rcc.system.configfiles import SIZE_LIMIT, read_file, read_sources, signature_holds

FILES = {
    "usr/share/rcc/profiles/default.yaml": "version: 1\n",
    "usr/share/rcc/presets/code.yaml": "version: 1\n",
    "etc/rcc/rcc.yaml": "version: 1\n",
    "etc/rcc/profiles/default.yaml": "version: 1\negress: []\n",
    "home/me/.config/rcc/profiles/mine.yaml": "version: 1\n",
}


@pytest.fixture
def root(tmp_path: "os.PathLike[str]") -> str:
    """A machine with something in every layer, nothing of it new."""
    base = os.path.join(tmp_path, "root")
    os.mkdir(base, 0o755)
    for path, text in FILES.items():
        write(os.path.join(base, path), text)
    return base


def write(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(text)
    os.chmod(path, 0o644)


def allow(path: str, mode: int) -> None:
    os.chmod(path, mode)


def home(root: str) -> str:
    return os.path.join(root, "home/me")


def read(root: str) -> Dict[str, Source]:
    found = read_sources(root, home(root)).sources
    return {f"{source.layer}/{source.kind}/{source.name}": source for source in found}


def test_every_layer_is_read(root: str) -> None:
    found = read(root)
    assert sorted(found) == [
        "admin/profile/default",
        "admin/settings/",
        "user/profile/mine",
        "vendor/preset/code",
        "vendor/profile/default",
    ]
    assert found["admin/profile/default"] == Source(
        "admin", PROFILE, "default", os.path.join(root, "etc/rcc/profiles/default.yaml"), b"version: 1\negress: []\n"
    )
    assert found["vendor/preset/code"].kind == PRESET and found["admin/settings/"].kind == SETTINGS


def test_layers_may_be_absent(tmp_path: "os.PathLike[str]") -> None:
    assert read_sources(os.fspath(tmp_path)).sources == ()


def test_a_root_that_is_not_there_is_an_error(tmp_path: "os.PathLike[str]") -> None:
    with pytest.raises(RccError, match="cannot look at"):
        read_sources(os.path.join(tmp_path, "nowhere"))


def test_without_a_home_there_is_no_users_layer(root: str) -> None:
    assert {source.layer for source in read_sources(root).sources} == {"vendor", "admin"}


@pytest.mark.parametrize(
    "name",
    [
        ".hidden.yaml",
        "Default.yaml",
        "default.yaml~",
        "default.yml",
        "a b.yaml",
        "-x.yaml",
        ".yaml",
        "README",
        "é.yaml",
    ],
)
def test_other_names_are_no_profiles(root: str, name: str) -> None:
    write(os.path.join(root, "etc/rcc/profiles", name), "version: 1\n")
    assert "admin/profile/default" in read(root) and len(read(root)) == len(FILES)


def link(path: str) -> None:
    os.rename(path, path + ".moved")
    os.symlink(path + ".moved", path)


def fifo(path: str) -> None:
    os.unlink(path)
    os.mkfifo(path)


def folder(path: str) -> None:
    os.unlink(path)
    os.mkdir(path)


def loop(path: str) -> None:
    os.unlink(path)
    os.symlink(path, path)


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (link, "a link"),
        (loop, "a link"),
        (fifo, "not a regular file"),
        (folder, "not a regular file"),
        (lambda path: allow(path, 0o666), "written to by others"),
        (lambda path: allow(path, 0o664), "written to by others"),
        (lambda path: allow(os.path.dirname(path), 0o777), "written to by others"),
        (lambda path: allow(os.path.dirname(os.path.dirname(path)), 0o757), "written to by others"),
        (lambda path: link(os.path.dirname(path)), "a link"),
    ],
)
def test_an_admins_file_that_cannot_be_trusted_is_not_passed_over(
    root: str, spoil: Callable[[str], None], word: str
) -> None:
    spoil(os.path.join(root, "etc/rcc/profiles/default.yaml"))
    found = read(root)["admin/profile/default"]
    assert word in found.trouble and found.text == b""
    # The vendor's file of the same name would do, and must not.
    with pytest.raises(ConfigError, match=word):
        resolve_profile("default", read_sources(root, home(root)).sources)


def test_a_user_may_share_a_group_with_himself(root: str) -> None:
    allow(os.path.join(home(root), ".config/rcc/profiles/mine.yaml"), 0o664)
    assert read(root)["user/profile/mine"].trouble == ""
    allow(os.path.join(home(root), ".config/rcc/profiles/mine.yaml"), 0o666)
    assert "written to by others" in read(root)["user/profile/mine"].trouble


@pytest.mark.skipif(os.getuid() != 0, reason="changing owners needs root")
@pytest.mark.parametrize(
    "path", ["etc/rcc/profiles/default.yaml", "etc/rcc/profiles", "etc/rcc", "usr/share/rcc/profiles/default.yaml"]
)
def test_what_is_somebody_elses_is_not_trusted(root: str, path: str) -> None:
    os.chown(os.path.join(root, path), 4242, 4242)
    layer = "vendor" if path.startswith("usr") else "admin"
    assert "belongs to uid 4242" in read(root)[f"{layer}/profile/default"].trouble


@pytest.mark.skipif(os.getuid() != 0, reason="changing owners needs root")
def test_the_owner_of_the_root_owns_the_machine(root: str) -> None:
    # As a rootless user's namespace shows it: / and all of root's files belong to the overflow uid.
    for base, folders, files in os.walk(root):
        if not base.startswith(os.path.join(root, "home")):
            for name in (".", *folders, *files):
                if name != "home":
                    os.chown(os.path.join(base, name), 65534, 65534)
    assert all(source.trouble == "" for source in read(root).values())
    os.chown(os.path.join(root, "etc/rcc/rcc.yaml"), 0, 0)  # in that namespace: the user himself
    assert "belongs to uid 0, not 65534" in read(root)["admin/settings/"].trouble


def test_a_folder_that_cannot_be_listed_stops_everybody(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> "list[str]":
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(ConfigError, match="cannot be listed"):
        resolve_profile("mine", read_sources(root, home(root)).sources)


def test_no_more_is_read_than_the_reader_takes(root: str) -> None:
    write(os.path.join(root, "etc/rcc/profiles/default.yaml"), "#" * (2 * SIZE_LIMIT))
    assert len(read(root)["admin/profile/default"].text) == SIZE_LIMIT + 1
    with pytest.raises(ConfigError, match="larger than 256 KiB"):
        resolve_profile("default", read_sources(root, home(root)).sources)


def settled(root: str, monkeypatch: pytest.MonkeyPatch) -> configfiles.Signature:
    """A signature as it is when nothing has been touched for a while."""
    monkeypatch.setattr(configfiles, "FRESH", -1)
    return read_sources(root, home(root)).signature


def test_a_signature_holds_until_something_changes(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    signature = settled(root, monkeypatch)
    assert signature_holds(signature)
    assert signature_holds(json.loads(json.dumps(signature)))


def test_a_signature_of_files_just_written_does_not_hold(root: str) -> None:
    assert not signature_holds(read_sources(root, home(root)).signature)


@pytest.mark.parametrize("signature", [(), [], [[]], [["/"]], [["/", 1, 2, 3, 4]]])
def test_what_is_no_signature_does_not_hold(signature: "configfiles.Signature") -> None:
    assert not signature_holds(signature)


def replace(path: str) -> None:
    write(path + ".new", "version: 1\negress: []\n")  # same length
    os.rename(path + ".new", path)


def rewrite_in_place(path: str) -> None:
    found = os.stat(path)
    write(path, "version: 1\negress: ''\n")
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))  # the time of change cannot be set back


@pytest.mark.parametrize(
    "change",
    [
        os.unlink,
        replace,
        rewrite_in_place,
        lambda path: allow(path, 0o666),
        lambda path: write(os.path.join(os.path.dirname(path), "new.yaml"), "version: 1\n"),
        lambda path: write(os.path.join(os.path.dirname(path), "../presets/new.yaml"), "version: 1\n"),
        lambda path: os.rename(os.path.dirname(path), os.path.dirname(path) + ".gone"),
        lambda path: os.rename(os.path.dirname(os.path.dirname(path)), "/".join(path.split("/")[:-2]) + ".gone"),
    ],
)
@pytest.mark.parametrize("path", ["etc/rcc/profiles/default.yaml", "usr/share/rcc/profiles/default.yaml"])
def test_a_signature_ends_with_any_change(
    root: str, path: str, change: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    signature = settled(root, monkeypatch)
    change(os.path.join(root, path))
    assert not signature_holds(signature)


def test_a_layer_that_appears_ends_a_signature(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    os.rename(os.path.join(root, "etc/rcc"), os.path.join(root, "etc/away"))
    signature = settled(root, monkeypatch)
    assert signature_holds(signature)
    os.rename(os.path.join(root, "etc/away"), os.path.join(root, "etc/rcc"))
    assert not signature_holds(signature)


def test_a_named_file_is_read_or_refused(root: str) -> None:
    path = os.path.join(root, "etc/rcc/rcc.yaml")
    assert read_file(path) == b"version: 1\n"
    link(path)
    assert read_file(path) == b"version: 1\n"  # whoever names a file may mean a link
    for wrong in (os.path.join(root, "nowhere"), root):
        with pytest.raises(RccError):
            read_file(wrong)
    fifo(path)
    assert stat.S_ISFIFO(os.stat(path).st_mode)
    with pytest.raises(RccError, match="not a regular file"):
        read_file(path)
