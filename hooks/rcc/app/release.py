"""The end of a container: forget it; the rules go with the namespace, or with the last labelled container in a shared
one.
"""

from rcc.core.errors import KernelError
from rcc.system.netns import find_inode, inside
from rcc.system.nft import Nft
from rcc.system.state import Record, State


def release(state: State, *, run: str = "", container: str = "") -> None:
    """Forget one start (``run``) of a container; without a run every start of ``container`` whose namespace is gone.

    Podman restarts a container by making the new namespace first and running the old poststop hook later, so only the
    run's own token says which start has ended.
    """
    if run:
        state.drop_settled(run)
    with state:
        for record in list(state.records()):
            if run:
                left = tuple(member for member in record.members if member.run != run)
            elif _alive(record):
                continue
            else:
                left = tuple(member for member in record.members if member.container != container)
            if left == record.members:
                continue
            if left:
                state.write_record(record._replace(members=left))
                continue
            if record.bare and _alive(record):
                _open_again(record)
            state.remove_record(record.netns)


def forget_ended(state: State) -> None:
    """Forget the starts that have ended without anybody running: their namespaces were their own and are gone."""
    for run in state.ended():
        release(state, run=run)
        state.drop_end(run)


def _alive(record: Record) -> bool:
    return find_inode(record.path) == record.netns


def _open_again(record: Record) -> None:
    """An unlabelled container had the namespace to begin with, and the last labelled one has left it."""

    def remove() -> None:
        nft = Nft()
        if nft.present() == record.ident:
            nft.remove()

    try:
        inside(record.path, remove)
    except KernelError:
        return  # it ended meanwhile; while it lives it stays closed
