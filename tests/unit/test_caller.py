"""The reason reaches the standard error of the process that called, and nobody else's."""

import os
import subprocess
import sys
import time

from rcc.system.caller import tell

SLEEPER = [sys.executable, "-c", "import sys; sys.stdin.read()"]


def sleeper(stderr: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(SLEEPER, stdin=subprocess.PIPE, stderr=stderr)


def test_a_pipe_gets_the_words() -> None:
    with sleeper(subprocess.PIPE) as process:
        assert process.stdin and process.stderr
        assert tell("rcc: refused\n", process.pid)
        process.stdin.close()
        assert process.stderr.read() == b"rcc: refused\n"


def test_a_file_is_appended_to(tmp_path: "os.PathLike[str]") -> None:
    path = os.path.join(tmp_path, "log")
    with open(path, "wb") as stream:
        stream.write(b"before\n")
        stream.flush()
        with sleeper(stream.fileno()) as process:
            assert process.stdin
            assert tell("after\n", process.pid)
            process.stdin.close()
    with open(path, "rb") as stream:
        assert stream.read() == b"before\nafter\n"


def test_what_has_gone_is_no_error() -> None:
    with sleeper(subprocess.DEVNULL) as process:
        assert process.stdin
        process.stdin.close()
        process.wait()
        pid = process.pid
    assert not tell("nobody\n", pid)


def test_a_full_pipe_does_not_block() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    try:
        while True:
            os.write(write, b"x" * 4096)
    except BlockingIOError:
        pass
    with sleeper(write) as process:
        assert process.stdin
        began = time.monotonic()
        assert not tell("y" * 4096, process.pid)
        assert time.monotonic() - began < 30
        process.stdin.close()
    os.close(read)
    os.close(write)


def test_another_users_process_is_left_alone() -> None:
    if os.getuid() == 0:
        return  # root owns them all; the lab's rootless suite covers the rest
    assert not tell("no\n", 1)
