"""prestart of a container with the annotation ``rcc``, from oci-hooks.d/rcc.json: CRI-O, the NRI hook injector, Podman.

The spec is written and cannot be hardened any more, so what precreate would have dropped is refused here.  Where
precreate has seen the container, its own hooks do the work and this one only makes sure.
"""

import os
from typing import Any, Dict, Tuple

from rcc.app.ask import joins_unlabelled, request_of
from rcc.app.facts import record_facts
from rcc.app.isolate import isolate
from rcc.app.policies import Policies
from rcc.app.resolve import AgentNames
from rcc.app.select import parse_spec, select
from rcc.app.settle import Container, settle
from rcc.core import admission
from rcc.core.compile import compile_ruleset
from rcc.core.errors import Refused, SpecError
from rcc.core.oci import State as OciState
from rcc.core.oci import annotations, container_ref, run_of
from rcc.core.request import KEY, Asked, Request, decide
from rcc.system.netns import inode_of, inside
from rcc.system.nft import Nft
from rcc.system.owner import state_root
from rcc.system.state import Member, State

SPEC_LIMIT = 64 << 20  # bytes


def isolate_annotated(container: OciState) -> None:
    """Isolate the namespace of ``container`` by its annotation.  Raises RccError for one that may not start."""
    data = _read(os.path.join(container.bundle, "config.json"))
    spec = parse_spec(data)
    state = State(state_root())
    path = f"/proc/{container.pid}/ns/net"
    run = run_of(spec, "poststop")
    if run:
        if not run_of(spec, "createRuntime"):
            _make_sure(state, run, path)
        return
    policies = Policies(state)
    request, found, bare = _request(data, spec, container, policies)
    if not request.profile:
        return
    member = Member(container.id, str(found.config.get("name") or ""), container.id)
    settled = settle(found, member, request, state, policies)
    held = admission.has_capabilities(spec, admission.DROPPED)
    if held:
        words = " ".join(f"--cap-drop={name[4:]}" for name in held)
        raise Refused(f"the container has {', '.join(held)}, and no precreate hook to drop it", hint=words)
    isolate(state, settled, path, AgentNames(state.root), bare=bare)


def _request(
    data: bytes, spec: Dict[str, Any], container: OciState, policies: Policies
) -> "Tuple[Request, Container, bool]":
    """Who asks for what, what is known of the container, and whether the namespace is an unlabelled one's."""
    settings = policies.settings()
    # An image that calls itself CRI-O's (Podman to 4.5.0 copies annotations) is isolated all the same, by its spec.
    other_engine = annotations(spec).get("io.container.manager") == "cri-o"
    if not other_engine and container_ref(spec, container.bundle).libpod:
        selection = select(data, container.bundle)
        if selection is None:
            return Request("", "nobody"), Container(spec, {}, ()), False
        request = request_of(
            selection, default_profile=settings.default_profile, always=settings.isolate, locked=settings.locked
        )
        return request, Container(spec, selection.config, selection.found.owners), joins_unlabelled(selection)
    asked = Asked(annotation=annotations(spec).get(KEY, container.annotations.get(KEY)), image_known=True)
    request = decide(asked, default_profile=settings.default_profile, always=settings.isolate, locked=settings.locked)
    return request, Container(spec, {}, ()), False


def _make_sure(state: State, run: str, path: str) -> None:
    """precreate has isolated this very start: its table must be where the container is going to be."""
    record = state.record(inode_of(path))
    if record is not None and any(member.run == run for member in record.members):
        facts = record_facts(record, ())
        ruleset = compile_ruleset(record.policy, facts, record.generation)
        ident = record.ident
        inside(path, lambda: Nft().read_back(ruleset, ident, same_facts=False))
        return
    raise Refused("precreate isolated another network namespace than the container's", hint="start the container again")


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.read(SPEC_LIMIT)
    except OSError as error:
        raise SpecError(f"the container's spec cannot be read: {error.strerror}", where=path) from error
