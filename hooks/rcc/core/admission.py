"""What cannot be isolated is refused; what can is hardened.  Pure functions over an OCI spec and Podman's own record of
it.

The spec is the OCI runtime configuration (config.json) as a dict.  ``config`` is Podman's ContainerConfig
(libpod/container_config.go, 4.3.1 and 5.4.2), empty for other engines.
"""

from fnmatch import fnmatchcase
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from rcc.core.errors import Refused, SpecError
from rcc.core.policy import ImageRules, Limits, Policy, Ports

# With one of these a process can undo the ruleset, leave the namespace or reach the host around it (capabilities(7)).
UNDOING = (
    "CAP_NET_ADMIN",
    "CAP_SYS_ADMIN",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_BPF",
    "CAP_PERFMON",
    "CAP_DAC_READ_SEARCH",
)
# These are dropped without a word: many engines give NET_RAW to everybody, and packet sockets pass by every inet chain.
DROPPED = ("CAP_NET_RAW",)
CAPABILITY_SETS = ("bounding", "effective", "inheritable", "permitted", "ambient")

# Runtimes whose containers use the kernel's own network stack in the namespace that the hook sees.  runsc, Kata and
# krun put frames on the wire past inet hooks (gvisor runsc/sandbox/network.go; kata
# docs/design/architecture/networking.md).
RUNTIMES = ("crun", "runc")


def has_capabilities(spec: Mapping[str, Any], names: Tuple[str, ...]) -> Tuple[str, ...]:
    """Those of ``names`` that any capability set of the process holds, in order."""
    sets = _mapping(_mapping(spec, "process"), "capabilities")
    held = {name for kind in CAPABILITY_SETS for name in sets.get(kind) or ()}
    return tuple(name for name in names if name in held)


def drop_capabilities(spec: Dict[str, Any], names: Tuple[str, ...]) -> None:
    """Take ``names`` out of every capability set of the process."""
    sets = _mapping(_mapping(spec, "process"), "capabilities")
    for kind in CAPABILITY_SETS:
        if sets.get(kind):
            sets[kind] = [name for name in sets[kind] if name not in names]


def refuse_undoing(spec: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Raise Refused for a container that could take its own isolation down."""
    if config.get("privileged"):
        raise Refused(
            "--privileged gives the container every right to remove its own isolation",
            hint="leave --privileged out, or run it without the label rcc",
        )
    held = has_capabilities(spec, UNDOING)
    if _sees_other_processes(spec):
        held += has_capabilities(spec, ("CAP_SYS_PTRACE",))
    if held:
        words = ", ".join(name[4:] for name in held)
        raise Refused(
            f"the capability {words} lets the container remove its own isolation",
            hint=" ".join(f"--cap-drop={name[4:]}" for name in held) + " (or leave --cap-add out)",
        )
    runtime = str(config.get("runtime") or "")
    name = runtime.rpartition("/")[2]
    if name and name not in RUNTIMES:
        raise Refused(
            f"rcc cannot see the traffic of containers of the runtime {name!r}",
            hint="use --runtime crun or --runtime runc",
        )


def settle_netns(spec: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """The path of the namespace to isolate, empty while the runtime has yet to make it.

    Raises Refused when the container uses the host's or a foreign one.  For a container that joins another's namespace
    ask for the owner too, with the spec and the configuration that it was made with.
    """
    own = _namespaces(spec, "network")
    if not own:
        raise Refused(
            "the container uses the host's own network, which rcc never touches",
            hint="leave --network=host out",
        )
    path = str(own[0].get("path") or "")
    if path and config and not config.get("netNsCtr") and not config.get("createNetNS"):
        raise Refused(
            f"the network namespace {path} was made by somebody else, who may still change it",
            hint="use --network=bridge, none, pasta or slirp4netns instead of --network=ns:PATH",
        )
    return path


def refuse_rootless_ports(configs: Iterable[Mapping[str, Any]], policy: Policy) -> None:
    """Raise Refused for published ports that reach the container past the rules.

    Rootless engines forward them by a process inside the container's namespace (RootlessKit's builtin port driver,
    pasta's spliced connections), so they come from its own loopback, which is open to itself (seen with Podman 4.3.1).
    """
    if policy.ingress != "published" and any(_port_mappings(config) for config in configs):
        raise Refused(
            "without root, published ports reach the container past its rules, and its policy admits no ingress",
            hint="leave --publish out, or use a profile with `ingress: published`",
        )


def refuse_mounts(sources: Iterable[str], kept: str) -> None:
    """Raise Refused when a mount shows the container the folder ``kept``, with rcc's state and its agent's socket.

    ``sources``: the real paths on the host of all that is bound into the container.  Whoever reaches that folder can
    change what rcc knows of other containers; a read-only mount is enough for the socket.
    """
    for source in sources:
        folder = source.rstrip("/") + "/"
        if f"{kept}/".startswith(folder) or folder.startswith(f"{kept}/"):
            raise Refused(
                f"the mount of {source} shows the container what rcc keeps in {kept}",
                hint="mount the folders that the container needs, one by one",
            )


def _sees_other_processes(spec: Mapping[str, Any]) -> bool:
    """Whether the container has the host's process ids, or another container's."""
    own = _namespaces(spec, "pid")
    return not own or bool(own[0].get("path"))


def _namespaces(spec: Mapping[str, Any], kind: str) -> List[Dict[str, Any]]:
    return [entry for entry in _mapping(spec, "linux").get("namespaces") or () if entry.get("type") == kind]


def _port_mappings(config: Mapping[str, Any]) -> Sequence[Any]:
    return config.get("newPortMappings") or config.get("portMappings") or ()


def refuse_pasta_ports(config: Mapping[str, Any]) -> None:
    """Raise Refused for pasta options that put ports of the host on the container's loopback (passt(1) -T, -U)."""
    options: List[str] = []
    for name, values in (config.get("network_options") or {}).items():
        if name == "pasta":
            for value in values or ():
                options.extend(str(value).split(","))
    wanted: Optional[str] = None
    for option in options:
        if wanted is not None:
            _refuse_unless_none(wanted, option)
            wanted = None
            continue
        name, separator, value = option.partition("=")
        short = name[:2] in ("-T", "-U") and not name.startswith("--")
        if name in ("--tcp-ns", "--udp-ns") or (short and len(name) == 2):
            wanted = None if separator else name
            if separator:
                _refuse_unless_none(name, value)
        elif short:
            _refuse_unless_none(name[:2], name[2:])
    if wanted is not None:
        _refuse_unless_none(wanted, "")


def _refuse_unless_none(option: str, value: str) -> None:
    if value != "none":
        raise Refused(
            f"pasta's option {option} {value} puts ports of the host on the container's own loopback",
            hint=f"leave {option} out; a service of the host is opened by name in the policy: host.containers.internal",
        )


def check_image(rules: ImageRules, names: Tuple[str, ...]) -> None:
    """Raise Refused when an image with these names (as the user gave it, as it is stored) may not run."""
    if not rules.allow and not rules.require_digest:
        return
    known = tuple(name for name in names if name)
    shown = known[0] if known else "without a name"
    if rules.require_digest and not any("@sha256:" in name for name in known):
        raise Refused(
            f"the policy wants images pinned by digest, and {shown} is not",
            hint="run it as NAME@sha256:DIGEST; podman image inspect --format '{{.RepoDigests}}' IMAGE prints it",
        )
    if rules.allow and not any(fnmatchcase(_bare_name(name), pattern) for name in known for pattern in rules.allow):
        raise Refused(
            f"the image {shown} is not among those that the policy allows: {', '.join(rules.allow)}",
            hint="use an allowed image, or ask whoever keeps the policy to add it under image.allow",
        )


def _bare_name(name: str) -> str:
    """``registry/path`` of an image name, without tag and digest."""
    name = name.partition("@")[0]
    head, slash, tail = name.rpartition("/")
    return head + slash + tail.partition(":")[0]


def apply_limits(spec: Dict[str, Any], limits: Limits) -> Tuple[str, ...]:
    """Set the limits that the container has not set itself; returns a note for each that was.

    Memory in bytes, cpus as CFS quota over a period of 100 ms, pids, open files as RLIMIT_NOFILE (OCI runtime-spec,
    config-linux.md and config.md).  Podman writes its own default for pids (2048) into every spec, so that one is
    lowered.
    """
    notes = []
    resources = _mapping(_mapping(spec, "linux", make=True), "resources", make=True)
    memory = _mapping(resources, "memory", make=True)
    if limits.memory is not None and not (memory.get("limit") or 0) > 0:
        memory["limit"] = limits.memory
        notes.append(f"memory limited to {limits.memory} bytes")
    cpu = _mapping(resources, "cpu", make=True)
    if limits.cpus is not None and not (cpu.get("quota") or 0) > 0:
        cpu["period"], cpu["quota"] = 100000, int(limits.cpus * 100000)
        notes.append(f"processors limited to {limits.cpus:g}")
    pids = _mapping(resources, "pids", make=True)
    if limits.pids is not None and not 0 < (pids.get("limit") or 0) <= limits.pids:
        pids["limit"] = limits.pids
        notes.append(f"processes limited to {limits.pids}")
    for name in [name for name in ("memory", "cpu", "pids") if not resources[name]]:
        del resources[name]
    if limits.nofile is not None:
        rlimits = _mapping(spec, "process", make=True).setdefault("rlimits", [])
        own = [entry for entry in rlimits if entry.get("type") == "RLIMIT_NOFILE"]
        if not own or int(own[0].get("soft", 0)) > limits.nofile:
            rlimits[:] = [entry for entry in rlimits if entry.get("type") != "RLIMIT_NOFILE"]
            rlimits.append({"type": "RLIMIT_NOFILE", "soft": limits.nofile, "hard": limits.nofile})
            notes.append(f"open files limited to {limits.nofile}")
    return tuple(notes)


def published_ports(config: Mapping[str, Any], policy: Policy) -> Tuple[Ports, ...]:
    """The container's ports that flows from outside may open: those of --publish, if the policy admits ingress.

    ContainerConfig holds them as ``newPortMappings`` from Podman 4.0 (``container_port``, ``range``, ``protocol`` with
    several protocols split by commas).
    """
    if policy.ingress != "published":
        return ()
    found = set()
    for mapping in _port_mappings(config):
        low = int(mapping.get("container_port") or mapping.get("containerPort") or 0)
        high = low + max(int(mapping.get("range") or 1), 1) - 1
        for protocol in str(mapping.get("protocol") or "tcp").lower().split(","):
            if protocol in ("tcp", "udp") and 0 < low <= high <= 65535:
                found.add(Ports(protocol, low, high))
    return tuple(sorted(found))


def _mapping(parent: Mapping[str, Any], key: str, *, make: bool = False) -> Dict[str, Any]:
    value = parent.get(key)
    if value is None:
        value = {}
        if make and isinstance(parent, dict):
            parent[key] = value
    if not isinstance(value, dict):
        raise SpecError(f"{key!r} in the spec is no object")
    return value
