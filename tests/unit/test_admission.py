"""What is refused, and what a spec looks like after hardening."""

import copy
from typing import Any, Dict

import pytest
from rcc.core import admission
from rcc.core.errors import Refused, SpecError
from rcc.core.policy import ImageRules, Limits, Policy, Ports

ID = "a" * 64


def spec(**changes: Any) -> Dict[str, Any]:
    value: Dict[str, Any] = {
        "process": {
            "capabilities": {
                kind: ["CAP_CHOWN", "CAP_NET_RAW", "CAP_NET_BIND_SERVICE"]
                for kind in ("bounding", "effective", "permitted")
            },
            "rlimits": [],
        },
        "linux": {"namespaces": [{"type": "pid"}, {"type": "network", "path": "/run/netns/netns-1"}], "resources": {}},
    }
    value.update(changes)
    return value


@pytest.mark.parametrize("name", admission.UNDOING)
@pytest.mark.parametrize("kind", admission.CAPABILITY_SETS)
def test_a_capability_that_undoes_isolation_is_refused_in_every_set(name: str, kind: str) -> None:
    asked = spec()
    asked["process"]["capabilities"][kind] = [name]
    with pytest.raises(Refused, match=name[4:]) as caught:
        admission.refuse_undoing(asked, {})
    assert f"--cap-drop={name[4:]}" in caught.value.hint


def test_an_ordinary_container_is_not_refused() -> None:
    admission.refuse_undoing(spec(), {"runtime": "/usr/bin/crun"})
    admission.refuse_undoing(spec(), {"runtime": "runc"})
    admission.refuse_undoing(spec(), {})


def test_privileged_is_refused() -> None:
    with pytest.raises(Refused, match="--privileged"):
        admission.refuse_undoing(spec(), {"privileged": True})


@pytest.mark.parametrize("runtime", ["runsc", "/usr/bin/kata-runtime", "krun", "crun-vm", "/opt/crun/other"])
def test_runtimes_whose_traffic_passes_by_are_refused(runtime: str) -> None:
    with pytest.raises(Refused, match="runtime"):
        admission.refuse_undoing(spec(), {"runtime": runtime})


def test_net_raw_is_dropped_from_every_set() -> None:
    hardened = spec()
    admission.drop_capabilities(hardened, admission.DROPPED)
    assert not admission.has_capabilities(hardened, admission.DROPPED)
    assert hardened["process"]["capabilities"]["bounding"] == ["CAP_CHOWN", "CAP_NET_BIND_SERVICE"]


def test_a_spec_without_capabilities_stays_as_it_is() -> None:
    bare: Dict[str, Any] = {"process": {}}
    admission.drop_capabilities(bare, admission.DROPPED)
    assert bare == {"process": {}}


def test_host_network_is_refused() -> None:
    with pytest.raises(Refused, match="host's own network"):
        admission.settle_netns(spec(linux={"namespaces": [{"type": "pid"}]}), {})


def test_a_foreign_namespace_is_refused() -> None:
    with pytest.raises(Refused, match="somebody else"):
        admission.settle_netns(spec(), {"id": ID})


def test_namespaces_that_are_accepted() -> None:
    made = admission.settle_netns(spec(), {"createNetNS": True})
    assert made == "/run/netns/netns-1"
    assert admission.settle_netns(spec(), {"netNsCtr": ID}) == "/run/netns/netns-1"
    fresh = admission.settle_netns(spec(linux={"namespaces": [{"type": "network"}]}), {"createNetNS": True})
    assert fresh == ""
    other_engine = admission.settle_netns(spec(), {})
    assert other_engine == "/run/netns/netns-1"


PORTS = {"newPortMappings": [{"container_port": 80, "host_port": 8080, "protocol": "tcp"}]}


def test_rootless_ports_that_pass_by_the_rules_are_refused() -> None:
    with pytest.raises(Refused, match="published ports") as caught:
        admission.refuse_rootless_ports([{}, PORTS], Policy("p"))
    assert "ingress: published" in caught.value.hint
    admission.refuse_rootless_ports([{}], Policy("p"))
    admission.refuse_rootless_ports([PORTS], Policy("p", ingress="published"))


@pytest.mark.parametrize("source", ["/", "/run", "/run/rcc", "/run/rcc/", "/run/rcc/agent.sock", "/run/rcc/netns"])
def test_mounts_that_show_rccs_own_folder_are_refused(source: str) -> None:
    with pytest.raises(Refused, match="/run/rcc"):
        admission.refuse_mounts(["/home/me", source], "/run/rcc")


def test_other_mounts_are_not() -> None:
    admission.refuse_mounts(["/home/me", "/run/rcc2", "/run/containers", "/ru", "proc", ""][:4], "/run/rcc")


@pytest.mark.parametrize("namespaces", [[], [{"type": "pid", "path": "/proc/1/ns/pid"}]])
def test_tracing_processes_of_others_is_refused(namespaces: Any) -> None:
    tracing = spec(linux={"namespaces": [{"type": "network"}, *namespaces]})
    tracing["process"]["capabilities"]["effective"] = ["CAP_SYS_PTRACE"]
    with pytest.raises(Refused, match="SYS_PTRACE"):
        admission.refuse_undoing(tracing, {})
    tracing["linux"]["namespaces"] = [{"type": "pid"}]
    admission.refuse_undoing(tracing, {})


@pytest.mark.parametrize(
    "options",
    [
        ["-T", "8080"],
        ["-T,8080"],
        ["-T8080"],
        ["-U", "53"],
        ["--tcp-ns", "22"],
        ["--tcp-ns=22"],
        ["--udp-ns=auto"],
        ["-T"],
    ],
)
def test_pasta_ports_of_the_host_are_refused(options: Any) -> None:
    with pytest.raises(Refused, match="loopback"):
        admission.refuse_pasta_ports({"network_options": {"pasta": options}})


@pytest.mark.parametrize("options", [["-T", "none"], ["--tcp-ns=none"], ["-t", "8080"], ["--mtu", "1400"], []])
def test_other_pasta_options_are_not(options: Any) -> None:
    admission.refuse_pasta_ports({"network_options": {"pasta": options}})
    admission.refuse_pasta_ports({"network_options": {"slirp4netns": ["-T", "8080"]}})
    admission.refuse_pasta_ports({})


DIGEST = "@sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("rules", "names"),
    [
        (ImageRules(), ("anything",)),
        (ImageRules(("ghcr.io/acme/*",)), ("ghcr.io/acme/tool:1",)),
        (ImageRules(("localhost:5000/acme",)), ("localhost:5000/acme:1",)),
        (ImageRules(("ghcr.io/acme/*",), True), ("ghcr.io/acme/tool" + DIGEST,)),
    ],
)
def test_images_that_may_run(rules: ImageRules, names: Any) -> None:
    admission.check_image(rules, names)


@pytest.mark.parametrize(
    ("rules", "names", "word"),
    [
        (ImageRules(("ghcr.io/acme/*",)), ("docker.io/acme/tool:1",), "not among"),
        (ImageRules(("ghcr.io/acme/*",)), ("ghcr.io/acmeevil/tool",), "not among"),
        (ImageRules(("ghcr.io/acme/*",)), (), "not among"),
        (ImageRules((), True), ("ghcr.io/acme/tool:1",), "digest"),
        (ImageRules(("ghcr.io/acme/*",), True), ("docker.io/x" + DIGEST,), "not among"),
    ],
)
def test_images_that_may_not(rules: ImageRules, names: Any, word: str) -> None:
    with pytest.raises(Refused, match=word):
        admission.check_image(rules, names)


def test_limits_are_set_where_the_container_has_none() -> None:
    hardened = spec()
    notes = admission.apply_limits(hardened, Limits(memory=1 << 30, cpus=1.5, pids=64, nofile=512))
    assert hardened["linux"]["resources"] == {
        "memory": {"limit": 1 << 30},
        "cpu": {"period": 100000, "quota": 150000},
        "pids": {"limit": 64},
    }
    assert hardened["process"]["rlimits"] == [{"type": "RLIMIT_NOFILE", "soft": 512, "hard": 512}]
    assert len(notes) == 4


def test_the_containers_own_limits_stand() -> None:
    own = spec()
    own["linux"]["resources"] = {"memory": {"limit": 5}, "cpu": {"quota": 7, "period": 9}, "pids": {"limit": 3}}
    own["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 10}]
    before = copy.deepcopy(own)
    assert admission.apply_limits(own, Limits(memory=1 << 30, cpus=1.5, pids=64, nofile=512)) == ()
    assert own == before


def test_no_limits_change_nothing() -> None:
    plain = spec()
    before = copy.deepcopy(plain)
    admission.apply_limits(plain, Limits())
    assert plain == before


def test_a_spec_that_is_none_is_told() -> None:
    with pytest.raises(SpecError):
        admission.settle_netns({"linux": []}, {})


def test_published_ports_only_when_the_policy_admits_ingress() -> None:
    config = {
        "newPortMappings": [
            {"container_port": 80, "host_port": 8080, "range": 1, "protocol": "tcp"},
            {"container_port": 5000, "host_port": 6000, "range": 3, "protocol": "tcp,udp"},
            {"container_port": 70000, "protocol": "tcp"},
        ]
    }
    assert admission.published_ports(config, Policy("p")) == ()
    assert admission.published_ports(config, Policy("p", ingress="published")) == (
        Ports("tcp", 80, 80),
        Ports("tcp", 5000, 5002),
        Ports("udp", 5000, 5002),
    )
