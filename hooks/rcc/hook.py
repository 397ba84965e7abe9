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
POSTSTOP_STATUS = "stopped"  # status at poststop (OCI runtime-spec, runtime.md)


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
    try:
        if stage == "precreate":
            return _precreate()
        if stage in ("createRuntime", "poststop", "state"):
            _find_packages()
            from rcc.app.stages import run_stage

            return run_stage(stage, argv[1] if len(argv) > 1 else "", read_input())
        print(f"rcc-hook: no such stage: {stage!r}", file=sys.stderr)
    except Exception as error:
        _find_packages()
        from rcc.app.refuse import refuse

        refuse(error, None)
    return 1


def _working_directory() -> str:
    try:
        return posix.getcwd()
    except OSError:  # Podman before 4.6 runs hooks where the caller stands, and that folder may be gone
        return ""


def _find_packages() -> None:
    from rcc.system.packages import add_distribution_packages

    add_distribution_packages(sys.path)


def _precreate() -> int:
    data = read_input()
    selection: "Selection | None" = None
    try:
        from rcc.app.select import select

        selection = select(data, _working_directory())
        if selection is None:
            write_output(data)
            return 0
        _find_packages()
        from rcc.app.admit import admit

        spec = admit(selection)
        write_output(data if spec is None else spec)
        return 0
    except Exception as error:
        _find_packages()
        from rcc.app.refuse import refuse

        if refuse(error, selection):
            return 1
        write_output(data)
        return 0
