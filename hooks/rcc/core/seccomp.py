"""Close the socket families that no IP rule sees, in the seccomp profile of a spec (OCI runtime-spec, config-linux.md).

What stays: IPv4, IPv6, Unix, and of netlink the routing that name resolution asks (getaddrinfo(3) reads addresses).
AF_PACKET, AF_VSOCK, AF_XDP, AF_BLUETOOTH, AF_ALG and the like pass by every inet chain, or are not of this namespace at
all (threats 3, 4, 13).

libseccomp ignores a rule on the value of an argument beside an unconditional one of the same call and action, so
`socket` is taken out of every allowing and refusing rule first; what is closed fails as the profile's default says.

On 32-bit x86 `socket` also comes as `socketcall`, whose arguments seccomp cannot see: there libseccomp turns each rule
on arguments into one without them, which would allow every family to 32-bit programs (and makes rules of different
actions collide: crun 1.8.1 fails with EEXIST).  So that architecture is taken out, and 32-bit programs do not run.
"""

from typing import Any, Dict, List

from rcc.core.errors import Refused, SpecError

# <linux/socket.h>, <linux/netlink.h>
AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16
NETLINK_ROUTE = 0
OPEN_FAMILIES = (AF_UNIX, AF_INET, AF_INET6)
ALLOW = "SCMP_ACT_ALLOW"
ALLOWING = (ALLOW, "SCMP_ACT_LOG")
REPLACED = (*ALLOWING, "SCMP_ACT_ERRNO")
CALLS = ("socket", "socketcall")
MULTIPLEXED = "SCMP_ARCH_X86"


def close_families(spec: Dict[str, Any]) -> None:
    """Change the spec's seccomp profile.  Raises Refused where there is none, SpecError for what is no profile."""
    profile = (spec.get("linux") or {}).get("seccomp")
    if not profile:
        raise Refused(
            "without seccomp the container can open sockets that no rule sees (vsock, Bluetooth, ...)",
            hint="leave --security-opt seccomp=unconfined out",
        )
    if not isinstance(profile, dict) or not all(isinstance(rule, dict) for rule in profile.get("syscalls") or ()):
        raise SpecError("the spec's seccomp profile is no object")
    if profile.get("defaultAction") in ALLOWING:
        raise Refused(
            "the container's seccomp profile allows what it does not name, sockets that no rule sees as well",
            hint="use Podman's own profile, or one with another defaultAction",
        )
    kept: List[Dict[str, Any]] = []
    for rule in profile.get("syscalls") or ():
        names = list(rule.get("names") or ())
        if rule.get("action") in REPLACED:
            names = [name for name in names if name not in CALLS]
        if names:
            kept.append({**rule, "names": names})
    opened = [_allow(_equal(0, family)) for family in OPEN_FAMILIES]
    opened.append(_allow(_equal(0, AF_NETLINK), _equal(2, NETLINK_ROUTE)))
    profile["syscalls"] = kept + opened
    if profile.get("architectures"):
        profile["architectures"] = [name for name in profile["architectures"] if name != MULTIPLEXED]


def _allow(*conditions: Dict[str, Any]) -> Dict[str, Any]:
    return {"names": ["socket"], "action": ALLOW, "args": list(conditions)}


def _equal(index: int, value: int) -> Dict[str, Any]:
    return {"index": index, "value": value, "op": "SCMP_CMP_EQ"}
