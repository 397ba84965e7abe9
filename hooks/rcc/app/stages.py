"""createRuntime (prestart) and poststop: the OCI state on standard input, one container's namespace at its beginning
and end.
"""

from rcc.app.isolate import isolate
from rcc.app.release import release
from rcc.app.resolve import AgentNames, Names
from rcc.core.errors import RccError, Refused, SpecError
from rcc.core.oci import State as OciState
from rcc.core.oci import parse_state
from rcc.system.fast_json import loads
from rcc.system.owner import state_root
from rcc.system.state import State


def run_stage(stage: str, run: str, data: bytes) -> int:
    """One hook by its stage (``state``: the state itself tells which); the exit status.  Raises RccError."""
    try:
        state = parse_state(loads(data))
    except ValueError as error:
        raise SpecError(f"the state on standard input is no JSON: {error}") from error
    if stage == "poststop" or (stage == "state" and not state.pid):
        _end(run, state)
    elif stage == "createRuntime":
        folder = State(state_root())
        isolate_settled(folder, run, state.id, f"/proc/{state.pid}/ns/net", AgentNames(folder.root))
    else:
        from rcc.app.annotated import isolate_annotated

        isolate_annotated(state)
    return 0


def isolate_settled(folder: State, run: str, container: str, path: str, names: Names) -> None:
    """What precreate settled for this very start, in the namespace that the runtime has made meanwhile."""
    settled = folder.read_settled(run)
    if settled is None or settled.member.container != container:
        raise Refused("what was settled for this start is gone", hint="start the container again")
    # Podman may bring this network up after the hooks, and only then write which resolvers it has: the agent looks.
    isolate(folder, settled, path, names, bare=False)
    folder.drop_settled(run)


def _end(run: str, state: OciState) -> None:
    try:
        release(State(state_root()), run=run, container=state.id)
    except RccError as error:
        import sys

        print(f"rcc: {error}", file=sys.stderr)  # nothing is open for it: rules go with the namespace
