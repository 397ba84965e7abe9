"""Load the rules into a container's network namespace, prove that they are there, remember it.

Used at precreate where the engine has made the namespace already, and at createRuntime where the runtime makes it.
Whatever goes wrong raises, and the container does not start.
"""

import time

from rcc.app.facts import facts_of, names_of
from rcc.app.release import forget_ended
from rcc.app.resolve import Names
from rcc.core.compile import Facts, compile_ruleset
from rcc.core.errors import Refused
from rcc.core.notes import Notes
from rcc.core.render_nft import render_nft
from rcc.core.ruleset import Ruleset
from rcc.core.within import strictest
from rcc.system.netns import OWN, inode_of, inside
from rcc.system.nft import Nft
from rcc.system.state import Record, Settled, State

GENERATIONS = 0xFFFF


def isolate(state: State, settled: Settled, path: str, names: Names, *, bare: bool) -> Record:
    """Isolate the namespace at ``path`` as was settled, together with the labelled containers that it has already.

    ``bare``: an unlabelled container has (or owns) this namespace too.  Doing it again for the same run changes
    nothing. Where policies meet, what both allow is what holds (threat 41).  Raises KernelError when rules do not load
    or read back, Refused for the host's own network and for one whose rules are there without their record.
    """
    forget_ended(state)
    netns = inode_of(path)
    if netns == inode_of(OWN):
        raise Refused(
            "the container shares the host's own network, which rcc never touches",
            hint="leave --network=host out, also for the container whose network this one joins",
        )
    facts = facts_of(settled, names.answers(names_of(settled.policy)), path)
    with state:
        record = inside(path, lambda: _load(state, settled, facts, netns, path, bare))
    names.serve(record)
    return record


def _load(state: State, settled: Settled, facts: Facts, netns: int, path: str, bare: bool) -> Record:
    """The namespace's new record, once the kernel holds what it says.  Runs inside the namespace."""
    before = state.record(netns)
    nft = Nft()
    present = nft.present()
    if present is None:
        # No labelled container has been here; a record of this inode is about another namespace that is gone.
        first = Record(
            netns=netns,
            path=path,
            members=(settled.member,),
            generation=1,
            ident=ident_of(netns, 1),
            bare=bare,
            since=time.time(),
            **{field: getattr(settled, field) for field in Settled._fields if field != "member"},
        )
        return _loaded(state, nft, first, facts, Notes())
    if before is None or before.ident != present:
        raise Refused(
            "the network is isolated already, but what rcc knew of it is lost: nobody can tell what it may allow",
            hint="stop all containers that share this network, then start them again",
        )
    joined = before._replace(
        members=(*(member for member in before.members if member.run != settled.member.run), settled.member),
        policy=strictest(before.policy, settled.policy),
        published=tuple(sorted({*before.published, *settled.published})),
        bare=bare or before.bare,
    )
    if (joined.policy, joined.published) == (before.policy, before.published):
        with state.replacing_record(joined):
            nft.read_back(_ruleset(joined, facts), joined.ident, same_facts=False)
        return joined
    generation = before.generation % GENERATIONS + 1
    from rcc.system.nft_notes import read_notes  # costs a start 3 ms, and few containers join one that is stricter

    joined = joined._replace(generation=generation, ident=ident_of(netns, generation))
    return _loaded(state, nft, joined, facts, read_notes())


def _loaded(state: State, nft: Nft, record: Record, facts: Facts, notes: Notes) -> Record:
    ruleset = _ruleset(record, facts)
    with state.replacing_record(record):
        nft.load(render_nft(ruleset, record.ident, notes))
        nft.read_back(ruleset, record.ident)
    return record


def _ruleset(record: Record, facts: Facts) -> Ruleset:
    return compile_ruleset(record.policy, facts._replace(published=record.published), record.generation)


def ident_of(netns: int, generation: int) -> str:
    """What our table in a namespace is marked with."""
    return f"{netns}.{generation}"
