"""Say why a container may not start: to the caller, to the log, and to whoever runs `rcc why`."""

import os
import sys
import time

from rcc.core.errors import RccError, StoreError
from rcc.core.printable import printable
from rcc.system import caller
from rcc.system.owner import state_root
from rcc.system.state import Outcome, State


def refuse(error: Exception, container: str = "", name: str = "", *, labels_unread: bool = False) -> bool:
    """Tell everybody; True when the container must be stopped.

    False only for a container whose labels could not be read (``labels_unread``), where the admin's settings say
    `on_unreadable_labels: pass`.  Never raises: what cannot be told in one way is told in the others, and the exit
    status stands.
    """
    if isinstance(error, RccError):
        message, hint, where = error.message, error.hint, error.where
    else:  # a defect of rcc: closed all the same
        message, hint, where = f"internal error: {error!r}", "this is a defect of rcc: please report it", ""
    stop = not (labels_unread and isinstance(error, StoreError) and _unreadable_may_pass())
    verdict = "refused" if stop else "let pass without isolation (on_unreadable_labels: pass)"
    who = printable(name) or container[:12] or "a container"
    text = f"rcc: {who} {verdict}: {f'{printable(where)}: ' if where else ''}{printable(message)}\n"
    if hint:
        text += f"rcc: {printable(hint)}\n"
    sys.stderr.write(text)
    caller.tell(text, os.getppid())
    caller.log(text.replace("\n", " "), failed=stop)
    try:
        State(state_root()).add_outcome(Outcome(time.time(), container, name, verdict, message, hint, where))
    except RccError as problem:
        sys.stderr.write(f"rcc: {problem}\n")
    return stop


def _unreadable_may_pass() -> bool:
    from rcc.app.policies import settings_in_force

    try:
        return settings_in_force().on_unreadable_labels == "pass"
    except (RccError, ImportError):
        return False
