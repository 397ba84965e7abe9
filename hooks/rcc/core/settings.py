"""The settings in force, as data: ``layers`` makes them from every layer's rcc.yaml."""

from typing import NamedTuple, Optional, Tuple

from rcc.core.policy import Where

ISOLATE = ("on-request", "always")
UNREADABLE = ("refuse", "pass")


class Lock(NamedTuple):
    """What the admin has decided.  ``isolate``: no label takes isolation off; ``allowed_profiles`` None: any."""

    isolate: bool = False
    allowed_profiles: Optional[Tuple[str, ...]] = None
    where: Where = Where()


class Settings(NamedTuple):
    """The settings of all layers.

    isolate: ``on-request`` isolates containers whose label asks, ``always`` those without the label too.
    default_profile: what the label's ``1``, ``true``, ``on`` and ``yes`` stand for.
    on_unreadable_labels: ``refuse`` or ``pass`` a container whose labels cannot be read.
    keep_capabilities: reserved.
    origins: which line decided a setting.
    """

    isolate: str = "on-request"
    default_profile: str = "default"
    on_unreadable_labels: str = "refuse"
    keep_capabilities: Tuple[str, ...] = ()
    lock: Lock = Lock()
    origins: Tuple[Tuple[str, Where], ...] = ()
