"""A gateway that serves nothing, for tests of what is beside it."""

from rcc.app.gateway import Gateway
from rcc.system.state import Record


class Nobody(Gateway):
    def __init__(self) -> None:
        self.adopted: "list[int]" = []

    async def adopt(self, record: Record) -> None:
        self.adopted.append(record.netns)

    def drop(self, netns: int) -> None:
        self.adopted = [known for known in self.adopted if known != netns]
