"""What a policy meets on this host at this moment: names looked up, the host's addresses, the container's resolvers."""

from ipaddress import ip_address
from typing import Iterable, Tuple, Union

from rcc.core.compile import HOST_NAMES, Facts, HostsFile
from rcc.core.errors import KernelError
from rcc.core.names import Answers
from rcc.core.policy import HostRule, Policy
from rcc.core.resolv_conf import TEXT_LIMIT, lines_naming, parse_hosts, parse_resolv_conf
from rcc.core.special import Address
from rcc.core.trusted_resolvers import trusted_resolvers
from rcc.system.addresses import own_addresses
from rcc.system.gateways import default_gateways
from rcc.system.netns import inside
from rcc.system.state import Record, Settled

# The second is what engines take instead where the first has only systemd-resolved's stub (resolved.conf(5)).
RESOLV_CONFS = ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf")


def names_of(policy: Policy) -> Tuple[str, ...]:
    """The names that have to be looked up: none where the gateway does it when somebody asks for them."""
    if policy.dns_mode == "gateway":
        return ()
    return tuple(sorted({rule.name for rule in policy.egress if isinstance(rule, HostRule) and not rule.wildcard}))


def facts_of(container: Union[Settled, Record], answers: Answers, path: str) -> Facts:
    """The facts for a container whose network namespace is at ``path``.  Raises KernelError."""
    return Facts(
        answers=tuple((answer.name, tuple(_pairs(answer.addresses))) for answer in answers),
        host_addresses=own_addresses(),
        resolvers=trusted_resolvers(
            parse_resolv_conf(_text(container.resolv_conf)),
            hosts_own=[address for path in RESOLV_CONFS for address in parse_resolv_conf(_text(path))],
            asked_for=_addresses(container.dns_servers),
            gateways=inside(path, default_gateways),
        ),
        published=container.published,
        hosts_file=hosts_of(container),
    )


def hosts_of(container: Union[Settled, Record]) -> HostsFile:
    """What the container's /etc/hosts says now about the host.  Raises KernelError."""
    return parse_hosts(lines_naming(_text(container.hosts), HOST_NAMES))


def record_facts(record: Record, answers: Answers) -> Facts:
    """The facts for a namespace on record, as the agent asks for them."""
    return facts_of(record, answers, record.path)


def _pairs(addresses: Iterable[Tuple[str, int]]) -> "Iterable[Tuple[Address, int]]":
    for text, seconds in addresses:
        yield ip_address(text), seconds


def _addresses(texts: Iterable[str]) -> "Iterable[Address]":
    for text in texts:
        try:
            yield ip_address(text.partition("%")[0])
        except ValueError:
            continue


def _text(path: str) -> str:
    """The text of a file that may be missing; a container's own file is never followed out of its folder."""
    import os

    if not path:
        return ""
    try:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if path in RESOLV_CONFS else os.O_NOFOLLOW)
        with open(os.open(path, flags), encoding="utf-8", errors="replace") as stream:
            return stream.read(TEXT_LIMIT)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise KernelError(f"cannot read: {error.strerror}", where=path) from error
