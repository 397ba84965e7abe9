"""``rcc.yaml``: how containers come to be isolated, and in the admin's file what users may not change."""

from typing import Dict, List, NamedTuple, Optional, Tuple

from rcc.core.errors import RccError
from rcc.core.policy import Where
from rcc.core.policy_yaml import Layer, Name, read_body, read_name, read_names, read_versioned
from rcc.core.report import Note, Report, did_you_mean, shown
from rcc.core.settings import ISOLATE, UNREADABLE
from rcc.core.sources import SETTINGS
from rcc.core.yaml_tree import Entries, Node, choice, fields, items, read_tree, scalar

SETTING_KEYS = ("isolate", "default_profile", "on_unreadable_labels", "keep_capabilities")
LOCK_KEYS = ("isolate", "default_profile", "allowed_profiles", "locked", "ceiling")
CEILING_KEYS = ("presets", "egress", "mode", "ingress", "dns", "limits", "image")
# What `locked:` can take from users' profiles.
LOCKABLE = ("extends", "mode", "presets", "egress", "ingress", "dns", "limits", "image", "on_denied")


class LockFile(NamedTuple):
    """The ``lock:`` of the admin's file; None and empty where it says nothing."""

    isolate: Optional[Name] = None
    default_profile: Optional[Name] = None
    allowed_profiles: Optional[Tuple[Name, ...]] = None
    locked: Tuple[Name, ...] = ()
    ceiling: Optional[Layer] = None


class SettingsFile(NamedTuple):
    """What one rcc.yaml says; None where it says nothing."""

    file: str
    isolate: Optional[Name] = None
    default_profile: Optional[Name] = None
    on_unreadable_labels: Optional[Name] = None
    keep_capabilities: Optional[Tuple[Name, ...]] = None
    lock: Optional[LockFile] = None
    lock_where: Where = Where()


class SettingsReading(NamedTuple):
    """A file read: ``settings`` holds only when there are no problems."""

    settings: SettingsFile
    problems: Tuple[RccError, ...]
    notes: Tuple[Note, ...]


def read_settings(text: bytes, file: str, layer: str) -> SettingsReading:
    """The text of a ``layer``'s rcc.yaml.  Raises nothing for any text."""
    report = Report()
    root = read_tree(text, file, report)
    settings = SettingsFile(file)
    if root is not None or not report.problems:
        settings = _read_root(root, file, layer, report)
    return SettingsReading(settings, report.problems, report.notes)


def parse_settings(text: bytes, file: str, layer: str) -> SettingsFile:
    """The same, for those who need a sound file.  Raises ConfigError with every problem."""
    report = Report()
    root = read_tree(text, file, report)
    report.settle()
    settings = _read_root(root, file, layer, report)
    report.settle()
    return settings


def is_settings(text: bytes) -> bool:
    """Whether a text has keys that only an rcc.yaml has; for files whose place does not tell what they are."""
    root = read_tree(text, "", Report())
    return isinstance(root, Entries) and any(key.text in (*SETTING_KEYS, "lock") for key, _ in root.entries)


def _read_root(root: Optional[Node], file: str, layer: str, report: Report) -> SettingsFile:
    found = read_versioned(root, ("version", *SETTING_KEYS, "lock"), SETTINGS, file, report)
    lock = None
    if "lock" in found:
        if layer == "user":
            report.problem(found["lock"].where, "only the admin's rcc.yaml may lock", "remove lock:")
        else:
            lock = _read_lock(found["lock"], file, report)
    unreadable = _word(found, "on_unreadable_labels", UNREADABLE, report)
    if unreadable and unreadable.name == "pass":
        if layer == "user":
            report.problem(
                unreadable.where, "only the admin's rcc.yaml may let containers pass whose labels cannot be read"
            )
        else:
            report.note(unreadable.where, "containers whose labels cannot be read will run without isolation")
    return SettingsFile(
        file,
        isolate=_word(found, "isolate", ISOLATE, report),
        default_profile=_profile(found, report),
        on_unreadable_labels=unreadable,
        keep_capabilities=_read_capabilities(found, layer, report),
        lock=lock,
        lock_where=found["lock"].where if "lock" in found else Where(),
    )


def _word(found: Dict[str, Node], key: str, words: Tuple[str, ...], report: Report) -> Optional[Name]:
    if key not in found:
        return None
    word = choice(found[key], key, words, report)
    return Name(word, found[key].where) if word is not None else None


def _profile(found: Dict[str, Node], report: Report) -> Optional[Name]:
    return read_name(found["default_profile"], "default_profile", report) if "default_profile" in found else None


def _read_capabilities(found: Dict[str, Node], layer: str, report: Report) -> Optional[Tuple[Name, ...]]:
    if "keep_capabilities" not in found:
        return None
    node = found["keep_capabilities"]
    if layer == "user":
        report.problem(node.where, "only the admin's rcc.yaml may keep capabilities", "remove keep_capabilities")
    report.note(node.where, "keep_capabilities is reserved and has no effect in this version")
    names: List[Name] = []
    for item in items(node, "keep_capabilities", report):
        word = scalar(item, "a capability", report)
        if word is not None:
            names.append(Name(word.text.upper(), word.where))
    return tuple(names)


def _read_lock(node: Node, file: str, report: Report) -> LockFile:
    found = fields(node, LOCK_KEYS, "lock", report)
    allowed = read_names(found["allowed_profiles"], "allowed_profiles", report) if "allowed_profiles" in found else None
    default = _profile(found, report)
    if allowed is not None and default and default.name not in [name.name for name in allowed]:
        report.problem(
            default.where, f"the default profile {default.name} is not among allowed_profiles", "add it there"
        )
    locked: List[Name] = []
    for item in items(found["locked"], "locked", report) if "locked" in found else ():
        word = scalar(item, "locked", report)
        if word is None:
            continue
        if word.text not in LOCKABLE:
            report.problem(
                word.where, f"locked: no key {shown(word.text)} of a profile", did_you_mean(word.text, LOCKABLE)
            )
        locked.append(Name(word.text, word.where))
    ceiling = None
    if "ceiling" in found:
        ceiling = read_body(fields(found["ceiling"], CEILING_KEYS, "ceiling", report), file, report)
    return LockFile(_word(found, "isolate", ISOLATE, report), default, allowed, tuple(locked), ceiling)
