"""``rcc check``: every problem of policy files as values, the names in them looked up as a container start would.

What a file is follows from its place: ``rcc.yaml`` is settings, a file in a folder ``presets`` a preset, in
``profiles`` a profile; anywhere else one with keys that only rcc.yaml has is settings, and everything else a profile.
"""

import os
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from rcc.core.errors import EX_CONFIG, EX_OK, ConfigError, RccError
from rcc.core.layers import merge_profile, profile_names, resolve_settings
from rcc.core.policy_yaml import is_name, read_layer
from rcc.core.report import Note, nearest
from rcc.core.settings_yaml import is_settings, read_settings
from rcc.core.sources import PRESET, PROFILE, SETTINGS, Source, Sources
from rcc.system.configfiles import read_file, read_sources
from rcc.system.owner import home_of, owner_uid

# Names for a profile made up to check a preset by, and for a file whose own name is no profile's.
_PROBE = "rcc-check-probe"
_NAMELESS = "rcc-check-file"
_FOLDERS = {"profiles": PROFILE, "presets": PRESET}


class FileReport(NamedTuple):
    """What was found in one file; ``kind`` is of core/sources.KINDS."""

    file: str
    kind: str
    problems: Tuple[RccError, ...]
    notes: Tuple[Note, ...]

    @property
    def exit_code(self) -> int:
        """EX_CONFIG when there are problems."""
        return EX_CONFIG if self.problems else EX_OK

    def lines(self) -> Tuple[str, ...]:
        """For people: a line for each problem and note, remedies indented, a summary."""
        lines: List[str] = []
        for problem in self.problems:
            lines.append(f"{problem}")
            if problem.hint:
                lines.append(f"    {problem.hint}")
        lines += [f"{note.where}: note: {note.message}" for note in self.notes]
        count = len(self.problems)
        state = f"{count} problem{'s' if count > 1 else ''}" if count else "ok"
        lines.append(f"{self.file}: {self.kind}: {state}")
        return tuple(lines)

    def to_data(self) -> Dict[str, Any]:
        """For ``--json``."""
        return {
            "file": self.file,
            "kind": self.kind,
            "ok": not self.problems,
            "problems": [{"where": p.where, "message": p.message, "hint": p.hint} for p in self.problems],
            "notes": [{"where": str(note.where), "message": note.message} for note in self.notes],
        }


def check_files(files: Sequence[str], sources: Optional[Sources] = None) -> Tuple[FileReport, ...]:
    """A report for each file; ``sources`` are the machine's own layers, read when None."""
    known = read_sources(home=home_of(owner_uid())).sources if sources is None else sources
    return tuple(_check(file, known) for file in files)


def _check(file: str, sources: Sources) -> FileReport:
    try:
        text = read_file(file)
    except RccError as error:
        return FileReport(file, PROFILE, (error,), ())
    return check_text(text, file, sources)


def check_text(text: bytes, file: str, sources: Sources, kind: str = "") -> FileReport:
    """The report of one file's text; ``kind`` where the file's place should not decide."""
    kind = kind or kind_of(file, text)
    own = _as_source(text, file, kind, sources)
    if kind == SETTINGS:
        settings = read_settings(text, file, own.layer)
        problems, notes = settings.problems, settings.notes
    else:
        layer = read_layer(text, file, kind)
        problems, notes = layer.problems, layer.notes
    if not problems:
        problems = _lookup_problems(own, sources)
    return FileReport(file, kind, problems, notes)


def kind_of(file: str, text: bytes) -> str:
    """Whether a file is a profile, a preset or settings: by its place, else by its keys."""
    if os.path.basename(file) == "rcc.yaml":
        return SETTINGS
    folder = os.path.basename(os.path.dirname(os.path.abspath(file)))
    if folder in _FOLDERS:
        return _FOLDERS[folder]
    return SETTINGS if is_settings(text) else PROFILE


def _as_source(text: bytes, file: str, kind: str, sources: Sources) -> Source:
    """The file as one of the layers: its own if it lies there, else the user's; settings elsewhere are the admin's."""
    real = os.path.realpath(file)
    for source in sources:
        if os.path.realpath(source.path) == real:
            return source._replace(path=file, text=text, trouble="", remedy="")
    name = os.path.splitext(os.path.basename(file))[0]
    if os.path.basename(os.path.dirname(os.path.abspath(file))) not in _FOLDERS and not is_name(name):
        name = _NAMELESS  # nobody asks for it by the name that it has here
    return Source("admin", kind, "", file, text) if kind == SETTINGS else Source("user", kind, name, file, text)


def _lookup_problems(own: Source, sources: Sources) -> Tuple[RccError, ...]:
    """What goes wrong once the names in the file are followed; the file takes its place among the others."""
    others = tuple(s for s in sources if (s.layer, s.kind, s.name) != (own.layer, own.kind, own.name))
    around = (*others, own)
    try:
        if own.kind == SETTINGS:
            return _settings_problems(own, around)
        if not is_name(own.name):
            hint = "lower-case letters, digits, '.', '-', '_'; not one of the words for yes and no"
            return (RccError(f"{own.name!r} is no name for a {own.kind}", hint=hint, where=own.path),)
        if own.kind == PRESET:
            probe = f"version: 1\npresets: [{own.name}]\n".encode()
            merge_profile(_PROBE, (*around, Source(own.layer, PROFILE, _PROBE, "", probe)))
        else:
            merge_profile(own.name, around)
    except ConfigError as error:
        return error.problems
    return ()


def _settings_problems(own: Source, sources: Sources) -> Tuple[RccError, ...]:
    """What is wrong with the settings of all layers together, and with the profiles that they name."""
    settings = resolve_settings(sources)
    problems: Dict[Tuple[str, str], RccError] = {}
    known = profile_names(sources)
    for name in (settings.default_profile, *(settings.lock.allowed_profiles or ())):
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near}?" if near else f"profiles here: {', '.join(known) or 'none'}"
            missing = RccError(f"there is no profile {name}", hint=hint, where=own.path)
            problems.setdefault((missing.where, missing.message), missing)
            continue
        try:
            merge_profile(name, sources)
        except ConfigError as error:
            problems.update({(problem.where, problem.message): problem for problem in error.problems})
    return tuple(problems.values())
