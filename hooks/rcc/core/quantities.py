"""Ports, sizes, rates, durations and counts as people write them.

Every ``parse_`` raises RccError with a remedy for what it does not know, and guesses nothing.
"""

import re

from rcc.core.errors import RccError
from rcc.core.policy import PROTOCOLS, Ports
from rcc.core.report import did_you_mean, shown

PORT_LIMIT = 65535
# What people write for a port number, by IANA's service names.
SERVICES = {"ssh": 22, "smtp": 25, "dns": 53, "domain": 53, "http": 80, "https": 443, "postgresql": 5432, "mysql": 3306}
EVERY = ("*", "any", "all")

# Binary units, as podman-run(1) takes them for --memory: k, m, g = 1024, 1024^2, 1024^3.
_SIZE = re.compile(r"([0-9]{1,19})(?:([kmgt])i?)?b?", re.IGNORECASE | re.ASCII)
_SIZES = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}
# Decimal units of bits, as tc(8) takes them.
_RATE = re.compile(r"([0-9]{1,12})([kmgt]?)bit", re.IGNORECASE | re.ASCII)
_RATES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_DURATION = re.compile(r"(?:([0-9]{1,6})d)?(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,6})s)?", re.ASCII)
_COUNT = re.compile(r"[1-9][0-9]{0,11}", re.ASCII)
_DECIMAL = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,3})?", re.ASCII)
_PORTS = re.compile(r"([0-9]+)(?:-([0-9]+))?(?:/([A-Za-z0-9]+))?", re.ASCII)


def parse_ports(text: str) -> Ports:
    """``443``, ``443/udp``, ``8000-8100/tcp``; tcp unless it says otherwise."""
    word = text.lower()
    found = _PORTS.fullmatch(word)
    if not found:
        raise RccError(f"not a port: {shown(text)}", hint=_port_hint(word))
    low, high = (_port(number) for number in (found[1], found[2] or found[1]))
    protocol = found[3] or "tcp"
    if protocol not in PROTOCOLS:
        raise RccError(f"unknown protocol {shown(protocol)}", hint=did_you_mean(protocol, PROTOCOLS))
    if low > high:
        raise RccError(f"the ports {shown(text)} run backwards", hint=f"write {high}-{low}/{protocol}")
    return Ports(protocol, low, high)


def _port(digits: str) -> int:
    if digits.startswith("0") and digits != "0":
        raise RccError(f"a port with a leading zero: {digits[:9]}", hint="write it without, in decimal")
    if len(digits) > 5 or not 1 <= int(digits) <= PORT_LIMIT:
        raise RccError(f"not a port: {digits[:9]}", hint="ports are 1 to 65535")
    return int(digits)


def _port_hint(word: str) -> str:
    head, slash, tail = word.partition("/")
    if word in EVERY:
        return "write the ports out; all of them are 1-65535/tcp and 1-65535/udp"
    if head in PROTOCOLS and tail:
        return f"the protocol comes last: {tail}/{head}"
    if head in SERVICES:
        return f"write the number: {SERVICES[head]}{slash}{tail}"
    if ":" in word:
        return "a span of ports is written 8000-8100; nothing is mapped here, so there is only one side"
    return "443, 443/udp or 8000-8100/tcp"


def parse_size(text: str) -> int:
    """Bytes: ``8G``, ``512M``, ``64KiB``, ``1048576``; the units are binary."""
    found = _SIZE.fullmatch(text)
    if not found:
        raise RccError(f"not a size: {shown(text)}", hint="a whole number and a unit: 8G, 512M, 64k")
    return int(found[1]) << _SIZES[(found[2] or "").lower()]


def parse_rate(text: str) -> int:
    """Bits per second: ``50mbit``, ``800kbit``; the units are decimal."""
    found = _RATE.fullmatch(text)
    if not found:
        hint = "a whole number and a unit of bits: 50mbit, 800kbit"
        if text.lower().endswith("ps"):
            hint += " (tc reads bps as bytes, others as bits, so it is not taken here)"
        raise RccError(f"not a rate: {shown(text)}", hint=hint)
    return int(found[1]) * _RATES[found[2].lower()]


def parse_duration(text: str) -> int:
    """Seconds: ``300s``, ``5m``, ``1h30m``, ``1d``."""
    found = _DURATION.fullmatch(text)
    if not text or not found:
        bare = _COUNT.fullmatch(text)
        raise RccError(
            f"not a duration: {shown(text)}", hint=f"{text}s?" if bare else "numbers with units: 300s, 5m, 1h30m"
        )
    return sum(int(number or 0) * unit for number, unit in zip(found.groups(), (86400, 3600, 60, 1)))


def parse_count(text: str) -> int:
    """A whole number from 1."""
    if not _COUNT.fullmatch(text):
        raise RccError(f"not a whole number from 1: {shown(text)}", hint="decimal digits only; 'none' for no limit")
    return int(text)


def parse_cpus(text: str) -> float:
    """A number of processors: ``4``, ``0.5``."""
    if not _DECIMAL.fullmatch(text) or float(text) <= 0:
        raise RccError(f"not a number of processors: {shown(text)}", hint="such as 4 or 0.5")
    return float(text)


def render_size(size: int) -> str:
    """The shortest text that ``parse_size`` reads as ``size``."""
    for unit in "tgmk":
        if size and size % (1 << _SIZES[unit]) == 0:
            return f"{size >> _SIZES[unit]}{unit.upper()}"
    return str(size)


def size_text(size: float) -> str:
    """``size`` bytes for people, in three digits or so: ``1.5 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def render_rate(rate: int) -> str:
    """The shortest text that ``parse_rate`` reads as ``rate``."""
    for unit in "tgmk":
        if rate and rate % _RATES[unit] == 0:
            return f"{rate // _RATES[unit]}{unit}bit"
    return f"{rate}bit"


def render_duration(seconds: int) -> str:
    """The text that ``parse_duration`` reads as ``seconds``, in one unit."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
