"""Host names of a policy: what people write, to the one spelling that DNS compares (RFC 4343, RFC 5890)."""

import re
from encodings import idna
from ipaddress import ip_network
from typing import NamedTuple, Tuple

from rcc.core.errors import RccError
from rcc.core.report import shown

NAME_LIMIT = 253  # RFC 1035 section 2.3.4, without the trailing dot
LABEL_LIMIT = 63
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?", re.ASCII)
# IDNA 2003 (Python's codec) and IDNA 2008 (browsers, registries) map these to different names: UTS #46, section 2.3.
_DEVIATIONS = "\u00df\u03c2\u200c\u200d"

# Names under these are given to anybody, so a wildcard on them is hardly a limit.  From the private part of the Public
# Suffix List (publicsuffix.org), those that code and data are commonly served from.
SHARED_SUFFIXES = (
    "amazonaws.com", "appspot.com", "azureedge.net", "azurewebsites.net", "blob.core.windows.net", "cloudfront.net",
    "firebaseapp.com", "fly.dev", "github.io", "gitlab.io", "googleapis.com", "herokuapp.com", "netlify.app",
    "ngrok-free.app", "ngrok.io", "onrender.com", "pages.dev", "r2.dev", "run.app", "trycloudflare.com", "vercel.app",
    "web.app", "workers.dev",
)  # fmt: skip
# Second levels under which country registries register names (co.uk, com.au, ...).
_SECOND_LEVELS = (
    "ac", "co", "com", "edu", "gen", "go", "gob", "gov", "gouv", "ltd", "mil", "ne", "net", "nom", "or", "org",
)  # fmt: skip
# DNS over HTTPS: whoever reaches one of these can ask for any name and carry data out in the questions (threat 32).
# From the resolvers' own documentation and Firefox's and Chromium's built-in lists.
DOH_HOSTS = (
    "1dot1dot1dot1.cloudflare-dns.com", "chrome.cloudflare-dns.com", "cloudflare-dns.com", "dns.adguard-dns.com",
    "dns.adguard.com", "dns.alidns.com", "dns.cloudflare.com", "dns.controld.com", "dns.google", "dns.mullvad.net",
    "dns.nextdns.io", "dns.quad9.net", "dns.sb", "dns10.quad9.net", "dns11.quad9.net", "dns64.dns.google",
    "dns9.quad9.net", "doh.cleanbrowsing.org", "doh.dns.sb", "doh.mullvad.net", "doh.opendns.com", "doh.pub",
    "doh.umbrella.com", "doh.xfinity.com",
    "family.cloudflare-dns.com", "firefox.dns.nextdns.io", "freedns.controld.com",
    "mozilla.cloudflare-dns.com", "one.one.one.one", "security.cloudflare-dns.com", "unfiltered.adguard-dns.com",
)  # fmt: skip
METADATA_HOSTS = (
    "instance-data",
    "instance-data.ec2.internal",
    "metadata",
    "metadata.goog",
    "metadata.google.internal",
)
_HOST_ALIASES = ("host.containers.internal", "host.docker.internal", "gateway.docker.internal")
_INNER_SUFFIXES = ("internal", "intranet", "lan", "home", "corp", "local", "home.arpa")


class Host(NamedTuple):
    """``name`` in lower-case A-labels without trailing dot; ``wildcard`` for ``*.name``; ``notes`` for its author."""

    name: str
    wildcard: bool
    notes: Tuple[str, ...] = ()


def parse_host(text: str, private: bool = False) -> Host:
    """The host name of an egress entry, ``private`` as in that entry.

    Raises RccError for anything that is no fully qualified name, names no single place, or means another key.
    """
    _refuse_other_things(text)
    wildcard = text.startswith("*.")
    rest = text[2:] if wildcard else text
    if "*" in rest:
        raise RccError(f"a wildcard stands only in front, as a whole label: {shown(text)}", hint="*.example.com")
    name = canonical_name(rest)
    _refuse_loopback(name)
    labels = name.split(".")
    if wildcard:
        _refuse_suffix(name, labels)
    elif len(labels) == 1 and not private:
        raise RccError(
            f"{shown(name)} has a single label, and what that means depends on the resolver's search list",
            hint="write the full name; with private: true a name that only the host knows is taken as it is",
        )
    return Host(name, wildcard, _notes(text, name, wildcard, private))


def canonical_name(text: str) -> str:
    """``text`` in lower-case A-labels without trailing dot.  Raises RccError when it is no host name."""
    # Before the codec: its nameprep is quadratic in the length (CVE-2022-45061).
    if len(text) > NAME_LIMIT + 1:
        raise RccError("a host name of more than 253 characters", hint="check for a missing line break or space")
    name = text.lower()
    if not name.isascii():
        name = _to_ascii(text)
    name = name[:-1] if name.endswith(".") else name
    labels = name.split(".")
    for label in labels:
        if not label:
            raise RccError(f"an empty label in the host name {shown(text)}", hint="look for a doubled or leading dot")
        if len(label) > LABEL_LIMIT:
            raise RccError(f"a label of more than 63 characters in {shown(text)}", hint="RFC 1035 allows 63")
        if not _LABEL.fullmatch(label):
            raise RccError(
                f"not a host name: {shown(text)}", hint="letters, digits, - and _ between dots: api.example.com"
            )
    if len(name) > NAME_LIMIT:
        raise RccError("a host name of more than 253 characters", hint="RFC 1035 allows 253")
    # WHATWG URL section 3.5: a name whose last label is a number is an IPv4 address to many programs (127.1, 0x7f.1).
    if labels[-1].isdigit() or re.fullmatch(r"0x[0-9a-f]*", labels[-1]):
        raise RccError(
            f"{shown(text)} ends in a number: programs take it for an address", hint="use cidr: for addresses"
        )
    return name


def _to_ascii(text: str) -> str:
    if any(character in text for character in _DEVIATIONS):
        raise RccError(
            f"{shown(text)} means different names to different programs (IDNA 2003 and 2008)",
            hint="write it in its ASCII form, xn--...",
        )
    try:
        # RFC 3490 section 3.1: these count as dots.
        labels = re.split("[.\u3002\uff0e\uff61]", text)
        return ".".join(idna.ToASCII(label).decode("ascii") if label else "" for label in labels).lower()
    except UnicodeError as error:
        raise RccError(f"not a host name: {shown(text)}", hint="write it in its ASCII form, xn--...") from error


def _refuse_other_things(text: str) -> None:
    """An address, a URL, a host with a port: say which key is meant."""
    if text == "*":
        raise RccError("'*' as host", hint="for every public address write: - internet: true")
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        network = ip_network(bare, strict=False)
    except ValueError:
        pass
    else:
        raise RccError(f"{shown(text)} is an address, not a name", hint=f"write: - cidr: {network}")
    _, separator, rest = text.partition("://")
    if separator:
        host = re.split("[/:?#]", rest.rpartition("@")[2] if "@" in rest else rest)[0]
        raise RccError(f"{shown(text)} is a URL", hint=f"only its host counts: - host: {host}" if host else "")
    head, colon, tail = text.partition(":")
    if colon and tail.isdigit():
        raise RccError(f"{shown(text)} is a host with a port", hint=f"host: {head} and ports: [{tail}]")
    if "/" in text:
        raise RccError(f"{shown(text)} has a path", hint=f"rules are for whole hosts: - host: {text.partition('/')[0]}")


def _refuse_loopback(name: str) -> None:
    if name == "localhost" or name.endswith(".localhost"):
        raise RccError(
            "localhost is the container itself, which is always open to itself",
            hint="a service on the host is host: host.containers.internal with private: true",
        )
    if name.endswith(".in-addr.arpa") or name.endswith(".ip6.arpa"):
        raise RccError(f"{shown(name)} is a reverse name", hint="use cidr: for addresses")


def _refuse_suffix(name: str, labels: "list[str]") -> None:
    country = len(labels) == 2 and len(labels[1]) == 2 and labels[0] in _SECOND_LEVELS
    if len(labels) == 1 or country:
        raise RccError(
            f"*.{name} is every name under a public suffix",
            hint="name the domain: *.example." + name + "; for every public address: - internet: true",
        )


def shared_suffix(name: str) -> str:
    """The suffix at or above ``name`` under which anybody can get names, empty for none that is known."""
    return next((suffix for suffix in SHARED_SUFFIXES if name == suffix or name.endswith("." + suffix)), "")


def _notes(text: str, name: str, wildcard: bool, private: bool) -> Tuple[str, ...]:
    notes = []
    if not text.isascii():
        notes.append(f"{shown(text)} is the name {name}")
    if wildcard:
        notes.append(f"*.{name} opens names as they are asked for, so it opens nothing with dns.mode: static")
        shared = shared_suffix(name)
        if shared:
            notes.append(f"anybody can get a name under {shared}, so *.{name} is hardly a limit")
    if name in DOH_HOSTS or (wildcard and any(host.endswith("." + name) for host in DOH_HOSTS)):
        notes.append(f"{name} answers DNS over HTTPS: data can leave in questions for any name")
    if name in METADATA_HOSTS:
        notes.append(f"{name} is a cloud's metadata service, which hands out credentials")
    if not private:
        inner = name in _HOST_ALIASES or name.endswith(tuple("." + suffix for suffix in _INNER_SUFFIXES))
        if inner:
            notes.append(f"{name} looks like an internal name; its private addresses stay closed without private: true")
    elif "." not in name:
        notes.append(f"{name} is looked up as it stands on the host, with no search list")
    return tuple(notes)
