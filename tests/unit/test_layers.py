"""Vendor, admin and user together: whose word stands, and what no user gets past."""

from typing import Dict, List

import pytest
from rcc.core.errors import ConfigError, Refused
from rcc.core.layers import merge_profile, profile_names, resolve_profile, resolve_settings
from rcc.core.policy import CidrRule, HostRule, InternetRule, Policy
from rcc.core.sources import PRESET, PROFILE, SETTINGS, Source, Sources

KINDS = {"profiles": PROFILE, "presets": PRESET}


def sources(files: Dict[str, str]) -> Sources:
    """``{"admin/profiles/default": text, "user/rcc": text}`` as read files."""
    found = []
    for path, text in files.items():
        layer, _, rest = path.partition("/")
        folder, _, name = rest.rpartition("/")
        kind = KINDS.get(folder, SETTINGS)
        body = text if "version:" in text else f"version: 1\n{text}"
        found.append(Source(layer, kind, name if folder else "", f"/{path}.yaml", body.encode()))
    return tuple(found)


def names(policy: Policy) -> List[str]:
    found = []
    for rule in policy.egress:
        if isinstance(rule, HostRule):
            found.append(rule.name)
        elif isinstance(rule, CidrRule):
            found.append(str(rule.network))
        else:
            found.append("internet" if isinstance(rule, InternetRule) else "peers")
    return found


def hosts(*wanted: str) -> str:
    return "egress: [" + ", ".join(f"{{host: {name}}}" for name in wanted) + "]\n"


def fails(files: Dict[str, str], name: str = "p") -> List[str]:
    with pytest.raises(ConfigError) as raised:
        resolve_profile(name, sources(files))
    return [f"{problem.where} {problem.message} | {problem.hint}" for problem in raised.value.problems]


VENDOR = {"vendor/profiles/default": "presets: [code]", "vendor/presets/code": hosts("code.example")}


def test_a_profile_adds_what_it_extends_its_presets_and_its_own() -> None:
    files = {**VENDOR, "user/profiles/p": "extends: default\npresets: [more]\n" + hosts("own.example")}
    files["user/presets/more"] = "presets: [code]\n" + hosts("more.example")
    policy = resolve_profile("p", sources(files))
    assert names(policy) == ["code.example", "more.example", "own.example"]
    assert policy.files == (
        "/vendor/presets/code.yaml",
        "/vendor/profiles/default.yaml",
        "/user/presets/more.yaml",
        "/user/profiles/p.yaml",
    )
    assert str(policy.egress[0].where) == "/vendor/presets/code.yaml:2:10"


def test_nothing_said_is_the_closed_policy() -> None:
    policy = resolve_profile("p", sources({"user/profiles/p": ""}))
    assert policy._replace(files=()) == Policy("p")


def test_the_last_value_stands_and_tells_its_origin() -> None:
    files = {
        "admin/profiles/base": "ingress: published\nlimits: {memory: 1G, pids: 100}\n",
        "user/profiles/p": "extends: base\nlimits: {memory: 2G, pids: none}\n",
    }
    policy = resolve_profile("p", sources(files))
    assert policy.ingress == "published" and policy.limits.memory == 2 << 30 and policy.limits.pids is None
    assert {key: str(where) for key, where in policy.origins} == {
        "ingress": "/admin/profiles/base.yaml:2:10",
        "limits.memory": "/user/profiles/p.yaml:3:18",
        "limits.pids": "/user/profiles/p.yaml:3:28",
    }


def test_an_empty_egress_list_allows_nothing_whatever_is_extended() -> None:
    files = {**VENDOR, "user/profiles/p": "extends: default\negress: []\n"}
    assert resolve_profile("p", sources(files)).egress == ()


def test_a_later_layer_replaces_a_profile_or_adds_to_it() -> None:
    replaced = {**VENDOR, "user/profiles/default": hosts("own.example")}
    assert names(resolve_profile("default", sources(replaced))) == ["own.example"]
    added = {**VENDOR, "user/profiles/default": "extends: default\n" + hosts("own.example")}
    assert names(resolve_profile("default", sources(added))) == ["code.example", "own.example"]


def test_no_user_changes_what_an_admins_file_means() -> None:
    files = {
        **VENDOR,
        "admin/profiles/strict": "extends: default\npresets: [code]\n",
        "user/profiles/default": hosts("evil.example"),
        "user/presets/code": hosts("evil.example"),
    }
    assert names(resolve_profile("strict", sources(files))) == ["code.example"]


@pytest.mark.parametrize(
    ("files", "word"),
    [
        ({"user/profiles/p": "extends: q", "user/profiles/q": "extends: p"}, "leads back to itself"),
        ({"user/profiles/p": "extends: p"}, "no profile p"),
        (
            {"user/profiles/p": "presets: [a]", "user/presets/a": "presets: [b]", "user/presets/b": "presets: [a]"},
            "leads back",
        ),
        ({"user/profiles/p": "presets: [a]", "user/presets/a": "presets: [a]"}, "no preset a"),
        ({"user/profiles/p": "presets: [githbu]", "vendor/presets/github": ""}, "did you mean 'github'"),
        ({"user/profiles/p": "extends: defualt", "vendor/profiles/default": ""}, "did you mean 'default'"),
        ({"vendor/profiles/p": "extends: mine", "user/profiles/mine": ""}, "no profile mine"),
        ({"user/profiles/p": "ingres: none"}, "no key 'ingres'"),
    ],
)
def test_names_that_lead_nowhere_are_told(files: Dict[str, str], word: str) -> None:
    assert any(word in line for line in fails(files))


def test_chains_have_an_end() -> None:
    files = {f"user/profiles/p{number}": f"extends: p{number + 1}" for number in range(12)}
    files["user/profiles/p12"] = ""
    assert any("more than 10 profiles" in line for line in fails(files, "p0"))
    assert resolve_profile("p5", sources(files)).egress == ()


@pytest.mark.parametrize("name", ["defalt", "", "../default", "Default", "no", "a\nb", "x" * 5000])
def test_an_unknown_profile_is_refused(name: str) -> None:
    with pytest.raises(Refused) as raised:
        resolve_profile(name, sources(VENDOR))
    assert "default" in raised.value.hint and str(raised.value).isprintable()


def test_a_file_that_cannot_be_trusted_fails_those_who_need_it() -> None:
    bad = Source(
        "user", PROFILE, "default", "/user/profiles/default.yaml", b"", "the file belongs to uid 7", "look at it"
    )
    files = (*sources({**VENDOR, "vendor/profiles/other": ""}), bad)
    with pytest.raises(ConfigError, match="belongs to uid 7"):
        resolve_profile("default", files)
    assert resolve_profile("other", files).name == "other"


def test_settings_that_cannot_be_trusted_fail_everybody() -> None:
    bad = Source("admin", SETTINGS, "", "/etc/rcc/rcc.yaml", b"", "it is a link", "look at it")
    with pytest.raises(ConfigError, match="it is a link"):
        resolve_profile("default", (*sources(VENDOR), bad))


def lock(text: str) -> Dict[str, str]:
    return {**VENDOR, "admin/rcc": f"lock:\n  {text}\n"}


def test_only_allowed_profiles_may_be_used() -> None:
    files = {**lock("allowed_profiles: [default]"), "user/profiles/mine": ""}
    assert resolve_profile("default", sources(files)).name == "default"
    with pytest.raises(Refused) as raised:
        resolve_profile("mine", sources(files))
    assert "(/admin/rcc.yaml:3:3)" in raised.value.message and "allowed here: default" in raised.value.hint
    assert merge_profile("mine", sources(files)).name == "mine"
    assert profile_names(sources(files)) == ("default", "mine")


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("egress", hosts("a.example")),
        ("presets", "presets: [code]"),
        ("extends", "extends: default"),
        ("ingress", "ingress: none"),
        ("limits", "limits: {pids: 5}"),
        ("dns", "dns: {mode: static}"),
        ("image", "image: {require_digest: true}"),
        ("on_denied", "on_denied: drop"),
        ("mode", "mode: learn"),
    ],
)
def test_a_locked_key_may_not_stand_in_a_users_profile(key: str, text: str) -> None:
    files = lock(f"locked: [{key}]")
    assert any(f"{key} is locked by /admin/rcc.yaml" in line for line in fails({**files, "user/profiles/p": text}))
    assert resolve_profile("p", sources({**files, "admin/profiles/p": text})).name == "p"


def test_a_locked_egress_is_not_got_past_by_a_preset_of_ones_own() -> None:
    files = {
        **lock("locked: [egress]"),
        "user/profiles/p": "presets: [mine]",
        "user/presets/mine": hosts("evil.example"),
    }
    assert any("egress is locked" in line for line in fails(files))
    files["user/profiles/p"] = "extends: default\negress: []"
    assert resolve_profile("p", sources(files)).egress == ()


CEILING = "ceiling: {egress: [{host: '*.corp.example', ports: [443, 22]}, {cidr: 203.0.113.0/24}]}"


@pytest.mark.parametrize(
    "entry",
    [
        "host: evil.example",
        "host: corp.example",
        "host: a.corp.example\n    ports: [80]",
        "host: a.corp.example\n    private: true",
        "host: '*.example.net'",
        "cidr: 203.0.112.0/23",
        "cidr: 203.0.113.0/24\n    private: true",
        "cidr: 10.0.0.0/8\n    private: true",
        "internet: true",
        "peers: true\n    ports: [1]",
    ],
)
def test_no_user_adds_beyond_the_ceiling(entry: str) -> None:
    text = f"version: 1\negress:\n  - {entry}\n"
    files = {**lock(CEILING), "user/profiles/p": text}
    found = fails(files)
    assert len(found) == 1 and "beyond what the admin allows" in found[0] and "/admin/rcc.yaml" in found[0]
    assert found[0].startswith("/user/profiles/p.yaml:3:")
    without = {**VENDOR, "user/profiles/p": text}
    assert len(resolve_profile("p", sources(without)).egress) == 1
    # Neither by a preset of his own, nor by his own file under the name of an admin's or vendor's.
    assert fails({**lock(CEILING), "user/profiles/p": "presets: [x]", "user/presets/x": text})
    assert fails({**lock(CEILING), "user/profiles/default": text}, "default")


def test_learning_is_a_rule_for_the_internet_at_its_own_place() -> None:
    files = {**VENDOR, "user/profiles/p": "extends: default\nmode: learn"}
    policy = resolve_profile("p", sources(files))
    assert policy.mode == "learn" and names(policy) == ["code.example", "internet"]
    assert str(policy.egress[-1].where) == "/user/profiles/p.yaml:3:7"
    child = {**files, "user/profiles/q": "extends: p"}
    assert resolve_profile("q", sources(child)).mode == "learn"
    closed = resolve_profile("q", sources({**files, "user/profiles/q": "extends: p\negress: []"}))
    assert (closed.mode, closed.egress) == ("enforce", ())
    back = resolve_profile("q", sources({**files, "user/profiles/q": "extends: p\nmode: enforce"}))
    assert (back.mode, names(back)) == ("enforce", ["code.example"])
    assert any("egress: [] none" in line for line in fails({"user/profiles/p": "mode: learn\negress: []"}))


def test_no_user_learns_beyond_the_ceiling() -> None:
    learner = {"user/profiles/p": "mode: learn"}
    assert any("beyond what the admin allows" in line for line in fails({**lock(CEILING), **learner}))
    assert any("mode goes beyond" in line for line in fails({**lock("ceiling: {mode: enforce}"), **learner}))
    shipped = {"vendor/profiles/p": "mode: learn\n" + hosts("a.corp.example")}
    cut = resolve_profile("p", sources({**lock(CEILING), **shipped}))
    assert names(cut) == ["a.corp.example", "corp.example", "203.0.113.0/24"], "no more than the ceiling"
    enforced = resolve_profile("p", sources({**lock("ceiling: {mode: enforce}"), **shipped}))
    assert (enforced.mode, names(enforced)) == ("enforce", ["a.corp.example"])
    granted = {"admin/profiles/p": "mode: learn", **lock(CEILING)}
    assert resolve_profile("p", sources(granted)).mode == "learn", "the admin's own word"


def test_within_the_ceiling_a_user_adds_as_he_likes() -> None:
    text = "version: 1\negress:\n  - host: a.corp.example\n    ports: [22]\n  - cidr: 203.0.113.8/29\n"
    assert names(resolve_profile("p", sources({**lock(CEILING), "user/profiles/p": text}))) == [
        "a.corp.example",
        "203.0.113.8/29",
    ]


def test_the_vendors_part_is_cut_down_to_the_ceiling() -> None:
    files = {**lock(CEILING), "vendor/profiles/internet": "egress: [{internet: true}]"}
    assert resolve_profile("default", sources(files)).egress == ()
    cut = resolve_profile("internet", sources(files))
    assert names(cut) == ["corp.example", "203.0.113.0/24"]


def test_what_an_admins_profile_grants_stands_above_the_ceiling_and_may_be_extended() -> None:
    files = {**lock(CEILING), "admin/profiles/build": "extends: default\n" + hosts("build.example")}
    files["user/profiles/p"] = "extends: build\n" + hosts("a.corp.example")
    assert names(resolve_profile("build", sources(files))) == ["code.example", "build.example"]
    assert names(resolve_profile("p", sources(files))) == ["code.example", "build.example", "a.corp.example"]


def test_a_ceiling_may_name_presets_of_the_admins_or_vendors_only() -> None:
    files = {**lock("ceiling: {presets: [code]}"), "user/presets/code": hosts("evil.example")}
    assert names(resolve_profile("default", sources(files))) == ["code.example"]
    assert fails({**files, "user/profiles/p": "presets: [code]"})


def test_the_ceiling_bounds_every_other_value() -> None:
    ceiling = "ceiling: {ingress: none, limits: {memory: 1G, pids: 100}, dns: {mode: gateway}, "
    files = lock(ceiling + "image: {allow: ['ghcr.io/acme/*'], require_digest: true}}")
    silent = resolve_profile("p", sources({**files, "user/profiles/p": ""}))
    assert silent.limits.memory == 1 << 30 and silent.limits.pids == 100
    assert silent.image == (("ghcr.io/acme/*",), True) and silent.ingress == "none"
    assert dict(silent.origins)["limits.memory"].file == "/admin/rcc.yaml"
    stricter = "limits: {memory: 512M}\nimage: {allow: [ghcr.io/acme/tool]}\n"
    policy = resolve_profile("p", sources({**files, "user/profiles/p": stricter}))
    assert (
        policy.limits.memory == 512 << 20
        and policy.image.allow == ("ghcr.io/acme/tool",)
        and policy.image.require_digest
    )
    wider = "ingress: published\nlimits: {memory: 2G, pids: none}\ndns: {mode: static}\n"
    wider += "image: {allow: ['*'], require_digest: false}\n"
    found = fails({**files, "user/profiles/p": wider})
    assert [line.split()[1] for line in found] == [
        "ingress",
        "limits.memory",
        "limits.pids",
        "dns.mode",
        "image.allow",
        "image.require_digest",
    ]


def test_settings_come_from_the_last_who_says_and_locks_from_the_admin() -> None:
    files = {
        "vendor/rcc": "isolate: on-request\n",
        "admin/rcc": "default_profile: offline\non_unreadable_labels: pass\n",
        "user/rcc": "isolate: always\ndefault_profile: mine\non_unreadable_labels: refuse\n",
    }
    found = resolve_settings(sources(files))
    assert (found.isolate, found.default_profile, found.on_unreadable_labels) == ("always", "mine", "refuse")
    assert not found.lock.isolate and found.lock.allowed_profiles is None
    locked = resolve_settings(sources({"admin/rcc": "lock: {isolate: always, default_profile: offline}"}))
    assert (locked.isolate, locked.default_profile, locked.lock.isolate) == ("always", "offline", True)
    assert str(dict(locked.origins)["isolate"]) == "/admin/rcc.yaml:2:17"


def test_without_files_the_settings_are_the_closed_ones() -> None:
    assert resolve_settings(()).on_unreadable_labels == "refuse"


@pytest.mark.parametrize(
    ("admin", "user", "word"),
    [
        ("lock: {isolate: always}", "isolate: on-request", "isolate is locked"),
        ("lock: {default_profile: a}", "default_profile: b", "default_profile is locked"),
        ("", "lock: {locked: [egress]}", "only the admin"),
        ("", "on_unreadable_labels: pass", "only the admin"),
        ("", "keep_capabilities: [net_raw]", "only the admin"),
        ("isolate: sometimes", "", "on-request or always"),
        ("lock: {locked: [egres]}", "", "no key 'egres'"),
        ("lock: {ceiling: {extends: x}}", "", "no key 'extends'"),
        ("lock: {allowed_profiles: [a], default_profile: b}", "", "not among allowed_profiles"),
        ("lock: always", "", "must be a mapping"),
        ("lok: {}", "", "no key 'lok'"),
    ],
)
def test_settings_that_are_wrong_are_refused(admin: str, user: str, word: str) -> None:
    files = {"admin/rcc": admin, "user/rcc": user}
    with pytest.raises(ConfigError) as raised:
        resolve_settings(sources(files))
    assert any(word in problem.message for problem in raised.value.problems)
    with pytest.raises(ConfigError):
        resolve_profile("default", sources({**VENDOR, **files}))
