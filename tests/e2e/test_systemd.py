"""The units with a real systemd on the lab host: the agent comes when it is needed, and comes back with all sockets.

systemd runs as the first process of a PID namespace in the lab, and so do the containers.
"""

import os
import shlex
import time
from typing import Any, Iterator

import pytest
from arrivals import Target, sender
from conftest import write_profile

USER, UID = "labber", 4711
TARGET = "[Unit]\nDescription=lab\nDefaultDependencies=no\nWants=rcc-agent.socket\n"
BOOT = f"""
set -e
rm -rf /run/systemd
mkdir -p /etc/systemd/system
printf '%s' {shlex.quote(TARGET)} > /etc/systemd/system/lab.target
unshare --pid --fork --mount --cgroup --kill-child sh -c 'mount -t proc proc /proc; exec env container=lab \
    /lib/systemd/systemd --system --unit=lab.target --log-target=console --show-status=no' \
    < /dev/null > /run/systemd.log 2>&1 &
for i in $(seq 100); do test -S /run/rcc/agent.sock && break; sleep 0.1; done
for p in /proc/[0-9]*; do
    if [ "$(readlink $p/exe)" = /usr/lib/systemd/systemd ]; then echo ${{p#/proc/}}; fi
done | head -n 1
"""
USERS = f"""
set -e
mkdir -p /sys/fs/cgroup/user /run/user/{UID} /home/{USER}/.config/systemd/user
chown -R {UID}:{UID} /sys/fs/cgroup/user /run/user/{UID} /home/{USER}
chmod 700 /run/user/{UID}
printf '%s' {shlex.quote(TARGET)} > /home/{USER}/.config/systemd/user/lab.target
echo $$ > /sys/fs/cgroup/user/cgroup.procs
cd /home/{USER}
AS_USER /lib/systemd/systemd --user --unit=lab.target < /dev/null > /run/user.log 2>&1 &
for i in $(seq 100); do test -S /run/user/{UID}/rcc/agent.sock && exit 0; sleep 0.1; done
exit 1
"""
AS_USER = (
    f"setpriv --reuid {UID} --regid {UID} --clear-groups env -i HOME=/home/{USER} USER={USER} "
    f"XDG_RUNTIME_DIR=/run/user/{UID} PATH=/usr/sbin:/usr/bin:/sbin:/bin"
)


class Booted:
    """A lab with systemd in it; ``run`` runs a command beside it, ``user`` the same as an unprivileged user."""

    def __init__(self, lab: Any) -> None:
        self.lab = lab
        self.env = lab.env
        code, out, err = lab.run(BOOT, timeout=60)
        assert code == 0 and out.strip(), (out, err, lab.run("cat /run/systemd.log")[1])
        self.pid = out.strip()

    def run(self, command: str, timeout: float = 60) -> str:
        words = f"nsenter -t {self.pid} -m -p -C -- sh -c {shlex.quote(command)}"
        code, out, err = self.lab.run(words, timeout=timeout)
        assert code == 0, (command, out, err[-1500:], self.lab.run("tail -n 20 /run/systemd.log")[1])
        return str(out)

    def user(self, command: str, timeout: float = 60) -> str:
        return self.run(f"cd /home/{USER} && {AS_USER} sh -c {shlex.quote(command)}", timeout)

    def arrives(self, run: Any, name: str, target: Target) -> bool:
        token = "tok" + os.urandom(8).hex()
        run(f"podman exec {name} {sender(token, [target])}")
        return bool(self.lab.record(token))


@pytest.fixture(scope="module")
def booted(rootful: Any) -> Iterator[Booted]:
    from session import Lab

    with Lab() as lab:
        words = {key[8:]: value for key, value in lab.env.items() if key.startswith("RCC_LAB_")}
        write_profile(lab, "default", "version: 1\negress:\n  - host: {NAME}\n    ports: [7000/udp]\n".format(**words))
        made = Booted(lab)
        yield made
        lab.run(f"kill -9 {made.pid}")


def show(run: Any, systemctl: str, what: str) -> str:
    return str(run(f"{systemctl} show --value -p {what} rcc-agent.service")).strip()


def test_the_units_are_sound(booted: Booted) -> None:
    booted.run("systemd-analyze verify --man=no /usr/lib/systemd/system/rcc-agent.socket rcc-agent.service")
    folder = "/usr/lib/systemd/user"
    verify = f"systemd-analyze verify --man=no --user {folder}/rcc-agent.socket {folder}/rcc-agent.service"
    booted.run(f"mkdir -p /run/user/{UID} && chown {UID} /run/user/{UID}")
    booted.user(verify)


def agent_comes_and_comes_back(booted: Booted, run: Any, systemctl: str, image: str) -> None:
    name, address = booted.env["RCC_LAB_NAME"], booted.env["RCC_LAB_NAME_IP4"]
    allowed = Target("udp", address, 7000, name)
    closed = Target("udp", booted.env["RCC_LAB_OTHER_IP4"], 7000)
    assert show(run, systemctl, "ActiveState") == "inactive", "nobody has needed it"
    run(f"podman run -d --name plain {image} sleep 600")
    assert booted.arrives(run, "plain", closed)
    run(f"podman run -d --name box --label rcc=1 {image} sleep 600")
    assert show(run, systemctl, "ActiveState") == "active"
    assert booted.arrives(run, "box", allowed) and not booted.arrives(run, "box", closed)
    assert int(show(run, systemctl, "NFileDescriptorStore")) in (2, 4)
    for turn in range(3):
        before = show(run, systemctl, "MainPID")
        run(f"{systemctl} kill -s KILL rcc-agent.service")
        assert not booted.arrives(run, "box", closed)
        out = run(f"podman exec box getent ahostsv4 {name}")
        assert address in out, "asked while nobody was there, answered by the next one"
        assert show(run, systemctl, "MainPID") != before and show(run, systemctl, "NRestarts") == str(turn + 1)
    assert "box" in run("rcc ps") and booted.arrives(run, "box", allowed)
    run("rcc reload --all")
    run("podman rm -f -t 0 box plain")
    deadline = time.monotonic() + 20
    while (
        show(run, systemctl, "NFileDescriptorStore") != "0"
    ):  # its listeners are let go, within the agent's look at the records
        assert time.monotonic() < deadline
        time.sleep(0.3)


def test_roots_agent(booted: Booted) -> None:
    agent_comes_and_comes_back(booted, booted.run, "systemctl", "$RCC_LAB_IMAGE")
    booted.run("systemctl stop rcc-agent.socket rcc-agent.service; test ! -e /run/rcc/agent.sock")


def test_a_users_agent(booted: Booted) -> None:
    """It is started outside Podman's user namespace and joins it."""
    booted.run(
        f"mkdir -p /home/{USER}/root && podman create --name exported $RCC_LAB_IMAGE true && podman export exported"
        f" | tar -x -C /home/{USER}/root --exclude=dev/* && chown -R {UID}:{UID} /home/{USER} && podman rm exported",
        timeout=120,
    )
    booted.run(USERS.replace("AS_USER", AS_USER))
    agent_comes_and_comes_back(booted, booted.user, "systemctl --user", f"--rootfs /home/{USER}/root")
