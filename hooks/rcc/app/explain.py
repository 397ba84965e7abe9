"""``rcc explain``: whether a destination is allowed, and which line of which file decides."""

from typing import Any, Dict, List, Optional

from rcc.app.containers import find
from rcc.app.policies import Policies
from rcc.core.explain import Explanation, explain, parse_target
from rcc.core.policy_json import rule_to_data
from rcc.system.owner import state_root
from rcc.system.state import State


def explain_target(target: str, profile: Optional[str] = None, container: Optional[str] = None) -> Explanation:
    """What the policy in force for ``container`` says, or else what ``profile`` (None: the default one) would.

    Raises TargetError, NotFound, Refused for an unknown profile, ConfigError for files that are wrong.
    """
    wanted = parse_target(target)  # a slip in it should not wait for the files
    state = State(state_root())
    if container:
        return explain(find(state, container).policy, wanted)
    policies = Policies(state)
    return explain(policies.profile(profile or policies.settings().default_profile), wanted)


def explain_lines(found: Explanation) -> List[str]:
    """For people: the verdict, the line that decides, and why."""
    lines = [f"{found.target} is {'allowed' if found.allowed else 'not allowed'}"]
    if found.rule is not None:
        lines.append(f"    decided by {found.where}")
    return [*lines, *(f"    {why}" for why in found.why)]


def explain_data(found: Explanation) -> Dict[str, Any]:
    """For ``--json``."""
    return {
        "target": str(found.target),
        "allowed": found.allowed,
        "rule": None if found.rule is None else rule_to_data(found.rule),
        "where": str(found.where),
        "why": list(found.why),
    }
