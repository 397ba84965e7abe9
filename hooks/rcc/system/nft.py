"""nf_tables of the network namespace that this process is in, through libnftables in this process (libnftables(3)).

The library opens its netlink socket when it is set up (nft_ctx_new, nftables 1.0.6), and a socket stays in the
namespace it was made in: make an ``Nft`` after entering, and do not carry it from one namespace to another.
"""

import json
from typing import Any, Callable, Optional, Tuple, TypeVar

from rcc.core.errors import KernelError
from rcc.core.nft_listing import Timed, differences, ident_of, timed_elements
from rcc.core.nft_table import ABOUT, FAMILY, TABLE
from rcc.core.ruleset import Ruleset

# strerror(3) in what libnftables says, and the remedy.
_TOO_LONG = "Message too long"
_ABSENT = "No such file or directory"
_TOO_MANY = "the policy has too many addresses for one transaction: sysctl -w net.core.wmem_max=4194304"
_HINTS = (
    ("Operation not permitted", "the namespace belongs to another user, or a security module forbids nf_tables"),
    ("Protocol not supported", "load the kernel module nf_tables: modprobe nf_tables"),
    ("Operation not supported", "the kernel lacks a part of nf_tables: rcc needs 5.10 or later, with nft_ct"),
    ("Invalid argument", "kernel and nftables may not fit together: rcc needs kernel 5.10 and nftables 1.0.6 or later"),
    (_TOO_LONG, _TOO_MANY),
    ("No buffer space available", _TOO_MANY),
    ("Cannot allocate memory", "the kernel is out of memory for rules"),
    ("Device or resource busy", "try again"),
)
_T = TypeVar("_T")


class Nft:
    """nf_tables of the namespace in which this object was made.  Every method raises KernelError."""

    def __init__(self) -> None:
        try:
            from nftables import Nftables

            self._library = Nftables()
        except ImportError as error:
            hint = "install the package python3-nftables"
            raise KernelError("the Python module nftables is not there", hint=hint) from error
        except OSError as error:
            raise KernelError(f"libnftables does not load: {error}", hint="install the package libnftables1") from error
        self._library.set_numeric_proto_output(True)  # names would come from /etc/protocols

    def load(self, text: str) -> None:
        """Commit ``text`` as one transaction, all of it or nothing.

        Where it does not fit into one, its parts are committed in order: a rootless caller cannot enlarge the socket's
        buffer beyond net.core.wmem_default (SO_SNDBUFFORCE asks for CAP_NET_ADMIN on the host; nftables 1.0.6 tries
        nothing else), which is enough for some 1,500 addresses.
        """
        try:
            self._run(text)
        except KernelError as error:
            parts = text.split("\n\n")
            if _TOO_LONG not in error.message or len(parts) == 1:
                raise
            for part in parts:
                self._run(part)

    def present(self) -> Optional[str]:
        """The ident of the table that is loaded, empty when it has none, None when there is no table."""
        listing = self._list(f"chain {FAMILY} {TABLE} {ABOUT}")
        if listing is not None:
            return self._parse(ident_of, listing)
        return None if self._list(f"table {FAMILY} {TABLE}") is None else ""

    def read_back(self, ruleset: Ruleset, ident: str, *, same_facts: bool = True) -> None:
        """Raise KernelError unless the kernel holds exactly the table of ``ruleset`` and ``ident``.

        ``same_facts`` as in core/nft_listing.py ``differences``.
        """
        listing = self._list(f"table {FAMILY} {TABLE}")
        if listing is None:
            raise KernelError("the rules are not in the kernel", hint="something removed them: restart the container")
        first = self._parse(lambda data: next(differences(data, ruleset, ident, same_facts=same_facts), None), listing)
        if first is not None:
            raise KernelError(
                f"the rules in the kernel are not those that rcc loaded: {first}",
                hint="something else changed them, or the kernel did not take them: restart the container",
            )

    def remove(self) -> None:
        """Delete the table, if it is there."""
        self._run(f"add table {FAMILY} {TABLE}\ndelete table {FAMILY} {TABLE}\n")

    def timed(self) -> Tuple[Timed, ...]:
        """What names have opened and is open now.  Expired elements that are still listed are left out."""
        listing = self._list(f"table {FAMILY} {TABLE}")
        return () if listing is None else self._parse(lambda data: tuple(timed_elements(data)), listing)

    def _list(self, what: str) -> Any:
        """The members of a listing, None when it does not exist."""
        self._library.set_json_output(True)
        try:
            answer = self._run(f"list {what}", absent_is_none=True)
        finally:
            self._library.set_json_output(False)
        if answer is None:
            return None
        return self._parse(lambda text: json.loads(text)["nftables"], answer)

    def _run(self, text: str, *, absent_is_none: bool = False) -> Optional[str]:
        status, output, complaint = self._library.cmd(text)
        if status == 0:
            return str(output)
        if absent_is_none and _ABSENT in complaint:
            return None
        raise _sorted_error(complaint)

    def _parse(self, parse: "Callable[[Any], _T]", data: Any) -> _T:
        try:
            return parse(data)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            raise KernelError(
                f"libnftables answers in an unknown form: {error!r}", hint="rcc needs nftables 1.0.6 or later"
            ) from error


def _sorted_error(complaint: str) -> KernelError:
    lines = [line.strip() for line in complaint.splitlines() if "rror" in line] or [complaint.strip() or "no reason"]
    hint = next((remedy for words, remedy in _HINTS if words in complaint), "")
    return KernelError(f"nf_tables: {lines[0]}", hint=hint)
