"""What the containers of one network namespace have done: names asked for, destinations reached and refused.

The agent gathers it, commands show it (`rcc denied`, `learn`, `top`, `report`, `metrics`), and it is kept after the end
of a container.  Times are wall seconds, sizes bytes.
"""

from typing import Any, Dict, List, NamedTuple, Tuple, Type, TypeVar

from rcc.core.errors import AgentError

VERSION = 1


class Container(NamedTuple):
    """One container: full id and name."""

    id: str
    name: str


class AskedName(NamedTuple):
    """A name that was asked for and answered; ``peer``: it stands for another container."""

    name: str
    times: int
    first: float
    last: float
    addresses: Tuple[str, ...] = ()
    peer: bool = False


class RefusedName(NamedTuple):
    """A name that is not in the policy and was asked for: ``type`` of record, and by whom, if that is known."""

    name: str
    type: str
    times: int
    first: float
    last: float
    process: str = ""


class Destination(NamedTuple):
    """An address and port; ``names``: what it was asked for by; ``packets`` of new flows where it was used."""

    address: str
    protocol: str
    port: int
    packets: int
    bytes: int
    first: float
    last: float
    names: Tuple[str, ...] = ()


class Flow(NamedTuple):
    """A connection of this moment; ``sent`` and ``received`` are known of TCP only."""

    protocol: str
    address: str
    port: int
    state: str
    sent: int
    received: int
    process: str = ""
    names: Tuple[str, ...] = ()


class Event(NamedTuple):
    """Something that happened to the container's isolation."""

    time: float
    kind: str
    text: str


class Activity(NamedTuple):
    """All of one namespace.

    ended: 0 while it lives.  queries: counters of app/dns_tally.py.  totals: packets by counter (core/notes.py).
    received, sent: bytes in admitted flows so far.  host: addresses among the denied and used ones that are
    the host's own.
    """

    containers: Tuple[Container, ...]
    netns: int
    profile: str
    mode: str
    generation: int
    since: float
    ended: float = 0.0
    queries: Tuple[Tuple[str, int], ...] = ()
    names: Tuple[AskedName, ...] = ()
    refused: Tuple[RefusedName, ...] = ()
    denied: Tuple[Destination, ...] = ()
    used: Tuple[Destination, ...] = ()
    totals: Tuple[Tuple[str, int], ...] = ()
    received: int = 0
    sent: int = 0
    flows: Tuple[Flow, ...] = ()
    events: Tuple[Event, ...] = ()
    host: Tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The containers' names, or what there is of their ids."""
        return ", ".join(container.name or container.id[:12] for container in self.containers)


_ROWS: Dict[str, Type[Any]] = {
    "containers": Container,
    "names": AskedName,
    "refused": RefusedName,
    "denied": Destination,
    "used": Destination,
    "flows": Flow,
    "events": Event,
}
_PAIRS = ("queries", "totals")
_Row = TypeVar("_Row")


def activity_to_data(activity: Activity) -> Dict[str, Any]:
    """As JSON-able data; ``activity_from_data`` is its inverse."""
    data: Dict[str, Any] = {"version": VERSION}
    for field, value in activity._asdict().items():
        if field in _ROWS:
            data[field] = [row._asdict() for row in value]
        elif field in _PAIRS:
            data[field] = dict(value)
        else:
            data[field] = list(value) if isinstance(value, tuple) else value
    return data


def activity_from_data(data: Any) -> Activity:
    """What ``activity_to_data`` gave.  Raises AgentError for anything else."""
    try:
        if data["version"] != VERSION:
            raise ValueError("another version")
        fields: Dict[str, Any] = {}
        for field in Activity._fields:
            value = data[field]
            if field in _ROWS:
                fields[field] = _rows(_ROWS[field], value)
            elif field in _PAIRS:
                fields[field] = tuple((str(key), int(number)) for key, number in value.items())
            else:
                fields[field] = tuple(map(str, value)) if isinstance(value, list) else value
        return Activity(**fields)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AgentError(f"this is no activity that rcc has noted: {error!r}") from error


def _rows(kind: "Type[_Row]", rows: List[Dict[str, Any]]) -> "Tuple[_Row, ...]":
    names = kind._fields  # type: ignore[attr-defined]
    return tuple(kind(**{key: _value(row[key]) for key in names}) for row in rows)


def _value(value: Any) -> Any:
    return tuple(map(str, value)) if isinstance(value, list) else value
