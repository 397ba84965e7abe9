"""``rcc check``, and the policy files that the packages ship."""

import os
from typing import List

import pytest
from rcc.app.check import check_files, check_text, kind_of
from rcc.core.errors import EX_CONFIG, EX_OK
from rcc.core.layers import profile_names, resolve_profile
from rcc.core.policy import HostRule, InternetRule
from rcc.core.report import Note
from rcc.core.sources import PRESET, PROFILE, SETTINGS, Source, Sources
from rcc.system.configfiles import read_sources
from test_policy_yaml import EXAMPLE

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
POLICY = os.path.join(PROJECT, "policy")
SHIPPED = sorted(
    f"{folder}/{name}" for folder in ("profiles", "presets") for name in os.listdir(os.path.join(POLICY, folder))
)


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    """The layers of a machine with rcc freshly installed."""
    root = os.fspath(tmp_path_factory.mktemp("root"))
    for path in SHIPPED:
        with open(os.path.join(POLICY, path), encoding="utf-8") as stream:
            write(os.path.join(root, "usr/share/rcc", path), stream.read())
    return read_sources(root).sources


def write(path: str, text: str) -> str:
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(text)
    os.chmod(path, 0o644)
    return path


def messages(text: str, path: str, vendor: Sources) -> List[str]:
    return [f"{problem.where} {problem.message}" for problem in check_text(text.encode(), path, vendor).problems]


def test_every_shipped_file_is_sound_and_says_nothing_odd(vendor: Sources) -> None:
    assert len(vendor) == len(SHIPPED) > 10
    for source in vendor:
        report = check_text(source.text, source.path, vendor)
        assert (report.problems, report.notes) == ((), ()), report.lines()


def test_the_shipped_profiles_mean_what_they_say(vendor: Sources) -> None:
    assert profile_names(vendor) == ("default", "internet", "offline")
    default = resolve_profile("default", vendor)
    assert default.egress and all(
        isinstance(rule, HostRule) and not rule.wildcard and not rule.private for rule in default.egress
    )
    names = {rule.name for rule in default.egress if isinstance(rule, HostRule)}
    assert {"api.anthropic.com", "github.com", "pypi.org"} <= names
    assert default.ingress == "none"
    internet = resolve_profile("internet", vendor)
    assert [type(rule) for rule in internet.egress] == [InternetRule]
    assert resolve_profile("offline", vendor).egress == ()


def test_the_documented_example_has_no_problems(vendor: Sources, tmp_path: "os.PathLike[str]") -> None:
    path = write(os.path.join(tmp_path, "example.yaml"), EXAMPLE)
    (report,) = check_files([path], vendor)
    assert report.problems == () and report.exit_code == EX_OK
    assert report.lines()[-1] == f"{path}: profile: ok"
    assert len(report.notes) == 1 and all(isinstance(note, Note) for note in report.notes)


def test_the_documents_show_only_what_is_sound(vendor: Sources) -> None:
    with open(os.path.join(PROJECT, "docs/policy.md"), encoding="utf-8") as stream:
        blocks = [block.split("```")[0] for block in stream.read().split("```yaml\n")[1:]]
    assert len(blocks) >= 3
    for number, block in enumerate(blocks):
        assert messages(block, f"/docs/block{number}.yaml", vendor) == []


def test_problems_and_remedies_are_lines_and_data(vendor: Sources, tmp_path: "os.PathLike[str]") -> None:
    path = write(os.path.join(tmp_path, "p.yaml"), "version: 1\ningres: none\n")
    (report,) = check_files([path], vendor)
    assert report.exit_code == EX_CONFIG
    assert report.lines() == (
        f"{path}:2:1: a profile has no key 'ingres'",
        "    did you mean 'ingress' or 'egress'?",
        f"{path}: profile: 1 problem",
    )
    assert report.to_data() == {
        "file": path,
        "kind": "profile",
        "ok": False,
        "problems": [
            {
                "where": f"{path}:2:1",
                "message": "a profile has no key 'ingres'",
                "hint": "did you mean 'ingress' or 'egress'?",
            }
        ],
        "notes": [],
    }


def test_a_file_that_is_not_there_is_a_problem_of_its_own(vendor: Sources, tmp_path: "os.PathLike[str]") -> None:
    good = write(os.path.join(tmp_path, "p.yaml"), "version: 1\n")
    missing, found = check_files([os.path.join(tmp_path, "nowhere.yaml"), good], vendor)
    assert missing.exit_code == EX_CONFIG and "cannot read" in missing.problems[0].message
    assert found.exit_code == EX_OK


@pytest.mark.parametrize(
    ("path", "text", "kind"),
    [
        ("/x/profiles/a.yaml", "lock: {}", PROFILE),
        ("/x/presets/a.yaml", "", PRESET),
        ("/x/rcc.yaml", "", SETTINGS),
        ("/x/a.yaml", "version: 1\negress: []\n", PROFILE),
        ("/x/a.yaml", "version: 1\nlock: {}\n", SETTINGS),
        ("/x/a.yaml", "default_profile: x\n", SETTINGS),
        ("/x/a.yaml", "[", PROFILE),
        ("/x/a.yaml", "", PROFILE),
    ],
)
def test_what_a_file_is_follows_from_its_place_or_else_its_keys(path: str, text: str, kind: str) -> None:
    assert kind_of(path, text.encode()) == kind


@pytest.mark.parametrize(
    ("path", "text", "word"),
    [
        ("/x/profiles/p.yaml", "extends: defualt", "/x/profiles/p.yaml:2:10 there is no profile defualt"),
        ("/x/p.yaml", "presets: [githbu]", "/x/p.yaml:2:11 there is no preset githbu"),
        ("/x/presets/p.yaml", "presets: [githbu]", "/x/presets/p.yaml:2:11 there is no preset githbu"),
        ("/x/presets/p.yaml", "presets: [p]", "there is no preset p"),
        ("/x/presets/p.yaml", "ingress: none", "a preset has no key"),
        ("/x/profiles/No Name.yaml", "", "no name for a profile"),
        ("/x/profiles/true.yaml", "", "no name for a profile"),
        ("/x/rcc.yaml", "default_profile: defualt", "there is no profile defualt"),
        ("/x/rcc.yaml", "lock: {allowed_profiles: [default, oflline]}", "there is no profile oflline"),
        ("/x/rcc.yaml", "lock: {ceiling: {presets: [githbu]}}", "there is no preset githbu"),
        ("/x/rcc.yaml", "isolate: never", "isolate must be on-request or always"),
    ],
)
def test_names_are_followed(path: str, text: str, word: str, vendor: Sources) -> None:
    found = messages(f"version: 1\n{text}\n", path, vendor)
    assert len(found) == 1 and word in found[0]


@pytest.mark.parametrize("path", ["/x/No Name.yaml", "/x/p", "/x/p.yml", "/x/default.yaml"])
def test_a_file_outside_the_layers_may_be_called_anything(path: str, vendor: Sources) -> None:
    assert messages("version: 1\nextends: default\n", path, vendor) == []


def test_an_admins_lock_is_seen_by_a_users_check(vendor: Sources) -> None:
    admin = check_text(b"version: 1\nlock: {ceiling: {egress: []}}\n", "/etc/rcc/rcc.yaml", vendor)
    assert admin.problems == ()
    lock = Source("admin", SETTINGS, "", "/etc/rcc/rcc.yaml", b"version: 1\nlock: {ceiling: {egress: []}}\n")
    for path in ("/x/profiles/p.yaml", "/x/presets/p.yaml"):
        found = messages("version: 1\negress: [{host: a.example}]\n", path, (*vendor, lock))
        assert len(found) == 1 and "beyond what the admin allows" in found[0]
