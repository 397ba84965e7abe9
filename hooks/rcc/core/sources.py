"""The files of the three configuration layers as values: read by ``system/configfiles``, merged by ``core/layers``."""

from typing import NamedTuple, Tuple

# Precedence, weakest first.
LAYERS = ("vendor", "admin", "user")
PROFILE = "profile"
PRESET = "preset"
SETTINGS = "settings"
KINDS = (PROFILE, PRESET, SETTINGS)


class Source(NamedTuple):
    """One file: ``layer`` is of LAYERS, ``kind`` of KINDS, ``name`` the profile's or preset's (empty for settings).

    With ``trouble`` the file is there but cannot be trusted or read; whoever needs it must fail with these words
    (and ``remedy``), never pass it over: an earlier layer's file of the same name may be wider.
    """

    layer: str
    kind: str
    name: str
    path: str
    text: bytes = b""
    trouble: str = ""
    remedy: str = ""


Sources = Tuple[Source, ...]
