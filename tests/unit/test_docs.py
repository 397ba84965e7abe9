"""What the documents list is what the code has."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
SAID = re.compile(r"""(?:log\.(?:info|warning|error|critical)|_say)\(\s*"(\w+)"|"event": "(\w+)\"""")
CHOSEN = {"resumed", "isolated", "allow", "deny"}  # by an expression


def test_every_event_of_the_log_is_in_the_documents() -> None:
    code = "".join(path.read_text() for path in sorted((ROOT / "hooks/rcc").rglob("*.py")))
    events = {name for found in SAID.findall(code) for name in found if name} | CHOSEN
    section = (ROOT / "docs/architecture.md").read_text().split("## The agent's log")[1].split("\n## ")[0]
    listed = set()
    for row in section.splitlines():
        if row.startswith("| `"):
            listed |= set(re.findall(r"`(\w+)`", row.split("|")[1]))
    assert listed == events
