"""One lab for many commands: entering takes seconds, a test wants milliseconds.

with Lab() as lab:
    code, out, err = lab.run("podman run --rm $RCC_LAB_IMAGE true")
    lab.record("token")      # frames whose payload has the token
"""

import json
import os
import subprocess
import tempfile
from typing import Any, Dict, List, Optional, Tuple, Union

ENTER = os.path.join(os.path.dirname(os.path.realpath(__file__)), "enter")
TIMEOUT = 124  # what timeout(1) gives

# Runs in the lab: a JSON request a line on standard input, a JSON answer a line on standard output.
WORKER = r"""
import json, os, subprocess, sys
print(json.dumps(dict(os.environ)), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    if "read" in request:
        with open(request["read"], "rb") as stream:
            stream.seek(request["offset"])
            data = stream.read()
        print(json.dumps({"data": data.decode("utf-8", "replace"), "end": request["offset"] + len(data)}), flush=True)
        continue
    process = subprocess.Popen(
        request["command"], stdin=-3, stdout=-1, stderr=-1, start_new_session=True  # DEVNULL, PIPE, PIPE
    )
    try:
        out, err = process.communicate(timeout=request["timeout"])
        code = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        out, err = process.communicate()
        code, err = 124, err + b"\nlab: timed out"
    answer = {"code": code, "out": out.decode("utf-8", "replace"), "err": err.decode("utf-8", "replace")}
    print(json.dumps(answer), flush=True)
"""


class Lab:
    """A lab that stays open.  ``env`` is the environment of its commands, with the RCC_LAB_ variables."""

    def __init__(self, *, rootless: bool = False, with_rcc: bool = True) -> None:
        self.rootless = rootless
        self._words = [ENTER, *(["--rootless"] if rootless else []), *([] if with_rcc else ["--without-rcc"]), "--"]
        self._process: "Optional[subprocess.Popen[str]]" = None
        self.env: Dict[str, str] = {}

    def __enter__(self) -> "Lab":
        command = [*self._words, "/usr/bin/python3", "-I", "-c", WORKER]
        self._errors = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True, encoding="utf-8"
        )
        self.env = self._answer()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait(timeout=60)
        self._errors.close()

    def _answer(self) -> Any:
        assert self._process is not None and self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            raise RuntimeError(f"the lab ended: {self._errors.read()[-3000:]}")
        return json.loads(line)

    def _ask(self, request: Dict[str, Any]) -> Any:
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def run(self, command: Union[str, List[str]], timeout: float = 30) -> Tuple[int, str, str]:
        """Run a command (a text by `sh -c`) on the lab host: status, standard output, standard error."""
        words = ["sh", "-c", command] if isinstance(command, str) else command
        answer = self._ask({"command": words, "timeout": timeout})
        return answer["code"], answer["out"], answer["err"]

    def frames(self) -> List[Dict[str, Any]]:
        """Every frame recorded so far."""
        text = self._ask({"read": self.env["RCC_LAB_RECORD"], "offset": 0})["data"]
        return [json.loads(line) for line in text.splitlines() if line.endswith("}")]

    def record(self, token: str) -> List[Dict[str, Any]]:
        """The frames whose payload has ``token``."""
        return [frame for frame in self.frames() if token in frame["payload"]]
