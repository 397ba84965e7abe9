"""The hook files that packages install: what Podman, CRI-O and NRI accept, and what keeps them closed."""

import json
import os
import re
from typing import Any, Dict

import pytest

TOP = os.path.join(os.path.dirname(__file__), "..", "..")
# OCI runtime-spec stages, and precreate, which only Podman knows (oci-hooks(5)).
OCI_STAGES = {"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"}


def hook_file(name: str) -> Dict[str, Any]:
    with open(os.path.join(TOP, "oci-hooks.d", name), encoding="utf-8") as stream:
        data: Dict[str, Any] = json.load(stream)
    return data


@pytest.mark.parametrize("name", ["rcc.json", "rcc-precreate.json"])
def test_the_schema_of_1_0_0(name: str) -> None:
    data = hook_file(name)
    assert data["version"] == "1.0.0" and set(data) == {"version", "hook", "when", "stages"}
    hook = data["hook"]
    assert set(hook) <= {"path", "args", "env", "timeout"} and 0 < hook["timeout"] <= 60
    assert hook["path"] == "/usr/bin/python3", "a hook whose executable is missing is skipped: a missing script is not"
    assert hook["args"][1:3] == ["-IS", "/usr/libexec/rcc/rcc-hook"]
    assert all(entry.startswith("PATH=/usr/sbin") for entry in hook["env"]), "the caller's PATH is not ours"


def test_only_podmans_own_folder_names_precreate() -> None:
    assert set(hook_file("rcc.json")["stages"]) <= OCI_STAGES, "CRI-O does not start with a stage it does not know"
    assert hook_file("rcc-precreate.json")["stages"] == ["precreate"]
    assert hook_file("rcc-precreate.json")["when"] == {"always": True}, "labels match no condition"


@pytest.mark.parametrize(("key", "matches"), [("rcc", True), ("xrcc", False), ("rcc2", False), ("a.rcc", False)])
def test_the_annotation_is_this_key_alone(key: str, matches: bool) -> None:
    ((pattern, value),) = hook_file("rcc.json")["when"]["annotations"].items()
    assert bool(re.search(pattern, key)) is matches
    assert re.search(value, "") and re.search(value, "off")


def test_podmans_own_line_names_the_command_that_tells_more() -> None:
    assert "rcc why" in hook_file("rcc-precreate.json")["hook"]["args"][-1]


def test_containers_conf_keeps_the_default_folder() -> None:
    with open(os.path.join(TOP, "containers.conf.d", "50-rcc.conf"), encoding="utf-8") as stream:
        text = stream.read()
    folders = re.findall(r'"(/[^"]+)"', text)
    assert folders == ["/usr/share/containers/oci/hooks.d", "/usr/share/rcc/hooks.d"]
    settings = "".join(line for line in text.splitlines() if not line.startswith("#"))
    assert "append" not in settings, "an error for every Podman before 4.8"
