"""One lab for many commands: entering takes a second or two, a test wants milliseconds.

with Lab() as lab:
    code, out, err = lab.run("podman run --rm $RCC_LAB_IMAGE true")
    lab.record("token")      # frames whose payload has the token
"""

import json
import os
import subprocess
import tempfile
import threading
from typing import Any, Dict, List, NamedTuple, Optional, Union

ENTER = os.path.join(os.path.dirname(os.path.realpath(__file__)), "enter")
WORKER = ["/usr/bin/python3", "-I", "/run/lab/py/worker.py"]
LEAVING = 60  # seconds to leave by itself


class Done(NamedTuple):
    """A command that ended: its status (124 when its time was over), standard output and standard error."""

    code: int
    out: str
    err: str


class LabError(Exception):
    """The lab could not be entered, has ended, or its record cannot be trusted."""


class Lab:
    """A lab that stays open.  ``env`` is the environment of its commands, with the RCC_LAB_ variables."""

    def __init__(self, *, rootless: bool = False, with_rcc: bool = True) -> None:
        self.rootless = rootless
        self.env: Dict[str, str] = {}
        self._words = [ENTER, *(["--rootless"] if rootless else []), *([] if with_rcc else ["--without-rcc"]), "--"]
        self._process: "Optional[subprocess.Popen[str]]" = None
        self._turn = threading.Lock()

    def __enter__(self) -> "Lab":
        self._errors = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            [*self._words, *WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
        )
        try:
            self.env = self._answer()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        process, self._process = self._process, None
        if process is not None and process.stdin is not None and process.stdout is not None:
            process.stdin.close()
            try:
                process.wait(timeout=LEAVING)
            except subprocess.TimeoutExpired:
                process.kill()  # and the kernel ends all that is in the lab
                process.wait()
            process.stdout.close()
            self._errors.close()

    def run(self, command: Union[str, List[str]], timeout: float = 30, stdin: str = "") -> Done:
        """Run a command (a text by `sh -c`) on the lab host, in the home folder of the lab's user; seconds.

        Raises LabError when the lab has ended.
        """
        words = ["sh", "-c", command] if isinstance(command, str) else command
        answer = self._ask({"command": words, "timeout": timeout, "stdin": stdin})
        return Done(answer["code"], answer["out"], answer["err"])

    def frames(self) -> List[Dict[str, Any]]:
        """Every frame that has arrived at `internet` or `lan` until now.  Raises LabError when frames were lost."""
        return self.record("")

    def record(self, token: str) -> List[Dict[str, Any]]:
        """The frames whose payload has ``token``; no need to wait before asking.  Raises LabError as frames does."""
        answer = self._ask({"token": token})
        if "trouble" in answer:
            raise LabError(answer["trouble"])
        frames: List[Dict[str, Any]] = answer["frames"]
        return frames

    def _ask(self, request: Dict[str, Any]) -> Any:
        with self._turn:
            if self._process is None or self._process.stdin is None:
                raise LabError("not in the lab")
            try:
                self._process.stdin.write(json.dumps(request) + "\n")
                self._process.stdin.flush()
            except BrokenPipeError:
                pass  # what it said at its end is read below
            return self._answer()

    def _answer(self) -> Any:
        assert self._process is not None and self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.endswith("\n"):
            self._errors.seek(0)
            raise LabError(f"the lab ended: {self._errors.read()[-3000:]}")
        return json.loads(line)
