"""The layering that the tree promises: core decides, system acts, app orders, entries print."""

import ast
import os
from typing import Iterator, Tuple

import pytest

HOOKS = os.path.join(os.path.dirname(__file__), "..", "..", "hooks", "rcc")
ENTRIES = ("hook", "agent", "keeper", "cli", "commands", "runtime")
MAY = {"core": ("core",), "system": ("core", "system"), "app": ("core", "system", "app")}
EFFECTS = {"os", "socket", "subprocess", "time", "select", "shutil", "pathlib", "asyncio", "tempfile", "ctypes"}
# What the start of a container may not wait for, in modules that the hook may import at their top.
SLOW = {"dataclasses", "inspect", "pathlib", "subprocess", "logging", "argparse", "asyncio", "structlog", "pyroute2"}


def modules() -> Iterator[Tuple[str, str]]:
    for folder, _, files in os.walk(HOOKS):
        for name in sorted(files):
            if name.endswith(".py"):
                path = os.path.join(folder, name)
                yield os.path.relpath(path, HOOKS)[:-3].replace(os.sep, "."), path


def imports(path: str) -> Iterator[str]:
    with open(path, encoding="utf-8") as stream:
        tree = ast.parse(stream.read(), feature_version=(3, 9))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield node.module or ""


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=lambda value: value if "/" not in value else "")
def test_imports_go_down(name: str, path: str) -> None:
    layer = name.partition(".")[0]
    for imported in imports(path):
        parts = imported.split(".")
        if layer == "core":
            assert parts[0] not in EFFECTS, f"core decides, it has no use for {imported}"
        if parts[0] != "rcc" or len(parts) < 2:
            continue
        if layer in MAY:
            assert parts[1] in MAY[layer], f"{name} imports {imported}"
        elif layer in ENTRIES:
            assert parts[1] in ("app", "core", "system", "commands"), f"{name} imports {imported}"
