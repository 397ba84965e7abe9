"""Have the running agent do the hook's work: everything that takes a Python start long to import is there already.

Only the agent's success counts, and only that a container is isolated: that one need not be is not its to say.
Where it does not answer, is another rcc's or another namespace's, or has any error to tell, the hook does the work
itself, and what it then finds is what is told.

Imports next to nothing: see tests/unit/test_imports.py.
"""

import posix

from rcc import __version__
from rcc.core.errors import AgentError, RccError
from rcc.core.oci import netns_path, parse_state, run_of
from rcc.system.agent_line import exchange
from rcc.system.fast_json import loads, quote
from rcc.system.owner import own_namespaces, state_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Optional

PROTOCOL = 1  # core/agent_protocol.py VERSION
ADMIT_SECONDS = 4.0  # the names may take two of them
RELEASE_SECONDS = 3.0
HEX = "0123456789abcdef"


def admit_by_agent(data: bytes, cwd: str, spec: "Dict[str, Any]") -> "Optional[bytes]":
    """The spec to go on with instead of ``data`` (which ``spec`` is, parsed), None when the agent does not do it."""
    try:
        path = netns_path(spec)
        netns = posix.stat(path).st_ino if path else 0
        members = f'"op":"admit","spec":{quote(data.decode("utf-8"))},"cwd":{quote(cwd)},"netns":{netns}'
        changed = str(_ask(members, ADMIT_SECONDS).get("spec")).encode("utf-8")
        # The container asks: a spec without rcc's own hook in it is nobody's success.
        answer = loads(changed)
        return changed if isinstance(answer, dict) and run_of(answer, "poststop") else None
    except (OSError, ValueError, RccError):
        return None


def isolate_by_agent(run: str, state: bytes) -> bool:
    """Whether the agent has isolated what precreate settled for this start, in the namespace of the state's process."""
    if not _is_run(run):
        return False
    try:
        container = parse_state(loads(state))
        netns = posix.stat(f"/proc/{container.pid}/ns/net").st_ino
        members = (
            f'"op":"isolate","run":"{run}","container":{quote(container.id)},"pid":{container.pid},"netns":{netns}'
        )
        _ask(members, ADMIT_SECONDS)
    except (OSError, ValueError, RccError):
        return False
    return True


def release_by_agent(run: str) -> bool:
    """Whether the agent has forgotten this start."""
    if not _is_run(run):
        return False
    try:
        _ask(f'"op":"release","run":"{run}"', RELEASE_SECONDS)
    except (OSError, ValueError, RccError):
        return False
    return True


def _is_run(text: str) -> bool:
    return bool(text) and all(letter in HEX for letter in text)


def _ask(members: str, seconds: float) -> "Dict[str, Any]":
    head = f'{{"v":{PROTOCOL},"rcc":"{__version__}","namespaces":{own_namespaces()},'
    reply = loads(exchange(state_root(), f"{head}{members}}}\n".encode("ascii"), seconds))
    if not isinstance(reply, dict) or reply.get("v") != PROTOCOL or reply.get("ok") is not True:
        raise AgentError("the agent has not done it")
    return reply
