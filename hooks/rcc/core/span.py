"""Lengths of time for people."""

UNITS = (("d", 86400), ("h", 3600), ("m", 60))


def span_text(seconds: float) -> str:
    """``seconds`` in the largest unit of which there are at least two."""
    for unit, length in UNITS:
        if seconds >= 2 * length:
            return f"{int(seconds // length)}{unit}"
    return f"{max(int(seconds), 0)}s"
