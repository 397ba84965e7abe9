"""Activities to show: one that did nothing, a busy one, and one with whatever a container may put into names."""

from rcc.core.activity import Activity, AskedName, Container, Destination, Event, Flow, RefusedName

NOW = 1_800_000_000.0
ODD = 'x"\\\n\x1b[2J<script>alert(1)</script>\u202e'


def destination(address: str, port: int = 443, *names: str, protocol: str = "tcp") -> Destination:
    return Destination(address, protocol, port, 3, 180, NOW - 60, NOW - 30, names)


def asked(name: str, *addresses: str, peer: bool = False) -> AskedName:
    return AskedName(name, 2, NOW - 60, NOW - 30, addresses, peer)


BASE = Activity((Container("c" * 64, "box"),), 4026532000, "default", "enforce", 3, NOW - 100)
BUSY = BASE._replace(
    queries=(("queries", 12), ("cached", 3), ("refused", 4), ("failed", 0), ("throttled", 0)),
    names=(asked("api.example.com", "198.51.100.7"), asked("idle.example.com", "198.51.100.9")),
    refused=(
        RefusedName("evil.example", "A", 3, NOW - 50, NOW - 5, "curl"),
        RefusedName("evil.example", "AAAA", 1, NOW - 40, NOW - 4),
    ),
    denied=(destination("198.51.100.7", 22, "api.example.com"), destination("192.168.1.7", 80)),
    used=(destination("198.51.100.7", 443, "api.example.com"), destination("203.0.113.9", 8000)),
    totals=(("denied", 6), ("malformed", 0), ("received", 20), ("sent", 10), ("unasked", 1)),
    received=2000,
    sent=1000,
    flows=(Flow("tcp", "198.51.100.7", 443, "established", 900, 1900, "python3", ("api.example.com",)),),
    events=(Event(NOW - 100, "isolated", "by the profile default"), Event(NOW - 20, "policy", "+ x.example 443/tcp")),
)


def odd() -> Activity:
    """With whatever a container may have put into its names."""
    return BUSY._replace(
        containers=(Container("c" * 64, ODD),),
        refused=(RefusedName(ODD, "A", 1, NOW, NOW, ODD),),
        names=(asked(ODD, "198.51.100.7"),),
        used=(destination("198.51.100.7", 443, ODD),),
        denied=(destination("198.51.100.7", 22, ODD),),
        events=(Event(NOW, ODD, ODD),),
        flows=(Flow("tcp", "198.51.100.7", 443, "established", 1, 2, ODD, (ODD,)),),
    )
