"""The verbs reload, allow and deny: the policies of running containers, changed by the agent."""

import asyncio
from typing import Any, Dict, List, Mapping, Optional, Tuple

from rcc.app.containers import find
from rcc.app.facts import names_of
from rcc.app.hands import Hands
from rcc.app.release import forget_ended
from rcc.app.reload import Reloaded, boot_seconds, current_sources, due, new_policy, reload_record
from rcc.core.change import ALLOW, DENY, Change, live, with_change, yaml_lines
from rcc.core.change_text import parse_change
from rcc.core.errors import AgentError, RccError
from rcc.core.explain import rule_text
from rcc.core.quantities import render_duration
from rcc.core.sources import Sources
from rcc.system.state import Record, State

LOOKUP_SECONDS = 5.0
EXPIRE_SECONDS = 1.0
AGAIN_SECONDS = 10.0  # after a failure


async def reload(hands: Hands, arguments: Mapping[str, Any]) -> Dict[str, Any]:
    """``containers``: names or ids, none for all.  What could not be reloaded is told beside what could."""
    wanted = arguments.get("containers")
    if not isinstance(wanted, list) or not all(isinstance(word, str) for word in wanted):
        raise AgentError("containers must be a list of names or ids")
    records = {record.netns: record for record in await hands.work(records_of, hands.root, wanted)}
    sources = await hands.work(current_sources)
    jobs = [_settled(hands, record, record.changes, sources) for record in records.values()]
    results = await asyncio.gather(*jobs, return_exceptions=True)
    reloaded: List[Dict[str, Any]] = []
    failed: List[Dict[str, Any]] = []
    for record, result in zip(records.values(), results):
        if isinstance(result, Reloaded):
            reloaded.append(_told(result))
        elif isinstance(result, RccError):
            problems = getattr(result, "problems", (result,))
            told = [{"error": str(problem), "hint": problem.hint} for problem in problems]
            failed.append({"containers": _names(record), "problems": told})
        else:
            raise result
    return {"reloaded": reloaded, "failed": failed}


async def allow(hands: Hands, arguments: Mapping[str, Any]) -> Dict[str, Any]:
    """``container``, ``target``, ``private``, ``seconds`` (None: for as long as it runs)."""
    return await _change(hands, ALLOW, arguments)


async def deny(hands: Hands, arguments: Mapping[str, Any]) -> Dict[str, Any]:
    """``container``, ``target``."""
    return await _change(hands, DENY, arguments)


async def _change(hands: Hands, verb: str, arguments: Mapping[str, Any]) -> Dict[str, Any]:
    container, target, seconds = (arguments.get(key) for key in ("container", "target", "seconds"))
    if not isinstance(container, str) or not isinstance(target, str) or not isinstance(seconds, (int, type(None))):
        raise AgentError(f"{verb} needs a container and a target")
    until: Optional[float] = None if seconds is None else boot_seconds() + seconds
    change = parse_change(verb, target, private=arguments.get("private") is True, until=until)
    record = await hands.work(find, State(hands.root), container)
    changes = with_change(live(record.changes, boot_seconds()), change)
    result = await _settled(hands, record, changes, await hands.work(current_sources))
    hands.log.info(verb, netns=record.netns, containers=_names(record), target=str(change), seconds=seconds)
    hands.gateway.event(record.netns, verb, str(change) + (f" for {render_duration(seconds)}" if seconds else ""))
    lines = yaml_lines(change) if verb == ALLOW else []
    return {**_told(result), "change": str(change), "for_good": lines}


async def _settled(hands: Hands, record: Record, changes: Tuple[Change, ...], sources: Sources) -> Reloaded:
    """Reload one namespace.  Raises RccError; nothing has changed then."""
    changes = live(changes, boot_seconds())
    policy, notes = await hands.work(new_policy, record, changes, sources)
    answers = await hands.lookup.answers(names_of(policy), LOOKUP_SECONDS)
    known = hands.history.names_of(record.netns)
    peers = {address: known[address] for address in hands.neighbours.still_peers(record, known)}
    hands.gateway.hold(record.netns)
    try:
        result: Reloaded = await hands.work(
            reload_record, State(hands.root), record.netns, policy, changes, answers, known, peers
        )
        await hands.gateway.adopt(result.after)
    finally:
        hands.gateway.release(record.netns)
    hands.refresher.rescan()
    hands.log.info("reloaded", netns=record.netns, containers=_names(record), generation=result.after.generation)
    opened, closed = _difference(result)
    text = "; ".join([*(f"+ {rule}" for rule in opened), *(f"- {rule}" for rule in closed)])
    hands.gateway.event(record.netns, "policy", text or "loaded anew, no destination opened or closed")
    return result._replace(notes=(*notes, *result.notes))


async def expire(hands: Hands) -> None:
    """Take changes back when their time is over, until cancelled."""
    again: Dict[int, float] = {}
    while True:
        await asyncio.sleep(EXPIRE_SECONDS)
        now = boot_seconds()
        for record in hands.refresher.records():
            if not due(record, now) or again.get(record.netns, 0.0) > now:
                continue
            try:
                await _settled(hands, record, record.changes, await hands.work(current_sources))
                again.pop(record.netns, None)
            except RccError as error:
                again[record.netns] = now + AGAIN_SECONDS
                hands.log.error("not_taken_back", netns=record.netns, error=str(error), hint=error.hint)


def records_of(root: str, wanted: List[str]) -> List[Record]:
    """The records of these containers, of all without any.  Raises NotFound."""
    state = State(root)
    forget_ended(state)
    return [find(state, word) for word in wanted] if wanted else list(state.records())


def _names(record: Record) -> List[str]:
    return [member.name or member.container[:12] for member in record.members]


def _told(result: Reloaded) -> Dict[str, Any]:
    opened, closed = _difference(result)
    return {
        "containers": _names(result.after),
        "netns": result.after.netns,
        "generation": result.after.generation,
        "opened": opened,
        "closed": closed,
        "notes": list(result.notes),
    }


def _difference(result: Reloaded) -> Tuple[List[str], List[str]]:
    """The rules that were added, and those that were taken away."""
    before = {rule_text(rule) for rule in result.before.policy.egress}
    after = {rule_text(rule) for rule in result.after.policy.egress}
    return sorted(after - before), sorted(before - after)
