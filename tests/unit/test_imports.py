"""What a container that does not ask may make Python import: every millisecond here is paid by all containers."""

import os
import subprocess
import sys
from typing import Any, Set

import pytest
from podman_store import lay_out, recorded

HOOKS = os.path.join(os.path.dirname(__file__), "..", "..", "hooks")
OURS = {
    "rcc",
    "rcc.app",
    "rcc.app.select",
    "rcc.core",
    "rcc.core.errors",
    "rcc.core.oci",
    "rcc.hook",
    "rcc.system",
    "rcc.system.fast_json",
    "rcc.system.podman_db",
    "rcc.system.owner",
}
BOLT = {"rcc.system.boltdb", "fcntl", "time"}
SQLITE = {"_sqlite3"}
# All in C: `os` alone would cost 2 ms (posixpath, genericpath, stat and _collections_abc come with it).
STDLIB = {"_json", "pwd", "errno"}

SCRIPT = """
import sys
before = set(sys.modules)
sys.path.insert(0, sys.argv[1])
import rcc.hook
from rcc.app.select import select
data = sys.stdin.buffer.read()
selection = select(data, sys.argv[2])
print(selection is not None, *sorted(set(sys.modules) - before))
"""


def run(python: str, name: str, folder: str) -> "tuple[bool, Set[str]]":
    data, cwd = recorded(name, folder)
    done = subprocess.run([python, "-IS", "-c", SCRIPT, HOOKS, cwd], input=data, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    words = done.stdout.decode().split()
    return words[0] == "True", set(words[1:])


@pytest.fixture(params=["/usr/bin/python3", sys.executable])
def python(request: Any) -> str:
    return str(request.param)


@pytest.mark.parametrize(("version", "more"), [("4.3.1", BOLT), ("5.4.2", SQLITE)])
def test_the_unlabelled_path(tmp_path: Any, python: str, version: str, more: Set[str]) -> None:
    lay_out(str(tmp_path), version)
    selected, imported = run(python, f"{version}-host", str(tmp_path))
    assert not selected
    assert imported <= OURS | STDLIB | more, imported - OURS - STDLIB - more


@pytest.mark.parametrize("version", ["4.3.1", "5.4.2"])
def test_finding_the_label_imports_no_more(tmp_path: Any, python: str, version: str) -> None:
    """What a labelled container needs is imported by admit, after select."""
    lay_out(str(tmp_path), version)
    selected, imported = run(python, f"{version}-none", str(tmp_path))
    assert selected
    assert imported <= OURS | STDLIB | BOLT | SQLITE, imported - OURS - STDLIB - BOLT - SQLITE


def test_a_build_does_not_open_any_database(tmp_path: Any, python: str) -> None:
    selected, imported = run(python, "4.3.1-build", str(tmp_path))
    assert not selected
    assert imported <= OURS | STDLIB, imported - OURS - STDLIB


def test_the_settings_of_this_machine_are_no_part_of_it() -> None:
    """The tests above would say "selected" on a machine whose rcc.yaml isolates everybody: then they prove less."""
    for path in ("/etc/rcc/rcc.yaml", "/usr/share/rcc/rcc.yaml", os.path.expanduser("~/.config/rcc/rcc.yaml")):
        if os.path.exists(path):
            with open(path, encoding="utf-8") as stream:
                assert "isolate" not in stream.read(), path


# The hook of a labelled container while the agent runs: one more exchange of lines.
DELEGATED = {"rcc.app.delegate", "rcc.system.agent_line", "_socket", "time"}
# What a start may not wait for even where the hook does all the work itself (policies in the cache, names known).
SLOW = {
    "argparse", "asyncio", "concurrent", "dataclasses", "dns", "inspect", "logging", "pathlib", "pyroute2", "random",
    "socket", "ssl", "structlog", "subprocess", "tempfile", "threading", "urllib", "yaml",
}  # fmt: skip

DELEGATE = """
import sys
before = set(sys.modules)
sys.path.insert(0, sys.argv[1])
import rcc.hook
from rcc.app import delegate
delegate.state_root = lambda: "/nonexistent"
print(delegate.admit_by_agent(b"{}", "/", {}) is None, *sorted(set(sys.modules) - before))
"""

IN_PROCESS = """
import sys
before = set(sys.modules)
sys.path.insert(0, sys.argv[1])
import rcc.hook
rcc.hook._find_packages()
import rcc.app.select, rcc.app.delegate, rcc.app.admit, rcc.app.isolate, rcc.app.stages, rcc.app.release, nftables
print(True, *sorted(set(sys.modules) - before))
"""


def imported_by(python: str, script: str) -> Set[str]:
    done = subprocess.run([python, "-IS", "-c", script, HOOKS], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    words = done.stdout.decode().split()
    assert words[0] == "True"
    return set(words[1:])


def test_the_labelled_path_beside_the_agent(python: str) -> None:
    imported = imported_by(python, DELEGATE)
    assert imported <= OURS | STDLIB | DELEGATED, imported - OURS - STDLIB - DELEGATED


def test_the_labelled_path_without_the_agent() -> None:
    imported = {name.partition(".")[0] for name in imported_by("/usr/bin/python3", IN_PROCESS)}
    assert not imported & SLOW, imported & SLOW
