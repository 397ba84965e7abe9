"""Entry of the OCI hooks: ``rcc-hook STAGE [RUN]``, the engine's JSON on standard input.

    precreate          Podman's own stage: the spec comes in and goes out, changed or not (oci-hooks(5))
    createRuntime RUN  added by precreate: isolate the namespace that the runtime has made
    poststop RUN       added by precreate: this start of the container has ended
    state              from oci-hooks.d/rcc.json, by annotation, at prestart and poststop of any engine

Everything unexpected ends in a refusal with exit status 1.  A container that does not ask for isolation costs the
imports of ``select`` and no more: tests/unit/test_imports.py pins them.
"""

import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rcc.app.select import Selection

INPUT_LIMIT = 64 << 20  # bytes; a spec is some 10 to 50 kB


def read_input() -> bytes:
    """All of standard input.  Raises OSError, or ValueError beyond INPUT_LIMIT."""
    parts: "list[bytes]" = []
    length = 0
    while True:
        part = posix.read(0, 1 << 20)
        if not part:
            return b"".join(parts)
        parts.append(part)
        length += len(part)
        if length > INPUT_LIMIT:
            raise ValueError("standard input is larger than any OCI spec")


def write_output(data: bytes) -> None:
    """All of ``data`` to standard output."""
    rest = memoryview(data)
    while rest:
        rest = rest[posix.write(1, rest) :]


def main(argv: "list[str]") -> int:
    """Run one stage; the exit status: 0 to go on, 1 to stop the container."""
    stage = argv[0] if argv else ""
    data = b""
    try:
        if stage == "precreate":
            return _precreate()
        if stage in ("createRuntime", "poststop", "state"):
            data = read_input()
            return _run_stage(stage, argv[1] if len(argv) > 1 else "", data)
        print(f"rcc-hook: no such stage: {stage!r}", file=sys.stderr)
    except Exception as error:
        _find_packages()
        from rcc.app.refuse import refuse

        refuse(error, _container_of(data))
    return 1


def _container_of(state: bytes) -> str:
    """The id in an OCI state, empty when it has none that can be read."""
    from rcc.core.errors import RccError
    from rcc.core.oci import parse_state
    from rcc.system.fast_json import loads

    try:
        return parse_state(loads(state)).id
    except (ValueError, RccError):
        return ""


def _working_directory() -> str:
    try:
        return posix.getcwd()
    except OSError:  # Podman before 4.6 runs hooks where the caller stands, and that folder may be gone
        return ""


def _find_packages() -> None:
    from rcc.system.packages import add_distribution_packages

    add_distribution_packages(sys.path)


def _run_stage(stage: str, run: str, data: bytes) -> int:
    from rcc.app.delegate import isolate_by_agent, release_by_agent

    if (stage == "createRuntime" and isolate_by_agent(run, data)) or (stage == "poststop" and release_by_agent(run)):
        return 0
    _find_packages()
    from rcc.app.stages import run_stage

    return run_stage(stage, run, data)


def _announce(spec: bytes, name: str) -> None:
    from rcc.app.announce import MARK, announce_learning

    if MARK in spec:
        announce_learning(name)


def _admit(selection: "Selection") -> "bytes | None":
    _find_packages()
    from rcc.app.admit import admit
    from rcc.app.resolve import AgentNames
    from rcc.system.owner import state_root
    from rcc.system.state import State

    state = State(state_root())
    return admit(selection, state, AgentNames(state.root))


def _precreate() -> int:
    data = read_input()
    selection: "Selection | None" = None
    try:
        from rcc.app.select import select

        cwd = _working_directory()
        selection = select(data, cwd)
        if selection is None:
            write_output(data)
            return 0
        from rcc.app.delegate import admit_by_agent

        spec = admit_by_agent(data, cwd, selection.spec)
        if spec is None:
            spec = _admit(selection)
        if spec is not None and b'"rcc.mode"' in spec:
            _announce(spec, selection.name)
        write_output(data if spec is None else spec)
        return 0
    except Exception as error:
        _find_packages()
        from rcc.app.refuse import refuse

        known = ("", "") if selection is None else (selection.container, selection.name)
        if refuse(error, *known, labels_unread=selection is None):
            return 1
        write_output(data)
        return 0
