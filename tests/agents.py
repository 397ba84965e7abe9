"""Agents as processes, for tests: is one there, who watches whom, one version beside another."""

import array
import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from nameserver import NameServer, eventually
from rcc.core.errors import AgentError
from rcc.system import agent_client, agent_line
from rcc.system.state import State

HOOKS = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", "hooks"))


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stream:
            return stream.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children_of(pid: int) -> List[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(word) for word in found if is_running(int(word))]


def answering(home: Any, seconds: float, other_than: int = 0) -> agent_client.Pong:
    """Who answers after a death: within ``seconds``, and generously more on a machine that is busy."""
    deadline = time.monotonic() + 5 * seconds
    while True:
        with contextlib.suppress(AgentError):
            pong = agent_client.ping(home.root)
            if pong.keeper not in (other_than, 0) and is_running(pong.keeper):
                return pong
        assert time.monotonic() < deadline
        time.sleep(0.01)


def end_all(root: str) -> None:
    """Stop the agent of a state folder and whoever keeps it, killed a moment ago or not."""
    with contextlib.suppress(AgentError):
        agent_client.stop(root, 2.0)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if subprocess.run(["pgrep", "-f", f"--root {root}"], capture_output=True, check=False).returncode:
            return
        time.sleep(0.02)
    subprocess.run(["pkill", "-9", "-f", f"--root {root}"], check=False)


class Versions:
    """A state folder, and one rcc after another."""

    def __init__(self, folder: str, server: NameServer) -> None:
        self.folder = folder
        self.root = os.path.join(folder, "rcc")
        self.programs = os.path.join(folder, "programs")
        self.state = State(self.root)
        self.server = server
        Path(folder, "resolv.conf").write_text(server.resolv_conf, encoding="ascii")
        self.children: "List[subprocess.Popen[bytes]]" = []

    def install(self, version: str) -> str:
        """Put an rcc that says it is of this version in place of what is there, as a package does; its folder."""
        if not os.path.exists(self.programs):
            shutil.copytree(HOOKS, self.programs, ignore=shutil.ignore_patterns("__pycache__"))
        with open(os.path.join(self.programs, "rcc", "__init__.py"), "w", encoding="ascii") as stream:
            stream.write(f'"""A copy."""\n\n__version__ = "{version}"\n')
        shutil.rmtree(os.path.join(self.programs, "rcc", "__pycache__"), ignore_errors=True)
        return self.programs

    def start(self, version: str) -> Any:
        """Have an agent of this version, in place of the one that runs, if any; wait until it answers."""
        program = os.path.join(self.install(version), "rcc-keeper")
        if self.version():
            agent_client.restart(self.root)  # as a hook of that version does
        else:
            options = ["--hosts=", "--resolv-conf", os.path.join(self.folder, "resolv.conf")]
            words = ["/usr/bin/python3", "-IS", program, "--root", self.root, "--", *options]
            self.children.append(subprocess.Popen(words))
        eventually(lambda: self.version() == version)
        return agent_client.ping(self.root)

    def version(self) -> str:
        try:
            return agent_client.ping(self.root).version
        except AgentError:
            return ""

    def inode(self) -> int:
        return os.stat(agent_line.socket_path(self.root)).st_ino

    def close(self) -> None:
        end_all(self.root)
        for child in self.children:
            child.wait(20)

    def log(self) -> List[Any]:
        return [json.loads(line) for line in Path(self.root, "agent.log").read_text(encoding="ascii").splitlines()]


class Manager:
    """Listens for the agent, starts it on demand, and holds what it is given (sd_pid_notify_with_fds(3))."""

    def __init__(self, versions: Versions) -> None:
        self.versions = versions
        self.listen()
        self.notify_path = os.path.join(versions.folder, "notify")
        self.notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notified.bind(self.notify_path)
        self.notified.settimeout(20)
        self.stored: Dict[str, int] = {}
        self.child: "Optional[subprocess.Popen[bytes]]" = None

    def listen(self) -> None:
        """Start the socket unit."""
        path = agent_line.socket_path(self.versions.root)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self.listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listening.bind(path)
        os.chmod(path, 0o600)
        self.listening.listen(64)

    def start(self, version: str, *more: str) -> None:
        """Run the agent with all sockets from descriptor 3 on."""
        handed = [("rcc-agent.socket", self.listening.fileno()), *self.stored.items()]
        names = ":".join(name for name, _ in handed)
        # dup2 clears close-on-exec; first above, so that no number is overwritten before it is used.
        moves = "".join(f"exec {100 + n}<&{fd}; " for n, (_, fd) in enumerate(handed))
        moves += "".join(f"exec {3 + n}<&{100 + n} {100 + n}<&-; " for n in range(len(handed)))
        program = os.path.join(self.versions.install(version), "rcc-agent")
        words = f"/usr/bin/python3 -IS {program} --root {self.versions.root} --hosts= {' '.join(more)}"
        words += f" --resolv-conf {self.versions.folder}/resolv.conf"
        script = f"{moves} LISTEN_PID=$$ LISTEN_FDS={len(handed)} LISTEN_FDNAMES='{names}' exec {words}"
        environment = {**os.environ, "NOTIFY_SOCKET": self.notify_path}
        descriptors = [fd for _, fd in handed]
        self.child = subprocess.Popen(["bash", "-c", script], env=environment, pass_fds=descriptors)

    @property
    def pid(self) -> int:
        """The agent's process."""
        assert self.child is not None
        return self.child.pid

    def status(self) -> int:
        """The agent's exit status, once it has ended."""
        assert self.child is not None
        return self.child.wait(20)

    def hears(self) -> Tuple[Dict[str, str], List[int]]:
        """One message: its lines, and descriptors."""
        data, rights, _, _ = self.notified.recvmsg(4096, 1024)
        descriptors = array.array("i")
        for _, _, part in rights:
            descriptors.frombytes(part)
        lines = dict(line.split("=", 1) for line in data.decode().splitlines())
        if "FDSTORE" in lines:
            self.stored[lines["FDNAME"]] = descriptors[0]
        if "FDSTOREREMOVE" in lines:
            os.close(self.stored.pop(lines["FDNAME"]))
        return lines, list(descriptors)

    def close(self) -> None:
        with contextlib.suppress(AgentError):
            agent_client.stop(self.versions.root)
        if self.child is not None:
            self.child.wait(20)
        for made in (self.listening, self.notified):
            made.close()
