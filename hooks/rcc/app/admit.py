"""precreate of a container that somebody asks to isolate: settle the policy, refuse or harden, isolate or have it done.

Where Podman has made the network namespace already (bridge, pasta, slirp4netns, another container's) the rules are
loaded here, which saves a second Python start; where the runtime makes it, a createRuntime hook of the same run loads
them.
"""

import json
import os
from typing import Any, Dict, Optional, Tuple

from rcc.app.announce import KEY, LEARN
from rcc.app.ask import joins_labelled, joins_unlabelled, request_of
from rcc.app.policies import Policies
from rcc.app.resolve import Names
from rcc.app.select import Selection
from rcc.app.settle import Container, settle
from rcc.core import admission
from rcc.core.oci import HOOK, PYTHON, RUN, TOUCH, add_hook, netns_path
from rcc.core.policy import Policy
from rcc.core.seccomp import close_families
from rcc.system.state import Member, State

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
    run = os.urandom(8).hex()
    member = Member(selection.container, selection.name, run)
    settled = settle(Container(spec, config, owners), member, request, state, policies)
    path = netns_path(spec)
    if not path and not config.get("postConfigureNetNS"):  # --network none: there is nobody to ask for names
        settled = settled._replace(resolv_conf="")
    settled = settled._replace(notes=(*settled.notes, *_harden(spec, settled.policy)))
    if settled.policy.mode == LEARN:
        spec.setdefault("annotations", {})[KEY] = LEARN
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


def _harden(spec: Dict[str, Any], policy: Policy) -> "Tuple[str, ...]":
    """Take from the spec what passes by the rules, set the policy's limits; a note for each thing that was changed."""
    dropped = admission.has_capabilities(spec, admission.DROPPED)
    admission.drop_capabilities(spec, admission.DROPPED)
    close_families(spec)
    limits = admission.apply_limits(spec, policy.limits)
    return (*(f"the capability {capability[4:]} was dropped" for capability in dropped), *limits)
