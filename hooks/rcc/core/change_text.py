"""What people write behind `rcc allow` and `rcc deny`, to a Change."""

from typing import Optional

from rcc.core.change import DENY, Change
from rcc.core.errors import RccError
from rcc.core.explain import parse_target
from rcc.core.hostname import parse_host
from rcc.core.report import shown


def parse_change(verb: str, text: str, *, private: bool = False, until: Optional[float] = None) -> Change:
    """``HOST[:PORT[/PROTOCOL]]``, HOST a name, ``*.name`` or an address.  Raises RccError.

    Without a port 443/tcp is allowed, and every port denied.
    """
    wildcard = text.startswith("*.")
    target = parse_target(text[2:] if wildcard else text)
    if target.network is not None:
        if wildcard:
            raise RccError(f"{shown(text)} is neither a name nor an address", hint="*.example.com or 203.0.113.7")
        if until is not None:
            raise RccError(
                "--for is for names: an address would stay open if the agent were not there to close it",
                hint="leave --for out, and close it with rcc deny",
            )
        name = str(target.network.network_address)
    else:
        host = parse_host(f"*.{target.name}" if wildcard else target.name, private or verb == DENY)
        name = f"*.{host.name}" if host.wildcard else host.name
    every = verb == DENY and not _has_port(text)
    return Change(verb, name, () if every else (target.ports,), private, until)


def _has_port(text: str) -> bool:
    return text.rpartition("]")[2].count(":") == 1 if text.startswith("[") else text.count(":") == 1
