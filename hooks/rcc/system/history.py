"""Which names stood for which addresses in a namespace: a file of ``NAME ADDRESS`` lines for each of them.

A reload has to know it: the sets hold addresses, and whether an address may stay is a question about its names.  Lines
are only added when a pair is new, so the file is small and the disk is seldom written to.  Best effort: what cannot be
written is remembered until this process ends, and a reload may then cut a flow, never open one.
"""

import contextlib
import os
from ipaddress import ip_address
from typing import Callable, Container, Dict, Iterable, List, Tuple

from rcc.core.special import Address

FOLDER = "history"  # in the state folder
PAIRS = 4096  # per namespace; then the older half is forgotten
FILE_LIMIT = 2 << 20  # bytes

_Pair = Tuple[str, str]


class History:
    """The histories in the state folder ``root``.  Never raises; ``tell`` is given what could not be written, once."""

    def __init__(self, root: str, tell: Callable[[str], None] = lambda trouble: None) -> None:
        self._folder = os.path.join(root, FOLDER)
        self._tell = tell
        self._known: Dict[int, Dict[_Pair, None]] = {}
        self._troubled = False

    def note(self, netns: int, name: str, addresses: Iterable[Address]) -> None:
        """``name`` stands for ``addresses`` in the namespace ``netns``, and they are open."""
        known = self._pairs(netns)
        fresh = [pair for pair in ((name, str(address)) for address in addresses) if pair not in known]
        if not fresh:
            return
        known.update(dict.fromkeys(fresh))
        if len(known) > PAIRS:
            self._known[netns] = dict.fromkeys(list(known)[len(known) // 2 :])
            self._write(netns, self._known[netns], os.O_TRUNC)
        else:
            self._write(netns, fresh, os.O_APPEND)

    def names_of(self, netns: int) -> Dict[Address, Tuple[str, ...]]:
        """The names that each address has stood for."""
        found: Dict[Address, List[str]] = {}
        for name, address in self._pairs(netns):
            with contextlib.suppress(ValueError):
                found.setdefault(ip_address(address), []).append(name)
        return {address: tuple(names) for address, names in found.items()}

    def drop(self, netns: int) -> None:
        """The namespace has gone."""
        self._known.pop(netns, None)
        with contextlib.suppress(OSError):
            os.unlink(self._path(netns))

    def keep_only(self, namespaces: Container[int]) -> None:
        """Forget all others: they have gone while nobody looked."""
        with contextlib.suppress(OSError):
            for name in os.listdir(self._folder):
                if name.isdigit() and int(name) not in namespaces:
                    self.drop(int(name))

    def _path(self, netns: int) -> str:
        return os.path.join(self._folder, str(netns))

    def _pairs(self, netns: int) -> Dict[_Pair, None]:
        known = self._known.get(netns)
        if known is None:
            known = self._known[netns] = dict.fromkeys(self._read(netns))
        return known

    def _read(self, netns: int) -> List[_Pair]:
        try:
            descriptor = os.open(self._path(netns), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            with open(descriptor, encoding="ascii", errors="replace") as stream:
                lines = stream.read(FILE_LIMIT).splitlines()
        except OSError:
            return []
        words = [line.split() for line in lines]
        return [(pair[0], pair[1]) for pair in words if len(pair) == 2]  # the last line may be cut

    def _write(self, netns: int, pairs: Iterable[_Pair], mode: int) -> None:
        text = "".join(f"{name} {address}\n" for name, address in pairs)
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | mode
        try:
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            descriptor = os.open(self._path(netns), flags, 0o600)
            try:
                os.write(descriptor, text.encode("ascii", "replace"))
            finally:
                os.close(descriptor)
            self._troubled = False
        except OSError as error:
            if not self._troubled:
                self._tell(f"{self._path(netns)}: {error.strerror}")
            self._troubled = True
