"""precreate of a container that somebody asks to isolate: settle the policy, refuse or harden, isolate or have it done.

Where Podman has made the network namespace already (bridge, pasta, slirp4netns, another container's) the rules are
loaded here, which saves a second Python start; where the runtime makes it, a createRuntime hook of the same run loads
them.
"""

import json
import os
from typing import Any, Dict, List, Optional, Tuple

from rcc.app.ask import joins_unlabelled, request_of
from rcc.app.policies import Policies
from rcc.app.resolve import Names
from rcc.app.select import Selection
from rcc.core import admission
from rcc.core.errors import Refused
from rcc.core.oci import add_hook, hosts, resolv_conf
from rcc.core.policy import Policy
from rcc.core.request import Request
from rcc.system.state import Member, Settled, State

PYTHON = "/usr/bin/python3"
HOOK = ("python3", "-IS", "/usr/libexec/rcc/rcc-hook")
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
    if not request.profile:
        return None
    spec, config = selection.spec, selection.config
    netns = admission.settle_netns(spec, config)
    admission.refuse_undoing(spec, config)
    admission.refuse_pasta_ports(config)
    policy, notes = settle_policy(request, policies)
    admission.check_image(
        policy.image, tuple(str(config.get(key) or "") for key in ("RawImageName", "rootfsImageName"))
    )
    for capability in admission.has_capabilities(spec, admission.DROPPED):
        notes += (f"the capability {capability[4:]} was dropped",)
    admission.drop_capabilities(spec, admission.DROPPED)
    notes += admission.apply_limits(spec, policy.limits)
    run = os.urandom(8).hex()
    settled = Settled(
        member=Member(selection.container, selection.name, run),
        policy=policy,
        source=request.source,
        notes=(*request.notes, *notes),
        published=admission.published_ports(config, policy),
        resolv_conf=resolv_conf(spec) if netns.path or config.get("postConfigureNetNS") else "",
        hosts=hosts(spec),
        dns_servers=tuple(str(server) for server in config.get("dnsServer") or ()),
    )
    if netns.path:
        from rcc.app.isolate import isolate

        isolate(state, settled, netns.path, names, bare=joins_unlabelled(selection))
    else:
        state.write_settled(settled)
        _add(spec, "createRuntime", [run, REFUSED])
    _add(spec, "poststop", [run])
    return json.dumps(spec).encode()


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


def run_of(spec: Dict[str, Any], stage: str) -> str:
    """The token of the run whose hook of ``stage`` precreate has added to ``spec``, empty when there is none."""
    for hook in (spec.get("hooks") or {}).get(stage) or ():
        words = hook.get("args") or ()
        if (
            hook.get("path") == PYTHON
            and tuple(words[: len(HOOK) + 1]) == (*HOOK, stage)
            and len(words) > len(HOOK) + 1
        ):
            return str(words[len(HOOK) + 1])
    return ""


def _add(spec: Dict[str, Any], stage: str, words: List[str]) -> None:
    add_hook(spec, stage, PYTHON, [*HOOK, stage, *words], list(ENVIRONMENT), TIMEOUT)
