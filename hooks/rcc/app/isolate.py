"""Load the rules into a container's network namespace, prove that they are there, remember it.

Used at precreate where the engine has made the namespace already, and at createRuntime where the runtime makes it.
Whatever goes wrong raises, and the container does not start.
"""

import time
from typing import Optional, Tuple

from rcc.app.facts import facts_of, names_of
from rcc.app.resolve import Names
from rcc.core.compile import compile_ruleset
from rcc.core.policy import Policy
from rcc.core.render_nft import render_nft
from rcc.core.within import strictest
from rcc.system.netns import inode_of, inside
from rcc.system.nft import Nft
from rcc.system.state import Member, Record, Settled, State

GENERATIONS = 0xFFFF


def isolate(state: State, settled: Settled, path: str, names: Names, *, bare: bool) -> Record:
    """Isolate the namespace at ``path`` as was settled, together with the labelled containers that it has already.

    ``bare``: an unlabelled container has (or owns) this namespace too.  Doing it again for the same run changes
    nothing. Where policies meet, what both allow is what holds (threat 41).  Raises KernelError when rules do not load
    or read back.
    """
    netns = inode_of(path)
    facts = facts_of(settled, names.answers(names_of(settled.policy)), path)
    with state:
        before = state.record(netns)
        published = tuple(sorted({*settled.published, *(() if before is None else before.published)}))

        def load() -> "Tuple[Optional[Record], Policy, int]":
            nft = Nft()
            present = nft.present()
            # The inode of a namespace that is gone is used again; its record says nothing about this one.
            known = before if before is not None and before.ident == present else None
            policy = settled.policy if known is None else strictest(known.policy, settled.policy)
            if known is not None and policy == known.policy and published == known.published:
                return known, policy, known.generation
            generation = next_generation(present)
            ruleset = compile_ruleset(policy, facts._replace(published=published), generation)
            nft.load(render_nft(ruleset, ident_of(netns, generation), quota_used=nft.quota_used()))
            nft.read_back(ruleset, ident_of(netns, generation))
            return known, policy, generation

        before, policy, generation = inside(path, load)
        record = Record(
            netns=netns,
            path=path,
            members=_joined(before, settled.member),
            policy=policy,
            source=settled.source,
            notes=settled.notes,
            generation=generation,
            ident=ident_of(netns, generation),
            published=published,
            resolv_conf=settled.resolv_conf if before is None else before.resolv_conf,
            hosts=settled.hosts if before is None else before.hosts,
            dns_servers=settled.dns_servers if before is None else before.dns_servers,
            bare=bare or (before is not None and before.bare),
            since=time.time() if before is None else before.since,
        )
        state.write_record(record)
    names.changed()
    return record


def next_generation(present: Optional[str]) -> int:
    """The generation after that of the table that is loaded: flows judged by that one must be judged again."""
    if present is None:
        return 1
    tail = present.rpartition(".")[2]
    return int(tail) % GENERATIONS + 1 if tail.isdecimal() else 1


def ident_of(netns: int, generation: int) -> str:
    """What our table in a namespace is marked with."""
    return f"{netns}.{generation}"


def _joined(before: Optional[Record], member: Member) -> Tuple[Member, ...]:
    others = () if before is None else tuple(m for m in before.members if m.run != member.run)
    return (*others, member)
