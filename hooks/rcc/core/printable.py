"""Text from others (names, labels, files) made safe for a terminal and a log line (threat 39)."""


def printable(text: str, limit: int = 500) -> str:
    """``text`` with everything that is not printable escaped and cut after ``limit`` characters."""
    safe = "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode("ascii") for c in text
    )
    return safe if len(safe) <= limit else safe[: limit - 3] + "..."
