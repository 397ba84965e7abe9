"""What the hook and the agent say to each other: a JSON object a line, over a Unix stream socket.

    {"v": 1, "op": "resolve", "names": ["api.example.com"], "seconds": 3.0}
    {"v": 1, "ok": true, "answers": [["api.example.com", [["203.0.113.7", 300]], ""]]}
    {"v": 1, "op": "admit", "rcc": "0.1.0", "namespaces": [1, 2, 3, 4], "spec": "{...}", "cwd": "/", "netns": 5}
    {"v": 1, "ok": true, "spec": "{...}"}
    {"v": 1, "op": "isolate", ..., "run": "0123456789abcdef", "container": "ID", "pid": 4711, "netns": 5}
    {"v": 1, "op": "release", "rcc": "0.1.0", "namespaces": [1, 2, 3, 4], "run": "0123456789abcdef"}
    {"v": 1, "op": "call", "verb": "reload", "arguments": {"containers": ["box"]}}
    {"v": 1, "ok": true, "result": {"reloaded": ["box"]}}
    {"v": 1, "ok": false, "error": "one line of cause", "hint": "one line of remedy"}

A line has at most REQUEST_LIMIT or REPLY_LIMIT bytes with its line feed.  Unknown members are ignored, so that later
versions can add some; a change of meaning raises VERSION, and each side refuses lines of another, but for ALWAYS: an
agent of an older or newer rcc can always be replaced.  ``adopt`` is a keeper's word (system/keep.py).
Everything here is pure and its import cheap: the hook uses it before a container starts.
"""

import json
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any, Dict, List, Mapping, NamedTuple, Tuple

from rcc.core.errors import AgentError
from rcc.core.names import Answer, Answers

VERSION = 1
REQUEST_LIMIT = 1 << 20  # bytes: NAMES_LIMIT names of 253 characters just fit
REPLY_LIMIT = 16 << 20  # bytes: far more than NAMES_LIMIT names with a common number of addresses
NAMES_LIMIT = 4000
NAME_LIMIT = 253  # characters (RFC 1035 section 2.3.4)
SECONDS_LIMIT = 60.0
OPS = ("ping", "resolve", "rescan", "stop", "restart", "admit", "isolate", "release", "call")
ALWAYS = ("stop", "restart")
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_.")


class Request(NamedTuple):
    """``op`` of OPS; ``names`` and ``seconds`` belong to ``resolve``; the rest to what a hook has done here.

    version, namespaces: the hook's own (system/owner.py); the agent works only where they are its own as well.
    spec: the OCI spec as it came.  netns: the inode of the network namespace that it names, 0 for none, or
    of the process ``pid`` of ``container``.
    verb, arguments: what a command wants (app/verbs.py), each verb checks its own arguments.
    """

    op: str
    names: Tuple[str, ...] = ()
    seconds: float = 0.0
    version: str = ""
    namespaces: Tuple[int, ...] = ()
    spec: str = ""
    cwd: str = ""
    netns: int = 0
    run: str = ""
    container: str = ""
    pid: int = 0
    verb: str = ""
    arguments: Mapping[str, Any] = MappingProxyType({})


class Pong(NamedTuple):
    """Who answers: the agent, its keeper (0 for systemd), the inode of its user namespace, and what is in hand."""

    version: str
    pid: int
    keeper: int
    user_namespace: int
    records: int
    cached: int


def render_request(request: Request) -> bytes:
    """A request as a line.  Raises AgentError when it is longer than the agent would read."""
    data: Dict[str, Any] = {"v": VERSION, "op": request.op}
    if request.op == "resolve":
        data["names"] = request.names
        data["seconds"] = request.seconds
    elif request.op == "call":
        data["verb"] = request.verb
        data["arguments"] = dict(request.arguments)
    return _line(data, REQUEST_LIMIT)


def parse_request(line: bytes) -> Request:
    """The request that a line stands for.  Raises AgentError for everything else; the message may go to the peer."""
    data = _object(line, REQUEST_LIMIT, ALWAYS)
    op = data.get("op")
    if not isinstance(op, str) or op not in OPS:
        raise AgentError("the agent knows no such request")
    if op in ("admit", "isolate", "release"):
        return _work_request(op, data)
    if op == "call":
        verb, arguments = data.get("verb"), data.get("arguments", {})
        if not isinstance(verb, str) or not isinstance(arguments, dict):
            raise AgentError("a call needs a verb and arguments")
        return Request(op, verb=verb, arguments=arguments)
    if op != "resolve":
        return Request(op)
    names, seconds = data.get("names"), data.get("seconds")
    if not isinstance(names, list) or len(names) > NAMES_LIMIT or not all(_is_name(name) for name in names):
        raise AgentError(f"names must be a list of at most {NAMES_LIMIT} host names in lower case")
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds <= SECONDS_LIMIT:
        raise AgentError(f"seconds must be a number up to {SECONDS_LIMIT:g}")
    return Request(op, tuple(names), float(seconds))


def _work_request(op: str, data: Dict[str, Any]) -> Request:
    texts = {key: data.get(key, "") for key in ("rcc", "spec", "cwd", "run", "container")}
    namespaces, pid, netns = data.get("namespaces"), data.get("pid", 0), data.get("netns", 0)
    numbers: List[Any] = [*namespaces, pid, netns] if isinstance(namespaces, list) else [None]
    if not all(isinstance(text, str) for text in texts.values()) or any(type(number) is not int for number in numbers):
        raise AgentError(f"the request {op} makes no sense")
    return Request(
        op,
        version=texts["rcc"],
        namespaces=tuple(numbers[:-2]),
        spec=texts["spec"],
        cwd=texts["cwd"],
        netns=netns,
        run=texts["run"],
        container=texts["container"],
        pid=pid,
    )


def adopting(line: bytes) -> int:
    """The process id of the keeper that wants to adopt the agent, 0 when the line says anything else."""
    if b'"adopt"' not in line:
        return 0
    try:
        data = json.loads(line)
        keeper = data["keeper"] if data["op"] == "adopt" else 0
    except (ValueError, KeyError, TypeError, RecursionError):
        return 0
    return keeper if type(keeper) is int and keeper > 0 else 0


def render_spec(spec: bytes) -> bytes:
    """The reply to ``admit``: the spec to go on with."""
    return _line({"v": VERSION, "ok": True, "spec": spec.decode("utf-8")}, REPLY_LIMIT)


def render_ok() -> bytes:
    """The reply to what has nothing to give."""
    return _line({"v": VERSION, "ok": True}, REPLY_LIMIT)


def render_pong(pong: Pong) -> bytes:
    """The reply to ``ping``."""
    return _line({"v": VERSION, "ok": True, **pong._asdict()}, REPLY_LIMIT)


def render_answers(answers: Answers) -> bytes:
    """The reply to ``resolve``."""
    return _line({"v": VERSION, "ok": True, "answers": answers}, REPLY_LIMIT)


def render_result(result: Mapping[str, Any]) -> bytes:
    """The reply to ``call``.  Raises AgentError when it is longer than a line may be."""
    return _line({"v": VERSION, "ok": True, "result": dict(result)}, REPLY_LIMIT)


def render_error(error: AgentError) -> bytes:
    """The reply to a request that could not be served."""
    return _line({"v": VERSION, "ok": False, "error": error.message, "hint": error.hint}, REPLY_LIMIT)


def parse_ok(line: bytes) -> None:
    """Raises AgentError when the reply is no success."""
    _success(line)


def parse_pong(line: bytes) -> Pong:
    """The reply to ``ping``.  Raises AgentError for an error reply and for what is no reply."""
    data = _success(line)
    try:
        pong = Pong(*(data[field] for field in Pong._fields))
    except KeyError as error:
        raise _not_a_reply() from error
    if not isinstance(pong.version, str) or any(type(value) is not int for value in pong[1:]):
        raise _not_a_reply()
    return pong


def parse_answers(line: bytes) -> Answers:
    """The reply to ``resolve``.  Raises AgentError for an error reply and for what is no reply."""
    try:
        return tuple(_parse_answer(*item) for item in _success(line)["answers"])
    except (KeyError, TypeError, ValueError) as error:
        raise _not_a_reply() from error


def parse_result(line: bytes) -> Dict[str, Any]:
    """The reply to ``call``.  Raises AgentError for an error reply and for what is no reply."""
    result = _success(line).get("result")
    if not isinstance(result, dict):
        raise _not_a_reply()
    return result


def _parse_answer(name: Any, addresses: Any, error: Any) -> Answer:
    if not isinstance(name, str) or not isinstance(error, str):
        raise TypeError
    pairs = []
    for address, seconds in addresses:
        if not isinstance(address, str) or type(seconds) is not int or seconds < 0:
            raise TypeError
        ip_address(address)
        pairs.append((address, seconds))
    return Answer(name, tuple(pairs), error)


def _line(data: Dict[str, Any], limit: int) -> bytes:
    line = json.dumps(data, separators=(",", ":")).encode("ascii") + b"\n"
    if len(line) > limit:
        raise AgentError(f"a message of {len(line)} bytes, more than the agent's protocol allows")
    return line


def _object(line: bytes, limit: int, always: Tuple[str, ...] = ()) -> Dict[str, Any]:
    if len(line) > limit or not line.endswith(b"\n"):
        raise AgentError("not a whole line of the agent's protocol")
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise AgentError("not JSON") from error
    if not isinstance(data, dict):
        raise AgentError("not a JSON object")
    if data.get("v") != VERSION and data.get("op") not in always:
        raise AgentError(
            f"this side speaks version {VERSION} of the agent's protocol, the other another",
            hint="stop the agent of the older rcc: rcc-agent --stop",
        )
    return data


def _success(line: bytes) -> Dict[str, Any]:
    data = _object(line, REPLY_LIMIT)
    if data.get("ok") is not True:
        raise AgentError(str(data.get("error", "unknown error")), hint=str(data.get("hint", "")))
    return data


def _not_a_reply() -> AgentError:
    return AgentError("the agent's reply makes no sense")


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and 0 < len(name) <= NAME_LIMIT and _NAME_CHARACTERS.issuperset(name)
