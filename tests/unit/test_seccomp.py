"""What a seccomp profile lets open after closing: judged as libseccomp does, rule by rule."""

from typing import Any, Dict, List

import pytest
from rcc.core.errors import Refused, SpecError
from rcc.core.seccomp import close_families

ROUTE, AUDIT = 0, 9
OPS = {
    "SCMP_CMP_EQ": lambda a, b: a == b,
    "SCMP_CMP_NE": lambda a, b: a != b,
}


def closed(default: str, *rules: Dict[str, Any]) -> Dict[str, Any]:
    spec = {"linux": {"seccomp": {"defaultAction": default, "syscalls": list(rules)}}}
    close_families(spec)
    return spec["linux"]["seccomp"]  # type: ignore[return-value]


def opens(profile: Dict[str, Any], family: int, protocol: int = 0, call: str = "socket") -> bool:
    """Whether the call is allowed; no two matching rules may disagree, libseccomp's choice would be its own."""
    arguments = (family, 1, protocol)
    actions: List[str] = []
    for rule in profile["syscalls"]:
        conditions = rule.get("args") or ()
        if call in rule["names"] and all(OPS[c["op"]](arguments[c["index"]], c["value"]) for c in conditions):
            actions.append(rule["action"])
    assert len(set(actions)) <= 1, actions
    return (actions or [profile["defaultAction"]])[0] == "SCMP_ACT_ALLOW"


PODMAN = (
    {"names": ["read", "socket", "socketcall", "socketpair"], "action": "SCMP_ACT_ALLOW"},
    {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 40, "op": "SCMP_CMP_NE"}]},
)


@pytest.mark.parametrize(
    "profile", [closed("SCMP_ACT_ERRNO", *PODMAN), closed("SCMP_ACT_KILL"), closed("SCMP_ACT_TRAP")]
)
def test_what_opens(profile: Dict[str, Any]) -> None:
    for family in range(60):
        for protocol in (ROUTE, AUDIT, 4, 12):
            wanted = family in (1, 2, 10) or (family, protocol) == (16, ROUTE)
            assert opens(profile, family, protocol) is wanted, (family, protocol)
    assert not opens(profile, 2, call="socketcall")


def test_other_calls_stay_as_they_were() -> None:
    profile = closed("SCMP_ACT_ERRNO", *PODMAN)
    assert opens(profile, 1, call="socketpair") and opens(profile, 0, call="read")


@pytest.mark.parametrize("default", ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG"])
def test_a_profile_that_allows_by_default_is_refused(default: str) -> None:
    with pytest.raises(Refused, match="does not name"):
        closed(default, *PODMAN)


def test_rules_of_other_kinds_stay() -> None:
    traced = {"names": ["socket"], "action": "SCMP_ACT_TRACE"}
    assert traced in closed("SCMP_ACT_ERRNO", traced)["syscalls"]


def test_32_bit_x86_is_left_out() -> None:
    """Its socketcall would open every family."""
    spec = {
        "linux": {
            "seccomp": {"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]}
        }
    }
    close_families(spec)
    assert spec["linux"]["seccomp"]["architectures"] == ["SCMP_ARCH_X86_64"]


@pytest.mark.parametrize("spec", [{}, {"linux": {}}, {"linux": {"seccomp": None}}, {"linux": {"seccomp": {}}}])
def test_a_container_without_seccomp_is_refused(spec: Any) -> None:
    with pytest.raises(Refused, match="seccomp"):
        close_families(spec)


def test_what_is_no_profile() -> None:
    with pytest.raises(SpecError):
        close_families({"linux": {"seccomp": {"syscalls": ["socket"]}}})
