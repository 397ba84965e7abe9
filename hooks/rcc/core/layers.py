"""Vendor, admin and user files put together: which policy a profile's name stands for, and what the admin has locked.

- A name in a file is looked up in that file's own layer and the layers before it, never in a later one, so no user's
  file changes what an admin's file means.  A profile that extends its own name means the one of the layer before.
- Within a profile: what it extends, then its presets, then its own keys; lists add up, of single values the last
  stands.  ``egress: []`` allows nothing, whatever it extends.
- The admin's ceiling bounds every profile but what the admin's own profiles grant.  A line of a user's file beyond it
  is a problem; a vendor's is cut down to what the ceiling allows.

Pure: everything works on texts that ``system/configfiles`` has read.
"""

from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Set, Tuple

from rcc.core.errors import ConfigError, RccError, Refused
from rcc.core.policy import EgressRule, ImageRules, InternetRule, Limits, Policy, Where
from rcc.core.policy_yaml import Layer, Name, is_name, parse_layer
from rcc.core.report import Report, nearest, shown
from rcc.core.settings import Lock, Settings
from rcc.core.settings_yaml import LockFile, SettingsFile, parse_settings
from rcc.core.sources import LAYERS, PRESET, PROFILE, SETTINGS, Source, Sources
from rcc.core.within import are_images_within, common_rules, is_rule_within

CHAIN_LIMIT = 10  # profiles that extend one another
ADMIN = LAYERS.index("admin")


class _Value(NamedTuple):
    """A decided value, and whether an admin's profile grants it."""

    value: Any
    where: Where
    granted: bool


class _Draft(NamedTuple):
    """A profile on the way: rules with whether an admin's profile grants them, values by key, files in order."""

    egress: Tuple[Tuple[EgressRule, bool], ...]
    values: Dict[str, _Value]
    files: Tuple[str, ...]


def resolve_settings(sources: Sources) -> Settings:
    """The settings that hold.  Raises ConfigError when a file is wrong or a user's goes against the admin's lock."""
    found = _settings_files(sources)
    return _settle(found, *_lock_of(found))


def _settings_files(sources: Sources) -> "List[Tuple[str, SettingsFile]]":
    ordered = sorted(sources, key=lambda source: LAYERS.index(source.layer))
    return [
        (source.layer, parse_settings(_text(source), source.path, source.layer))
        for source in ordered
        if source.kind == SETTINGS
    ]


def _settle(found: "List[Tuple[str, SettingsFile]]", lock: LockFile, lock_where: Where) -> Settings:
    report = Report()
    values: Dict[str, Any] = {}
    origins: Dict[str, Where] = {}
    forced = {"isolate": lock.isolate, "default_profile": lock.default_profile}
    for layer, settings in found:
        for key in ("isolate", "default_profile", "on_unreadable_labels"):
            name: Optional[Name] = getattr(settings, key)
            if name is None:
                continue
            held = forced.get(key)
            if held and layer == "user" and name.name != held.name:
                report.problem(name.where, f"{key} is locked to {held.name} by {held.where}", "remove the line")
            values[key], origins[key] = name.name, name.where
        if settings.keep_capabilities is not None:
            values["keep_capabilities"] = tuple(name.name for name in settings.keep_capabilities)
    report.settle()
    for key, held in forced.items():
        if held:
            values[key], origins[key] = held.name, held.where
    allowed = None if lock.allowed_profiles is None else tuple(name.name for name in lock.allowed_profiles)
    isolate = lock.isolate is not None and lock.isolate.name == "always"
    return Settings(**values, lock=Lock(isolate, allowed, lock_where), origins=tuple(sorted(origins.items())))


def _lock_of(found: "Iterable[Tuple[str, SettingsFile]]") -> Tuple[LockFile, Where]:
    """The last lock: the admin's, or else the vendor's, which a distributor may ship."""
    lock, where = LockFile(), Where()
    for _, settings in found:
        if settings.lock is not None:
            lock, where = settings.lock, settings.lock_where
    return lock, where


def profile_names(sources: Sources) -> Tuple[str, ...]:
    """Every profile there is, whether allowed or not."""
    return tuple(sorted({source.name for source in sources if source.kind == PROFILE}))


def resolve_profile(name: str, sources: Sources) -> Policy:
    """The policy that the profile ``name`` stands for, within what the admin allows.

    Raises Refused for a profile that is unknown or not allowed, ConfigError for files that are wrong.
    """
    settings = resolve_settings(sources)
    allowed = settings.lock.allowed_profiles
    names = profile_names(sources)
    usable = names if allowed is None else tuple(known for known in names if known in allowed)
    if not is_name(name) or name not in names:
        near = nearest(name, usable)
        listed = ", ".join(usable) or "none"
        hint = f"did you mean {near}?" if near else f"profiles here: {listed}"
        raise Refused(f"there is no profile {shown(name)}", hint=hint)
    if name not in usable:
        raise Refused(
            f"the profile {name} is not among those that the admin allows ({settings.lock.where})",
            hint=f"allowed here: {', '.join(usable) or 'none'}",
        )
    return merge_profile(name, sources)


def merge_profile(name: str, sources: Sources) -> Policy:
    """The same for a profile that is there, whether or not the admin lets it be used: for looking at files.

    Raises ConfigError.
    """
    lock, _ = _lock_of(_settings_files(sources))
    resolver = _Resolver(sources, {word.name: word.where for word in lock.locked})
    draft = resolver.profile(Name(name, Where()), len(LAYERS) - 1, ())
    draft = _with_learning(draft) if lock.ceiling is None else resolver.bound(draft, lock.ceiling)
    resolver.report.settle()
    return _policy(name, draft)


def _with_learning(draft: _Draft) -> _Draft:
    """``mode: learn`` as the rule that it stands for, so that the ceiling and every comparison see it."""
    mode = draft.values.get("mode")
    if mode is None or mode.value != "learn":
        return draft
    return draft._replace(egress=(*draft.egress, (InternetRule((), mode.where), mode.granted)))


class _Hosts(NamedTuple):
    """The rules and files of presets, as the keys of dicts: in order, each once."""

    rules: Dict[EgressRule, None]
    files: Dict[str, None]


class _Resolver:
    """Follows names through the layers; ``report`` gathers what is wrong across files."""

    def __init__(self, sources: Sources, locked: Dict[str, Where]) -> None:
        self.report = Report()
        self._sources = {(source.kind, source.name, LAYERS.index(source.layer)): source for source in sources}
        self._layer_of = {source.path: LAYERS.index(source.layer) for source in sources}
        self._locked = locked
        self._parsed: Dict[str, Layer] = {}
        self._expanded: Dict[str, _Hosts] = {}

    def profile(self, name: Name, level: int, chain: Tuple[str, ...]) -> _Draft:
        """The profile ``name`` as files of ``level`` and below say; ``chain`` are the files that led here."""
        source = self._find(PROFILE, name, level)
        if source is None or source.path in chain or len(chain) >= CHAIN_LIMIT:
            self._tell_missing(PROFILE, name, level, source, chain)
            return _Draft((), {}, ())
        own = LAYERS.index(source.layer)
        layer = self._parse(source)
        base = _Draft((), {}, ())
        if layer.extends is not None:
            below = own - 1 if layer.extends.name == source.name else own
            base = self.profile(layer.extends, below, (*chain, source.path))
        granted = own == ADMIN
        hosts = self._presets(layer.presets, own, ())
        egress = [] if layer.egress == () else [*base.egress, *((rule, False) for rule in hosts.rules)]
        egress += [(rule, False) for rule in layer.egress or ()]
        values = dict(base.values)
        if layer.egress == ():
            values.pop("mode", None)  # nothing is allowed, whatever is inherited
        for setting in layer.settings:
            values[setting.key] = _Value(setting.value, setting.where, False)
        draft = _Draft(tuple(egress), values, (*base.files, *hosts.files, source.path))
        return _grant(draft) if granted else draft

    def _presets(self, names: Iterable[Name], level: int, chain: Tuple[str, ...]) -> "_Hosts":
        """The rules and files of presets, in order, each once."""
        found = _Hosts({}, {})
        for name in names:
            source = self._find(PRESET, name, level)
            if source is None or source.path in chain or len(chain) >= CHAIN_LIMIT:
                self._tell_missing(PRESET, name, level, source, chain)
                continue
            if source.path not in self._expanded:
                self._expanded[source.path] = self._expand(source, (*chain, source.path))
            found.rules.update(self._expanded[source.path].rules)
            found.files.update(self._expanded[source.path].files)
        return found

    def _expand(self, source: Source, chain: Tuple[str, ...]) -> "_Hosts":
        """One preset with those that it names.  Once for each file: presets that share presets must not multiply."""
        own = LAYERS.index(source.layer)
        layer = self._parse(source)
        found = _Hosts({}, {})
        for inner in layer.presets:
            more = self._presets((inner,), own - 1 if inner.name == source.name else own, chain)
            found.rules.update(more.rules)
            found.files.update(more.files)
        found.rules.update(dict.fromkeys(layer.egress or ()))
        found.files[source.path] = None
        return found

    def bound(self, draft: _Draft, ceiling: Layer) -> _Draft:
        """``draft`` within ``ceiling``."""
        values = dict(draft.values)
        for setting in ceiling.settings:
            held = values.get(setting.key)
            if held is not None and (held.granted or not _is_wider(setting.key, held.value, setting.value)):
                continue
            if held is None and not _is_wider(setting.key, _CLOSED.get(setting.key), setting.value):
                continue
            if held is not None and self._is_users(held.where):
                hint = f"the admin's ceiling in {setting.where} is {_words(setting.value)}"
                self.report.problem(held.where, f"{setting.key} goes beyond what the admin allows", hint)
            values[setting.key] = _Value(setting.value, setting.where, True)
        draft = _with_learning(draft._replace(values=values))
        if ceiling.egress is None and not ceiling.presets:
            return draft
        hosts = self._presets(ceiling.presets, ADMIN, ())
        allowed = (*hosts.rules, *(ceiling.egress or ()))
        return draft._replace(egress=self._bound_egress(draft.egress, allowed, ceiling))

    def _bound_egress(
        self, rules: Tuple[Tuple[EgressRule, bool], ...], allowed: Tuple[EgressRule, ...], ceiling: Layer
    ) -> Tuple[Tuple[EgressRule, bool], ...]:
        granted = tuple(rule for rule, is_granted in rules if is_granted)
        bounded: List[Tuple[EgressRule, bool]] = []
        for rule, is_granted in rules:
            if is_granted or is_rule_within(rule, allowed + granted):
                bounded.append((rule, is_granted))
            elif self._is_users(rule.where):
                hint = f"ask whoever keeps {ceiling.file} to allow it under lock: ceiling: egress:"
                self.report.problem(rule.where, "this egress entry goes beyond what the admin allows", hint)
            else:
                bounded += [(common, False) for common in common_rules((rule,), allowed)]
        return tuple(bounded)

    def _is_users(self, where: Where) -> bool:
        return LAYERS[self._layer_of.get(where.file, 0)] == "user"

    def _find(self, kind: str, name: Name, level: int) -> Optional[Source]:
        for below in range(level, -1, -1):
            source = self._sources.get((kind, name.name, below))
            if source is not None:
                return source
        return None

    def _parse(self, source: Source) -> Layer:
        if source.path not in self._parsed:
            layer = self._parsed[source.path] = parse_layer(_text(source), source.path, source.kind)
            if source.layer == "user":
                self._check_locked(layer)
        return self._parsed[source.path]

    def _check_locked(self, layer: Layer) -> None:
        """A key that the admin has locked may not stand in a user's file (``egress: []`` may: it only closes)."""
        said: Dict[str, Where] = {setting.key.partition(".")[0]: setting.where for setting in reversed(layer.settings)}
        if layer.extends is not None:
            said["extends"] = layer.extends.where
        if layer.presets:
            said["presets"] = layer.presets[0].where
        if layer.egress:
            said["egress"] = layer.egress[0].where
        for key in sorted(said.keys() & self._locked.keys()):
            self.report.problem(said[key], f"{key} is locked by {self._locked[key]}", f"remove {key} from this file")

    def _tell_missing(
        self, kind: str, name: Name, level: int, source: Optional[Source], chain: Tuple[str, ...]
    ) -> None:
        where = name.where
        if source is not None and source.path in chain:
            self.report.problem(where, f"the {kind} {name.name} leads back to itself", "take one of the names out")
        elif source is not None:
            self.report.problem(
                where, f"more than {CHAIN_LIMIT} {kind}s lead from one to the next", "shorten the chain"
            )
        else:
            known: Set[str] = {
                other for other_kind, other, below in self._sources if other_kind == kind and below <= level
            }
            near = nearest(name.name, known)
            listed = ", ".join(sorted(known)) or "none"
            hint = f"did you mean {near}?" if near else f"known here: {listed}"
            self.report.problem(where, f"there is no {kind} {name.name}", hint)


def _grant(draft: _Draft) -> _Draft:
    return draft._replace(
        egress=tuple((rule, True) for rule, _ in draft.egress),
        values={key: value._replace(granted=True) for key, value in draft.values.items()},
    )


def _text(source: Source) -> bytes:
    if source.trouble:
        raise ConfigError((RccError(source.trouble, hint=source.remedy, where=source.path),))
    return source.text


# Values of keys that a profile does not mention, for comparing with a ceiling (core/policy.Policy).
_CLOSED: Dict[str, Any] = {
    "ingress": "none",
    "mode": "enforce",
    "dns.mode": "gateway",
    "image.allow": (),
    "image.require_digest": False,
}


def _is_wider(key: str, value: Any, bound: Any) -> bool:
    """Whether ``value`` of a setting allows more than ``bound``; None is the absence of a limit."""
    if key == "ingress":
        return bool(value == "published" and bound == "none")
    if key == "mode":
        return bool(value == "learn" and bound == "enforce")
    if key == "dns.mode":
        return bool(value == "static" and bound == "gateway")
    if key == "image.require_digest":
        return bool(bound and not value)
    if key == "image.allow":
        return not are_images_within(value, bound)
    if key.startswith("limits."):
        return bound is not None and (value is None or value > bound)
    return False


def _words(value: Any) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _policy(name: str, draft: _Draft) -> Policy:
    values = {key: held.value for key, held in draft.values.items()}
    egress: Dict[Tuple[Any, ...], EgressRule] = {}
    for rule, _ in draft.egress:
        egress.setdefault((type(rule).__name__, *rule[:-1]), rule)  # the same line again, from another file
    return Policy(
        name=name,
        egress=tuple(egress.values()),
        ingress=values.get("ingress", "none"),
        dns_mode=values.get("dns.mode", "gateway"),
        dns_refresh=values.get("dns.refresh", 300),
        limits=Limits(**{key: values.get(f"limits.{key}") for key in Limits._fields}),
        image=ImageRules(values.get("image.allow", ()), values.get("image.require_digest", False)),
        on_denied=values.get("on_denied", "reject"),
        mode=values.get("mode", "enforce"),
        origins=tuple(sorted((key, held.where) for key, held in draft.values.items())),
        files=tuple(dict.fromkeys(draft.files)),
    )
