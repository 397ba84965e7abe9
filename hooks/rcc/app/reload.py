"""Give a running namespace its policy anew: from its members' profiles, with the changes made to it meanwhile.

The whole table is replaced in one transaction, under the next generation, so every flow is judged again.  What the new
policy still allows goes on: addresses that are open now stay so for the time they had left, and established flows to
whatever its names have stood for.  If anything fails, the table and the record before stand.
"""

import time
from typing import Dict, Iterable, List, Mapping, NamedTuple, Optional, Tuple

from rcc.app.facts import facts_of
from rcc.app.isolate import GENERATIONS, ident_of
from rcc.app.settle import settle_policy
from rcc.core.change import ALLOW, Change, changed, live, profile_text
from rcc.core.compile import compile_ruleset
from rcc.core.elements import apart, disjoint
from rcc.core.errors import KernelError, Refused
from rcc.core.layers import merge_profile, resolve_profile
from rcc.core.names import Answers
from rcc.core.nft_listing import Timed
from rcc.core.openings import Openings
from rcc.core.policy import Limits, Policy
from rcc.core.render_nft import render_nft
from rcc.core.ruleset import Element, Ruleset
from rcc.core.sources import PROFILE, Source, Sources
from rcc.core.special import Address
from rcc.core.within import strictest
from rcc.system.addresses import own_addresses
from rcc.system.configfiles import read_sources
from rcc.system.netns import OWN, inode_of, inside
from rcc.system.nft import Nft
from rcc.system.nft_notes import read_notes
from rcc.system.owner import home_of, owner_uid
from rcc.system.state import Record, State

CHANGED = "rcc-changed-profile"  # a name that no file has: its letters are a profile's
Known = Mapping[Address, Tuple[str, ...]]  # an address to the names that it has stood for
# What the engine has set at the start of a container, which stays until the next one.
AT_START = ("memory", "cpus", "pids", "nofile")


class Reloaded(NamedTuple):
    """``before`` and ``after`` are the records; ``notes`` say what the new policy changes only at the next start."""

    before: Record
    after: Record
    notes: Tuple[str, ...] = ()


def boot_seconds() -> float:
    """CLOCK_BOOTTIME: it goes on while the machine sleeps, and nobody sets it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class ChangedProfiles:
    """The policies of profiles as the files say now, with the changes of one container in them."""

    def __init__(self, sources: Sources, changes: Iterable[Change]) -> None:
        self._sources = sources
        self._changes = tuple(changes)

    def profile(self, name: str) -> Policy:
        """The policy of a profile.  Raises Refused, ConfigError, RccError for a change that it cannot take."""
        policy = merged = resolve_profile(name, self._sources)
        if any(change.verb == ALLOW for change in self._changes):
            text = profile_text(name, self._changes)
            more = Source("user", PROFILE, CHANGED, "rcc allow", text)
            merged = merge_profile(CHANGED, (*self._sources, more))._replace(name=name)
        return changed(policy, merged, self._changes)


def current_sources() -> Sources:
    """All policy files as they are now."""
    return read_sources(home=home_of(owner_uid())).sources


def new_policy(record: Record, changes: Tuple[Change, ...], sources: Sources) -> "Tuple[Policy, Tuple[str, ...]]":
    """The policy of a namespace by the files of this moment, and notes.  Raises Refused, ConfigError, RccError."""
    profiles = ChangedProfiles(sources, changes)
    found: Optional[Policy] = None
    notes: List[str] = []
    for member in record.members:
        if not member.profile:
            raise Refused(
                f"{member.name or member.container[:12]} was started by an rcc that did not note its profile",
                hint="start it again",
            )
        policy, told = settle_policy(member, profiles)
        notes += told
        found = policy if found is None else strictest(found, policy)
    if found is None:
        raise Refused("no labelled container is in this namespace")
    return found, tuple(notes)


def reload_record(
    state: State, netns: int, policy: Policy, changes: Tuple[Change, ...], answers: Answers, known: Known, peers: Known
) -> Reloaded:
    """Load ``policy`` into the namespace ``netns``.

    answers: of the names of a static policy.  known: which names addresses have stood for (system/history.py).
    peers: those of them that are other containers' now.  Raises KernelError, Refused; nothing has changed then.
    """
    with state:
        before = state.record(netns)
        if before is None:
            raise Refused("the namespace is not on record any more")
        generation = before.generation % GENERATIONS + 1
        after = before._replace(
            policy=policy, changes=changes, generation=generation, ident=ident_of(netns, generation)
        )
        if policy.ingress != "published":
            after = after._replace(published=())
        facts = facts_of(after, answers, before.path)._replace(published=after.published)
        own = own_addresses()

        def load() -> None:
            if inode_of(OWN) != netns:
                raise KernelError("the namespace on record is gone, and another is in its place", where=before.path)
            nft = Nft()
            if nft.present() != before.ident:
                raise KernelError("the table in this namespace is not the one on record", where=before.path)
            ruleset = compile_ruleset(policy, facts, generation)
            ruleset = with_open(ruleset, Openings(policy, own), nft.timed(), known, peers)
            nft.load(render_nft(ruleset, after.ident, read_notes()))
            nft.read_back(ruleset, after.ident)

        with state.replacing_record(after):
            inside(before.path, load)
    return Reloaded(before, after, tuple(_notes(before.policy, policy)))


def with_open(ruleset: Ruleset, openings: Openings, timed: Iterable[Timed], known: Known, peers: Known) -> Ruleset:
    """``ruleset`` with what is open now and still allowed, and with all that its names have stood for as former.

    timed: the elements in the kernel; an address among them is judged by the names that it stood for.
    """
    left: Dict[Address, int] = {}
    for address, seconds in timed:
        left[address] = max(left.get(address, 0), seconds)
    found: Dict[str, List[Element]] = {"private": list(ruleset.private), "allowed": list(ruleset.allowed)}
    former: List[Element] = list(ruleset.former)
    for address, names in known.items():
        opened = [element for name in names for element in openings.open(name, (address,), 0).elements]
        if address in peers:
            opened += openings.open_peer((address,), 0).elements
        for kind, element in opened:
            former.append(element._replace(lifetime=None))
            if left.get(address):
                found[kind].append(element._replace(lifetime=left[address]))
    return ruleset._replace(private=apart(found["private"]), allowed=apart(found["allowed"]), former=disjoint(former))


def _notes(before: Policy, after: Policy) -> Iterable[str]:
    """What of a new policy does not hold for a container that runs already."""
    for key in Limits._fields:
        if key in AT_START and getattr(before.limits, key) != getattr(after.limits, key):
            yield f"limits.{key} changes at the container's next start"
    if before.image != after.image:
        yield "image rules are asked at the container's next start"
    if before.ingress != after.ingress and after.ingress == "published":
        yield "ingress: published opens ports at the container's next start"


def due(record: Record, now: float) -> bool:
    """Whether a change of the record has run out."""
    return len(live(record.changes, now)) < len(record.changes)
