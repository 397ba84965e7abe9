"""What the agent's verbs work with."""

from typing import Any, Awaitable, Callable, NamedTuple

from rcc.app.gateway import Gateway
from rcc.app.lookup import Lookup
from rcc.app.neighbours import Neighbours
from rcc.app.refresh import Refresher
from rcc.system.history import History


class Hands(NamedTuple):
    """``root``: the state folder.  ``work`` runs a function with its arguments in a worker thread, for its result."""

    root: str
    lookup: Lookup
    refresher: Refresher
    gateway: Gateway
    history: History
    neighbours: Neighbours
    log: Any
    work: Callable[..., Awaitable[Any]]
