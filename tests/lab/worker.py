"""The lab's end of a session: a JSON request a line on standard input, a JSON answer a line on standard output."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import Any, Dict

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

from record import Incomplete, Record

TIMED_OUT = 124  # as timeout(1) gives
GRACE = 2  # seconds for killed processes to let go of their output


def run(request: Dict[str, Any]) -> Dict[str, Any]:
    """Run a command in a session of its own; it is killed with all of that session when its time is over."""
    try:
        process = subprocess.Popen(
            request["command"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        return {"code": 127, "out": "", "err": f"lab: {request['command'][0]}: {error.strerror}\n"}
    text = request["stdin"].encode()
    try:
        out, err = process.communicate(text, timeout=request["timeout"])
        code = process.returncode
    except subprocess.TimeoutExpired:
        code = process.poll()
        why = "timed out" if code is None else f"ended with {code}, but something it started keeps its output open"
        with suppress(ProcessLookupError):  # nobody is left in its session
            os.killpg(process.pid, signal.SIGKILL)
        try:
            out, err = process.communicate(timeout=GRACE)
        except subprocess.TimeoutExpired as late:
            out, err = late.stdout or b"", late.stderr or b""
        code, err = TIMED_OUT, err + f"\nlab: {why} (after {request['timeout']} s)\n".encode()
    return {"code": code, "out": out.decode("utf-8", "replace"), "err": err.decode("utf-8", "replace")}


def main() -> None:
    """Serve until standard input ends."""
    os.chdir(os.environ["HOME"])
    record = Record()
    print(json.dumps(dict(os.environ)), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "command" in request:
            answer = run(request)
        else:
            try:
                answer = {"frames": record.with_token(request["token"])}
            except Incomplete as error:
                answer = {"trouble": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
