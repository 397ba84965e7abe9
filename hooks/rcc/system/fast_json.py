"""JSON text to Python values with the C scanner alone: ``import json`` costs a container start 9 ms (it brings re).

The scanner is the one that ``json.loads`` uses (Modules/_json.c, ``make_scanner``; the same interface in Python 3.9 to
3.13). Where a Python lacks ``_json``, ``json`` does the work.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Tuple

SIZE_LIMIT = 64 << 20  # bytes
WHITESPACE = " \t\n\r"


def _no_constant(word: str) -> float:
    """NaN and Infinity are no JSON (RFC 8259 section 6)."""
    raise ValueError(f"{word} is no JSON")


class _Context:
    """What make_scanner wants to know; the names are json.JSONDecoder's."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = staticmethod(_no_constant)


def loads(data: bytes, limit: int = SIZE_LIMIT) -> "Any":
    """The value of a JSON text in UTF-8.  Raises ValueError for anything else, and for more than ``limit`` bytes."""
    if len(data) > limit:
        raise ValueError(f"more than {limit} bytes of JSON")
    text = data.decode("utf-8")
    start = _skip(text, 0)
    try:
        value, end = _SCAN(text, start)
    except StopIteration:
        raise ValueError("no JSON value where one was expected") from None
    except SystemError:
        # Python 3.10 and 3.11 look for json.decoder to raise its error, and without it return NULL (seen with 3.11.2).
        raise ValueError("malformed JSON") from None
    except RecursionError:
        raise ValueError("JSON nested too deeply") from None
    if _skip(text, end) != len(text):
        raise ValueError("text after the JSON value")
    return value


def quote(text: str) -> str:
    """``text`` as a JSON string in ASCII."""
    try:
        from _json import encode_basestring_ascii
    except ImportError:
        from json import dumps as encode_basestring_ascii
    return str(encode_basestring_ascii(text))


def _skip(text: str, index: int) -> int:
    while index < len(text) and text[index] in WHITESPACE:
        index += 1
    return index


def _make_scanner() -> "Callable[[str, int], Tuple[Any, int]]":
    try:
        from _json import make_scanner
    except ImportError:
        from json import JSONDecoder

        return JSONDecoder(parse_constant=_no_constant).scan_once  # type: ignore[attr-defined,no-any-return]
    return make_scanner(_Context())  # type: ignore[arg-type]


_SCAN = _make_scanner()
