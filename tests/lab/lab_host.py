"""The life of a lab, by its first process: the view, the networks, the far sides, rcc, then the command."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from typing import Callable, Dict, List, NamedTuple

import far_sides
import image
import namespaces
import networks
import podman_setup
import view
from addresses import LAN, NAME, OTHER, SUBIDS, UID, USER, ZONE

HERE = os.path.dirname(os.path.realpath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
RECORD, ZONE_FILE = "/run/lab/record.jsonl", "/run/lab/dns/zone"
# What would make Podman, Python or curl behave in the lab as somebody set them up to behave elsewhere.
DROPPED = (
    "BUILDAH", "CONTAINER", "_CONTAINER", "CURL_", "DBUS_", "DOCKER_", "GODEBUG", "LD_", "LISTEN_", "MAKE", "MFLAGS",
    "NOTIFY_", "PIP_", "PODMAN", "PYENV", "PYTEST", "PYTHON", "RCC_", "REGISTRY_", "REQUESTS_", "SSL_", "STORAGE_",
    "SUDO_", "TMPDIR", "VIRTUAL_ENV", "XDG_",
)  # fmt: skip


class Plan(NamedTuple):
    """What a lab is for.  ``store`` is a graph root with the image, empty for a lab without one."""

    command: List[str]
    rootless: bool
    with_rcc: bool
    store: str


def live(plan: Plan) -> int:
    """Build the lab and run the command; its status."""
    where = os.getcwd()
    build(plan)
    signal.pthread_sigmask(signal.SIG_BLOCK, namespaces.WATCHED)
    child = os.fork()
    if child == 0:
        become(plan, where)
    return namespaces.attend(child)


def build(plan: Plan) -> None:
    """All that a lab has but its command."""
    os.umask(0o022)
    os.environ["PATH"] = image.PATH
    socket.sethostname("lab")
    view.build([TOP, image.CACHE])
    _files()
    copied = podman_setup.copy_store(plan.store, podman_setup.graph_root(plan.rootless)) if plan.store else None
    networks.build()
    ready = far_sides.start(RECORD, ZONE_FILE)
    if plan.with_rcc:
        _install()
    podman_setup.configure()
    _programs()
    ready()
    if copied:
        copied()


def become(plan: Plan, where: str) -> None:
    """Turn this process into the command; never returns."""
    for number in namespaces.FORWARDED:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, namespaces.WATCHED)
    environment = environ(plan.rootless)
    if plan.rootless:
        os.setgroups([])
        os.setresgid(UID, UID, UID)
        os.setresuid(UID, UID, UID)
    try:
        os.chdir(where if os.access(where, os.R_OK | os.X_OK) else environment["HOME"])
        os.execvpe(plan.command[0], plan.command, environment)
    except OSError as error:
        print(f"enter: {plan.command[0]}: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


def environ(rootless: bool) -> Dict[str, str]:
    """What the command sees: the caller's environment but for what would mislead, and the lab's variables."""
    dropped = [key for key in os.environ if key.startswith(DROPPED) or key.lower().endswith("_proxy")]
    found = {key: value for key, value in os.environ.items() if key not in dropped}
    user, home = (USER, f"/home/{USER}") if rootless else ("root", "/root")
    found.update(PATH=image.PATH, HOME=home, USER=user, LOGNAME=user)
    if rootless:
        found["XDG_RUNTIME_DIR"] = f"/run/user/{UID}"
    found.update(RCC_LAB_IMAGE=image.NAME, RCC_LAB_PROFILES=_profiles(rootless))
    found.update(RCC_LAB_ZONE=ZONE_FILE, RCC_LAB_RECORD=RECORD)
    for key, server in (("NAME", NAME), ("OTHER", OTHER), ("LAN", LAN)):
        if server is not LAN:
            found[f"RCC_LAB_{key}"] = server.name
        found[f"RCC_LAB_{key}_IP4"], found[f"RCC_LAB_{key}_IP6"] = server.ip4, server.ip6
    return found


def _profiles(rootless: bool) -> str:
    """The admin's folder; for a user his own, because rcc trusts no admin's file that a user owns."""
    if not rootless:
        os.makedirs("/etc/rcc/profiles", exist_ok=True)
        return "/etc/rcc/profiles"
    return view.user_folder(".config/rcc/profiles")


def _files() -> None:
    """Names, users and the resolver as only the lab knows them."""
    view.write("/etc/resolv.conf", f"nameserver {networks.RESOLVER.ip4}\noptions timeout:2\n")
    view.write("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 lab\n")
    view.write("/etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n")
    view.append("/etc/passwd", f"{USER}:x:{UID}:{UID}::/home/{USER}:/bin/sh\n")
    view.append("/etc/group", f"{USER}:x:{UID}:\n")
    view.write("/etc/subuid", f"{USER}:{SUBIDS}:65536\n")
    view.write("/etc/subgid", f"{USER}:{SUBIDS}:65536\n")
    os.makedirs(f"/run/user/{UID}", mode=0o700)
    os.chown(f"/run/user/{UID}", UID, UID)
    view.write(RECORD, "")
    # The user may replace the zone (sed -i), so its folder is his.
    view.write(ZONE_FILE, ZONE, 0o666)
    os.chown(os.path.dirname(ZONE_FILE), UID, UID)
    os.chown(ZONE_FILE, UID, UID)


def _install() -> None:
    """rcc where the packages put it, in this view of the machine."""
    command = ["make", "-s", "-C", TOP, "install"]
    environment = {"PATH": image.PATH, "HOME": "/root", "LC_ALL": "C.UTF-8"}
    subprocess.run(command, check=True, stdout=sys.stderr, env=environment)


def _programs() -> None:
    """What tests call on the lab host, where every user can read it."""
    shutil.copytree(HERE, "/run/lab/py", ignore=lambda _, names: [name for name in names if not name.endswith(".py")])
    shutil.copy(os.path.join(HERE, "arrived"), "/usr/local/bin/arrived")


def keep_store(rootless: bool, target: str) -> Callable[[], int]:
    """A lab that imports an image from standard input and keeps the store as ``target``, whole or not at all."""

    def inside() -> int:
        plan = Plan(["podman", "import", "-q", *image.CHANGES, "-", image.NAME], rootless, False, "")
        code = live(plan)
        if code == 0:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, namespaces.WATCHED)
            subprocess.run(["cp", "-a", podman_setup.graph_root(rootless), target + ".new"], check=True)
            os.rename(target + ".new", target)
        return code

    return inside
