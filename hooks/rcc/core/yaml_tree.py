"""YAML text to a tree of located nodes, bounded in every direction, in which a scalar is only ever text.

Built from the parser's events, not with PyYAML's constructor: no tag makes an object, no alias multiplies, no nesting
recurses, and the types that YAML 1.1 guesses (22:22 = 1342, no = false, 010 = 8, 1_000) never come up: the schema
decides what a text means.  No recursion also keeps clear of the C loader's composer, which does not bound its own.
"""

import re
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Tuple, Union

import yaml

from rcc.core.policy import Where
from rcc.core.report import Report, did_you_mean, shown

SIZE_LIMIT = 256 * 1024  # bytes
NODE_LIMIT = 20000
DEPTH_LIMIT = 16

# Debian's python3-yaml has libyaml; other builds may not.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# YAML 1.1 section 5.1, less the marks that turn the direction of text (U+202A..., U+2066...) and so hide what is there.
_UNPRINTABLE = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\u2029\u202f-\u2065\u206a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_NULLS = ("", "~", "null", "Null", "NULL")
_TRUE = ("true", "yes", "on")
_FALSE = ("false", "no", "off")


class Scalar(NamedTuple):
    """A text; ``plain`` when it was not quoted."""

    text: str
    plain: bool
    where: Where

    @property
    def empty(self) -> bool:
        """Whether nothing was written (YAML's null)."""
        return self.plain and self.text in _NULLS


class Items(NamedTuple):
    """A sequence."""

    items: "Tuple[Node, ...]"
    where: Where


class Entries(NamedTuple):
    """A mapping with scalar keys, none twice, in the order of the file."""

    entries: "Tuple[Tuple[Scalar, Node], ...]"
    where: Where


Node = Union[Scalar, Items, Entries]


def read_tree(data: bytes, file: str, report: Report) -> Optional[Node]:
    """The tree of the only document in ``data`` (UTF-8); None when there is none to speak of.

    Whatever is wrong goes to ``report``, located in ``file``.
    """
    text = _decode(data, file, report)
    if text is None:
        return None
    try:
        return _Builder(file, report).build(yaml.parse(text, Loader=_LOADER))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = Where(file, mark.line + 1, mark.column + 1) if mark else Where(file, 1, 1)
        line = text.splitlines()[mark.line] if mark and mark.line < len(text.splitlines()) else ""
        hint = "quote texts that hold one of : # * & ! % @ [ ] { }"
        if "\t" in line:
            hint = "indent with spaces, not tabs"
        elif "mapping values" in str(error.problem):
            hint = "a text with ': ' in it needs quotes; keys of one mapping stand in one column"
        report.problem(where, f"no YAML: {error.problem or error.context}", hint)
    except yaml.YAMLError as error:
        report.problem(Where(file, 1, 1), f"no YAML: {shown(str(error))}")
    return None


def _decode(data: bytes, file: str, report: Report) -> Optional[str]:
    if len(data) > SIZE_LIMIT:
        report.problem(Where(file, 1, 1), f"the file is larger than {SIZE_LIMIT // 1024} KiB")
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        column = error.start - (before.rfind(b"\n") + 1) + 1
        report.problem(Where(file, before.count(b"\n") + 1, column), "not UTF-8", "save the file as UTF-8")
        return None
    found = _UNPRINTABLE.search(text)
    if found:
        before_text = text[: found.start()]
        where = Where(file, before_text.count("\n") + 1, found.start() - before_text.rfind("\n"))
        report.problem(where, f"the character U+{ord(found.group()):04X} may not stand in a policy")
        return None
    return text


class _Builder:
    """Puts events together; ``_open`` holds the collections that have begun and not ended."""

    def __init__(self, file: str, report: Report) -> None:
        self._file = file
        self._report = report
        self._open: List[Tuple[bool, List[Node], Where]] = []  # is it a mapping, its nodes, its place
        self._root: Optional[Node] = None

    def build(self, events: Iterable[Any]) -> Optional[Node]:
        documents = nodes = 0
        for event in events:
            where = Where(self._file, event.start_mark.line + 1, event.start_mark.column + 1)
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._report.problem(where, "a second document begins here", "one file, one document: remove '---'")
                    break
            elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
                self._close()
            elif isinstance(event, yaml.NodeEvent):
                nodes += 1
                if nodes > NODE_LIMIT or len(self._open) > DEPTH_LIMIT:
                    self._report.problem(where, "the file has too many or too deeply nested entries")
                    return None
                if isinstance(event, yaml.AliasEvent):
                    self._report.problem(where, "aliases (*name) are not supported", "write the value out")
                    self._add(Scalar("", True, where))
                    continue
                self._begin(event, where)
        return self._root

    def _begin(self, event: Any, where: Where) -> None:
        if event.anchor is not None:
            self._report.problem(where, "anchors (&name) are not supported", "write the value out where it is needed")
        if event.tag is not None:
            self._report.problem(
                where, f"tags are not supported: {shown(event.tag)}", "remove the word that begins with !"
            )
        if isinstance(event, yaml.ScalarEvent):
            self._add(Scalar(event.value, not event.style, where))
        else:
            self._open.append((isinstance(event, yaml.MappingStartEvent), [], where))

    def _close(self) -> None:
        is_mapping, nodes, where = self._open.pop()
        self._add(self._entries(nodes, where) if is_mapping else Items(tuple(nodes), where))

    def _add(self, node: Node) -> None:
        if self._open:
            self._open[-1][1].append(node)
        else:
            self._root = node

    def _entries(self, nodes: List[Node], where: Where) -> Entries:
        first: Dict[str, Where] = {}
        entries: List[Tuple[Scalar, Node]] = []
        for key, value in zip(nodes[::2], nodes[1::2]):
            if not isinstance(key, Scalar):
                self._report.problem(key.where, "a key must be a word")
            elif key.text == "<<" and key.plain:
                self._report.problem(key.where, "merge keys (<<) are not supported", "use extends: or presets:")
            elif key.text in first:
                self._report.problem(
                    key.where,
                    f"the key {shown(key.text)} stands twice",
                    f"the first one is in line {first[key.text].line}",
                )
            else:
                first[key.text] = key.where
                entries.append((key, value))
        return Entries(tuple(entries), where)


def fields(node: Node, known: Iterable[str], what: str, report: Report) -> Dict[str, Node]:
    """The values of a mapping by key; a node that is none, unknown keys and keys without a value are problems."""
    if not isinstance(node, Entries):
        report.problem(node.where, f"{what} must be a mapping (key: value)")
        return {}
    found: Dict[str, Node] = {}
    words = tuple(known)
    for key, value in node.entries:
        if key.text not in words:
            report.problem(key.where, f"{what} has no key {shown(key.text)}", did_you_mean(key.text, words))
        elif isinstance(value, Scalar) and value.empty:
            empty = "; for an empty list write []" if key.text in ("egress", "presets", "allow") else ""
            report.problem(key.where, f"{key.text} has no value", f"give it one or remove the line{empty}")
        else:
            found[key.text] = value
    return found


def scalar(node: Node, what: str, report: Report) -> Optional[Scalar]:
    """``node`` as a text that is not empty."""
    if isinstance(node, Scalar) and node.text and not node.empty:
        return node
    report.problem(node.where, f"{what} must be a single word or number")
    return None


def items(node: Node, what: str, report: Report) -> Tuple[Node, ...]:
    """The members of a sequence; a single word stands for a sequence of one."""
    if isinstance(node, Items):
        return node.items
    if isinstance(node, Scalar) and not node.empty:
        return (node,)
    report.problem(node.where, f"{what} must be a list", "[a, b], or a line for each that begins with '- '")
    return ()


def boolean(node: Node, what: str, report: Report) -> Optional[bool]:
    """true, yes, on; false, no, off."""
    word = scalar(node, what, report)
    if word is None:
        return None
    if word.text.lower() in _TRUE + _FALSE:
        return word.text.lower() in _TRUE
    report.problem(word.where, f"{what} must be true or false, not {shown(word.text)}")
    return None


def choice(node: Node, what: str, words: Tuple[str, ...], report: Report) -> Optional[str]:
    """One of ``words``.  Where ``none`` is one of them, ``no`` and its like are not guessed at, but asked about."""
    word = scalar(node, what, report)
    if word is None:
        return None
    if word.text in words:
        return word.text
    negated = word.text.lower() in _FALSE and "none" in words
    hint = "did you mean 'none'?" if negated else did_you_mean(word.text, words)
    report.problem(word.where, f"{what} must be {' or '.join(words)}, not {shown(word.text)}", hint)
    return None
