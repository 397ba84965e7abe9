"""The settings and the policy of a profile, from the files of all layers or from what was read of them last time.

Reading YAML costs a start 15 ms and more (``make bench``), so the hook keeps what it understood beside its state, with
a signature of every file that was looked at: path, inode, times and size.  Whatever has changed since, is missing or is
new makes it read again. The folder is the user's own and private, like all state (``system/state.py``).
"""

from typing import Any, Dict, Optional

from rcc.core.errors import RccError
from rcc.core.policy import Policy
from rcc.core.policy_json import policy_from_data, policy_to_data
from rcc.system.configfiles import Read, read_sources, signature_holds
from rcc.system.owner import home_of, owner_uid, state_root
from rcc.system.state import State

CACHE = "policies"


class StartSettings:
    """The few settings that a container's start asks about (core/layers.Settings has all of them)."""

    __slots__ = ("default_profile", "isolate", "locked", "on_unreadable_labels")

    def __init__(self, isolate: bool, locked: bool, default_profile: str, on_unreadable_labels: str) -> None:
        self.isolate = isolate  # containers that do not ask are isolated too
        self.locked = locked  # and no label takes that off
        self.default_profile = default_profile
        self.on_unreadable_labels = on_unreadable_labels

    def to_data(self) -> Dict[str, Any]:
        """For the cache."""
        return {name: getattr(self, name) for name in self.__slots__}


class Policies:
    """What the files of this machine and user say.  ``prefix`` and ``home`` are arguments for tests."""

    def __init__(self, state: State, prefix: str = "/", home: Optional[str] = None) -> None:
        self._state = state
        self._prefix = prefix
        self._home = home_of(owner_uid()) if home is None else home
        self._read: Optional[Read] = None
        data = state.read_cache(CACHE)
        fresh = data is not None and data.get("home") == self._home and signature_holds(data.get("signature") or ())
        self._cached: Dict[str, Any] = data if fresh and data is not None else {}

    def settings(self) -> StartSettings:
        """The settings that hold.  Raises ConfigError for files that are wrong."""
        cached = self._cached.get("settings")
        if cached is not None:
            return StartSettings(**cached)
        from rcc.core.layers import resolve_settings

        found = resolve_settings(self._sources().sources)
        settled = StartSettings(
            found.isolate == "always", found.lock.isolate, found.default_profile, found.on_unreadable_labels
        )
        self._keep("settings", settled.to_data())
        return settled

    def profile(self, name: str) -> Policy:
        """The policy of a profile.  Raises Refused for one that is unknown or not allowed, ConfigError for broken
        files.
        """
        cached = self._cached.get("profiles", {}).get(name)
        if cached is not None:
            return policy_from_data(cached)
        from rcc.core.layers import resolve_profile

        policy = resolve_profile(name, self._sources().sources)
        profiles = dict(self._cached.get("profiles", {}))
        profiles[name] = policy_to_data(policy)
        self._keep("profiles", profiles)
        return policy

    def _sources(self) -> Read:
        if self._read is None:
            self._read = read_sources(self._prefix, self._home)
            if self._cached.get("signature") != [list(stamp) for stamp in self._read.signature]:
                self._cached = {}
        return self._read

    def _keep(self, key: str, value: Any) -> None:
        read = self._sources()
        self._cached = {
            **self._cached,
            "home": self._home,
            "signature": [list(stamp) for stamp in read.signature],
            key: value,
        }
        try:
            self._state.write_cache(CACHE, self._cached)
        except RccError:
            return  # a full disk makes starts slower, not different


def settings_in_force() -> StartSettings:
    """The settings of this machine and the calling user, within the admin's lock."""
    return Policies(State(state_root())).settings()
