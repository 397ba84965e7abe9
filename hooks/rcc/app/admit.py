"""precreate of a container that somebody asks to isolate: settle the policy, refuse or harden, isolate or have it done.

Where Podman has made the network namespace already (bridge, pasta, slirp4netns, another container's) the rules are
loaded here, which saves a second Python start; where the runtime makes it, a createRuntime hook of the same run loads
them.
"""

import json
import os
from typing import Any, Dict, List, Optional, Tuple

from rcc.app.ask import joins_labelled, joins_unlabelled, request_of
from rcc.app.policies import Policies
from rcc.app.resolve import Names
from rcc.app.select import Selection
from rcc.core import admission
from rcc.core.errors import Refused
from rcc.core.oci import HOOK, PYTHON, RUN, TOUCH, add_hook, hosts, resolv_conf
from rcc.core.policy import Policy
from rcc.core.request import Request
from rcc.core.seccomp import close_families
from rcc.system.owner import owner_uid
from rcc.system.podman_db import Stored
from rcc.system.state import Member, Settled, State

ENVIRONMENT = ("PATH=/usr/sbin:/usr/bin:/sbin:/bin",)
REFUSED = "rcc: refused this container, 'rcc why' tells why"
TIMEOUT = 30  # seconds


def admit(selection: Selection, state: State, names: Names) -> Optional[bytes]:
    """The spec to go on with, None where nothing has to change.  Raises RccError for a container that may not start."""
    policies = Policies(state)
    settings = policies.settings()
    request = request_of(
        selection, default_profile=settings.default_profile, always=settings.isolate, locked=settings.locked
    )
    owners = selection.found.owners
    if not request.profile:
        if owners and joins_labelled(selection):
            # Not asking does not help where the network is another's, and that one asked.
            admission.refuse_undoing(selection.spec, selection.config)
        return None
    spec, config = selection.spec, selection.config
    path = admission.settle_netns(spec, config)
    admission.refuse_undoing(spec, config)
    admission.refuse_pasta_ports(config)
    for owner in owners:
        refuse_owner(owner)
    admission.refuse_mounts(real_sources(spec), os.path.realpath(state.root))
    policy, notes = settle_policy(request, policies)
    if owner_uid() != 0:
        admission.refuse_rootless_ports([config, *(owner.config for owner in owners)], policy)
    admission.check_image(
        policy.image, tuple(str(config.get(key) or "") for key in ("RawImageName", "rootfsImageName"))
    )
    for capability in admission.has_capabilities(spec, admission.DROPPED):
        notes += (f"the capability {capability[4:]} was dropped",)
    admission.drop_capabilities(spec, admission.DROPPED)
    close_families(spec)
    notes += admission.apply_limits(spec, policy.limits)
    run = os.urandom(8).hex()
    settled = Settled(
        member=Member(selection.container, selection.name, run),
        policy=policy,
        source=request.source,
        notes=(*request.notes, *notes),
        published=admission.published_ports(config, policy),
        resolv_conf=resolv_conf(spec) if path or config.get("postConfigureNetNS") else "",
        hosts=hosts(spec),
        dns_servers=tuple(str(server) for server in config.get("dnsServer") or ()),
    )
    environment = [*ENVIRONMENT, f"{RUN}{run}"]
    if path:
        from rcc.app.isolate import isolate

        isolate(state, settled, path, names, bare=joins_unlabelled(selection))
    else:
        state.write_settled(settled)
        add_hook(spec, "createRuntime", PYTHON, [*HOOK, "createRuntime", run, REFUSED], environment, TIMEOUT)
    if owners:
        add_hook(spec, "poststop", PYTHON, [*HOOK, "poststop", run], environment, TIMEOUT)
    else:  # nothing has to happen at once: the rules go with the namespace
        add_hook(spec, "poststop", TOUCH, ["touch", state.end_of(run)], environment, TIMEOUT)
    return json.dumps(spec).encode()


def refuse_owner(owner: Stored) -> None:
    """Raise Refused when the container whose network is joined could undo isolation, or has a foreign network."""
    made_with: Dict[str, Any] = owner.config.get("spec") or {}
    try:
        admission.settle_netns(made_with, owner.config)
        admission.refuse_undoing(made_with, owner.config)
        admission.refuse_pasta_ports(owner.config)
    except Refused as error:
        name = str(owner.config.get("name") or owner.id)
        raise Refused(
            error.message, hint=error.hint, where=f"container {name}, whose network this one joins"
        ) from error


def real_sources(spec: Dict[str, Any]) -> List[str]:
    """The real paths on the host of all that is bound into the container from a path."""
    mounts = spec.get("mounts") or ()
    sources = [str(mount.get("source") or "") for mount in mounts if isinstance(mount, dict)]
    return [os.path.realpath(source) for source in sources if source.startswith("/")]


def settle_policy(request: Request, policies: Policies) -> "Tuple[Policy, Tuple[str, ...]]":
    """The policy of what was asked for; what the image names beside it counts only as far as it tightens.

    Notes tell what did not count.  Raises Refused for a profile that is unknown or not allowed, ConfigError for broken
    files.
    """
    policy = policies.profile(request.profile)
    if not request.image_profile:
        return policy, ()
    from rcc.core.within import is_within

    try:
        tighter = policies.profile(request.image_profile)
    except Refused as error:
        return policy, (f"the image names a profile that is not to be had: {error.message}",)
    if is_within(tighter, policy):
        return tighter, ()
    return policy, (f"the image names the profile {request.image_profile}, which is wider: passed over",)
