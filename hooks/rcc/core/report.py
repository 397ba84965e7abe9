"""What reading a file found: problems (the file is refused) and notes (it stands, but its author should know)."""

import difflib
from typing import Iterable, List, NamedTuple, Tuple

from rcc.core.errors import ConfigError, RccError
from rcc.core.policy import Where

PROBLEM_LIMIT = 100  # a file of nothing but nonsense needs no longer answer


class Note(NamedTuple):
    """A remark on a line that is right, but may not do what its author thinks."""

    where: Where
    message: str


class Report:
    """Gathers problems and notes; ``problems`` and ``notes`` give them in the order of their places."""

    def __init__(self) -> None:
        self._problems: List[Tuple[Where, RccError]] = []
        self._notes: List[Note] = []

    def problem(self, where: Where, message: str, hint: str = "") -> None:
        """Add a problem: one line of cause, one of remedy."""
        if len(self._problems) < PROBLEM_LIMIT:
            self._problems.append((where, RccError(message, hint=hint, where=str(where))))

    def note(self, where: Where, message: str) -> None:
        """Add a note."""
        if len(self._notes) < PROBLEM_LIMIT:
            self._notes.append(Note(where, message))

    @property
    def problems(self) -> Tuple[RccError, ...]:
        """Every problem, by place."""
        return tuple(problem for _, problem in sorted(self._problems, key=lambda pair: pair[0]))

    @property
    def notes(self) -> Tuple[Note, ...]:
        """Every note, by place."""
        return tuple(sorted(self._notes, key=lambda note: note.where))

    def settle(self) -> None:
        """Raise ConfigError if there are problems."""
        if self._problems:
            raise ConfigError(self.problems)


def nearest(word: str, known: Iterable[str]) -> str:
    """The words of ``known`` that ``word`` may be a slip of, joined by 'or'; empty when none is near.

    The limit of 80 characters bounds difflib, whose cost is quadratic.
    """
    found = difflib.get_close_matches(word[:80].lower(), sorted(known), n=2, cutoff=0.6)
    return " or ".join(repr(match) for match in found)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint that names the nearest of ``known``, or else all of them."""
    words = sorted(known)
    near = nearest(word, words)
    if near:
        return f"did you mean {near}?"
    return f"known are {', '.join(words)}" if words else ""


def shown(text: str) -> str:
    """``text`` of a file as it may stand in a message: short, on one line, no control characters (threat 39)."""
    return repr(text if len(text) <= 60 else text[:57] + "...")
