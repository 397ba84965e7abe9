"""Tell the lab that this server is up."""

import os


def tell(descriptor: str) -> None:
    """One byte into the pipe that the lab waits on."""
    os.write(int(descriptor), b".")
    os.close(int(descriptor))
