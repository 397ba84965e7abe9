"""Ask the agent: its protocol (core/agent_protocol.py) over its socket (agent_line.py).  Never hangs."""

from typing import Any, Dict, Mapping, Sequence

from rcc.core.agent_protocol import (
    SECONDS_LIMIT,
    Pong,
    Request,
    parse_answers,
    parse_ok,
    parse_pong,
    parse_result,
    render_request,
)
from rcc.core.names import Answers
from rcc.system.agent_line import exchange

PATIENCE = 0.5  # seconds beyond those that a lookup was given


def resolve(root: str, names: Sequence[str], seconds: float) -> Answers:
    """What ``names`` stand for, looked up for at most ``seconds``.  Raises AgentError."""
    seconds = min(seconds, SECONDS_LIMIT)
    return parse_answers(_ask(root, Request("resolve", tuple(names), seconds), seconds + PATIENCE))


def rescan(root: str, seconds: float = 0.5) -> None:
    """Tell the agent that records have changed.  Raises AgentError when nobody hears: the next agent reads them all."""
    parse_ok(_ask(root, Request("rescan"), seconds))


def ping(root: str, seconds: float = 0.5) -> Pong:
    """Who the agent is.  Raises AgentError, NoAgent."""
    return parse_pong(_ask(root, Request("ping"), seconds))


def call(root: str, verb: str, arguments: Mapping[str, Any], seconds: float) -> Dict[str, Any]:
    """Have the agent do what a command wants (app/verbs.py).  Raises AgentError, also for what the verb refuses."""
    return parse_result(_ask(root, Request("call", verb=verb, arguments=arguments), seconds))


def stop(root: str, seconds: float = 0.5) -> None:
    """Ask the agent to go.  Raises AgentError."""
    parse_ok(_ask(root, Request("stop"), seconds))


def restart(root: str, seconds: float = 0.5) -> None:
    """Ask the agent to make room for another version, with the same sockets.  Raises AgentError."""
    parse_ok(_ask(root, Request("restart"), seconds))


def _ask(root: str, request: Request, seconds: float) -> bytes:
    return exchange(root, render_request(request), seconds)
