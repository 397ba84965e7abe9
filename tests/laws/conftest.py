"""Laws run the same examples every time and against no clock: a slow machine is no counterexample."""

from hypothesis import settings

settings.register_profile("rcc", deadline=None, derandomize=True)
settings.load_profile("rcc")
