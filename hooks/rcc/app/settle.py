"""Settle what one start of a container gets: everything that is refused, then the policy.  The same for every hook.

Nothing is loaded or hardened here: precreate goes on with ``admit.py``, engines that have none with ``annotated.py``.
"""

import os
from typing import Any, Dict, List, NamedTuple, Protocol, Tuple

from rcc.app.policies import Policies
from rcc.core import admission
from rcc.core.errors import Refused
from rcc.core.oci import annotations, hosts, resolv_conf
from rcc.core.policy import Policy
from rcc.core.request import Request
from rcc.system.owner import owner_uid
from rcc.system.podman_db import Stored
from rcc.system.state import Member, Settled, State


class Profiles(Protocol):
    """Who knows the policies of profiles."""

    def profile(self, name: str) -> Policy:
        """The policy of a profile.  Raises Refused, ConfigError."""


class Container(NamedTuple):
    """A container that is to be isolated.

    spec: its OCI spec.  config: Podman's ContainerConfig, empty for other engines.  owners: those whose network is
    joined.
    """

    spec: Dict[str, Any]
    config: Dict[str, Any]
    owners: Tuple[Stored, ...]

    @property
    def image_names(self) -> Tuple[str, ...]:
        """The image's names as the user gave it and as it is stored, or what CRI-O says of it."""
        if self.config:
            return tuple(str(self.config.get(key) or "") for key in ("RawImageName", "rootfsImageName"))
        return (annotations(self.spec).get("io.kubernetes.cri-o.ImageName", ""),)


def settle(container: Container, member: Member, request: Request, state: State, policies: Policies) -> Settled:
    """What this start gets.  Raises Refused for what cannot be isolated, ConfigError for broken policy files."""
    spec, config, owners = container
    admission.settle_netns(spec, config)
    admission.refuse_undoing(spec, config)
    admission.refuse_pasta_ports(config)
    for owner in owners:
        _refuse_owner(owner)
    admission.refuse_mounts(_real_sources(spec), os.path.realpath(state.root))
    member = member._replace(profile=request.profile, image_profile=request.image_profile)
    policy, notes = settle_policy(member, policies)
    if owner_uid() != 0:
        admission.refuse_rootless_ports([config, *(owner.config for owner in owners)], policy)
    admission.check_image(policy.image, container.image_names)
    return Settled(
        member=member,
        policy=policy,
        source=request.source,
        notes=(*request.notes, *notes),
        published=admission.published_ports(config, policy),
        resolv_conf=resolv_conf(spec),
        hosts=hosts(spec),
        dns_servers=tuple(str(server) for server in config.get("dnsServer") or ()),
    )


def settle_policy(asked: Member, policies: Profiles) -> "Tuple[Policy, Tuple[str, ...]]":
    """The policy of what was asked for; what the image names beside it counts only as far as it tightens.

    Notes tell what did not count.  Raises Refused for a profile that is unknown or not allowed, ConfigError for broken
    files.
    """
    policy = policies.profile(asked.profile)
    if not asked.image_profile:
        return policy, ()
    from rcc.core.within import is_within

    try:
        tighter = policies.profile(asked.image_profile)
    except Refused as error:
        return policy, (f"the image names a profile that is not to be had: {error.message}",)
    if is_within(tighter, policy):
        return tighter, ()
    return policy, (f"the image names the profile {asked.image_profile}, which is wider: passed over",)


def _refuse_owner(owner: Stored) -> None:
    """Raise Refused when the container whose network is joined could undo isolation, or has a foreign network."""
    made_with: Dict[str, Any] = owner.config.get("spec") or {}
    try:
        admission.settle_netns(made_with, owner.config)
        admission.refuse_undoing(made_with, owner.config)
        admission.refuse_pasta_ports(owner.config)
    except Refused as error:
        name = str(owner.config.get("name") or owner.id)
        where = f"container {name}, whose network this one joins"
        raise Refused(error.message, hint=error.hint, where=where) from error


def _real_sources(spec: Dict[str, Any]) -> List[str]:
    """The real paths on the host of all that is bound into the container from a path."""
    mounts = spec.get("mounts") or ()
    sources = [str(mount.get("source") or "") for mount in mounts if isinstance(mount, dict)]
    return [os.path.realpath(source) for source in sources if source.startswith("/")]
