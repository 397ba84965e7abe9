"""OCI hooks that isolate labelled containers."""

__version__ = "0.1.0"
