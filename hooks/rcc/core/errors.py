"""The errors of rcc and the exit codes that they end in.

Every error says one line of cause and, where there is one, one line of remedy.  Modules of ``core`` and ``system``
raise them; only the entries (``hook.py``, ``cli.py``, ``agent.py``) print them.
"""

# Exit codes, by the names of sysexits.h (4.3BSD).
EX_OK = 0
EX_USAGE = 64
EX_DATAERR = 65
EX_NOINPUT = 66
EX_UNAVAILABLE = 69
EX_SOFTWARE = 70
EX_OSERR = 71
EX_CANTCREAT = 73
EX_TEMPFAIL = 75
EX_NOPERM = 77
EX_CONFIG = 78


class RccError(Exception):
    """Base of all errors of rcc.

    ``message`` is one line of cause, ``hint`` one line of remedy, ``where`` the place (``file:line:column``, a
    container, a path) that it is about.
    """

    exit_code = EX_SOFTWARE

    def __init__(self, message: str, *, hint: str = "", where: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.where = where

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class UsageError(RccError):
    """The words of a command make no sense together."""

    exit_code = EX_USAGE


class Refused(RccError):
    """The container asks for isolation and cannot have it: it must not start."""

    exit_code = EX_NOPERM


class SpecError(RccError):
    """What the engine handed to a hook is not what the OCI runtime specification says."""

    exit_code = EX_DATAERR


class StoreError(RccError):
    """An engine's own files (database, image store) could not be read."""

    exit_code = EX_NOINPUT


class KernelError(RccError):
    """The kernel would not do what was asked of it (namespaces, nf_tables)."""

    exit_code = EX_OSERR


class AgentError(RccError):
    """The agent could not be reached or did not answer in time."""

    exit_code = EX_UNAVAILABLE


class ConfigError(RccError):
    """A policy or configuration file is wrong: ``problems`` has every one of them, located.

    Each problem is an RccError of its own whose ``where`` is ``file:line:column``.
    """

    exit_code = EX_CONFIG

    def __init__(self, problems: "tuple[RccError, ...]") -> None:
        first = problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(first.message + more, hint=first.hint, where=first.where)
        self.problems = problems
