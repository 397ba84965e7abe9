"""Labs for the suites that run real containers: one rootful and one rootless, entered once for the whole run."""

import os
import sys
from typing import Any, Iterator

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lab"))
sys.path.insert(0, os.path.dirname(__file__))

PROFILES = {
    # The admin's profiles in every lab; `default` is what --label rcc=1 asks for.
    "default": "version: 1\negress:\n  - host: {NAME}\n    ports: [80, 443, 7000, 7000/udp]\n",
    "narrow": "version: 1\negress:\n  - host: {NAME}\n    ports: [443]\n",
    "closed": "version: 1\negress: []\n",
    "ip": "version: 1\negress:\n  - cidr: {OTHER_IP4}/32\n    ports: [7000, 7000/udp]\n"
    "  - cidr: {OTHER_IP6}/128\n    ports: [7000]\n",
    "lan": "version: 1\negress:\n  - cidr: {LAN_IP4}/32\n    ports: [7000/udp]\n    private: true\n",
    "web": "version: 1\nextends: default\ningress: published\n",
    "public": "version: 1\negress:\n  - internet: true\n",
}


def _missing() -> str:
    if os.getuid() != 0:
        return "root is needed to build the lab"
    if not any(os.access(os.path.join(folder, "podman"), os.X_OK) for folder in os.environ["PATH"].split(":")):
        return "podman is not installed (make setup)"
    return ""


def _enter(rootless: bool) -> Iterator[Any]:
    missing = _missing()
    if missing:
        pytest.skip(missing)
    from session import Lab

    with Lab(rootless=rootless) as lab:
        words = {key[8:]: value for key, value in lab.env.items() if key.startswith("RCC_LAB_")}
        for name, text in PROFILES.items():
            write_profile(lab, name, text.format(**words))
        yield lab


def write_profile(lab: Any, name: str, text: str) -> None:
    """Write a profile where the lab's rcc finds it."""
    code, _, err = lab.run(f"cat > $RCC_LAB_PROFILES/{name}.yaml <<'EOF'\n{text}\nEOF")
    assert code == 0, err


@pytest.fixture(scope="session")
def rootful() -> Iterator[Any]:
    """The lab as root."""
    yield from _enter(False)


@pytest.fixture(scope="session")
def rootless() -> Iterator[Any]:
    """The lab as an unprivileged user."""
    yield from _enter(True)


@pytest.fixture(scope="session", params=["rootful", "rootless"])
def lab(request: pytest.FixtureRequest) -> Any:
    """Both labs in turn."""
    return request.getfixturevalue(request.param)
