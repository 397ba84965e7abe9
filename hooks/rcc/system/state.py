"""What rcc remembers of the isolated namespaces: a file per network namespace, keyed by its inode.

    ROOT/lock                 flock(2), held while records change
    ROOT/netns/INODE.json     Record: policy in force, members, where the namespace can be found
    ROOT/pending/RUN.json     Settled: decided at precreate, waiting for createRuntime of the same run
    ROOT/activity/INODE.json  what its containers have done, should the agent die (app/memory.py)
    ROOT/past/TIME-INODE.json the same of namespaces that are gone, the newest PAST of them
    ROOT/history/INODE        which names stood for which addresses (system/history.py)
    ROOT/ended/RUN            this start has ended (app/release.py); made by the poststop hook, which is touch(1)
    ROOT/cache/NAME.json      what can be made again (app/policies.py)
    ROOT/outcomes/TIME-RUN.json  Outcome: what became of a start, the newest OUTCOMES of them; `rcc why` prints these

A *run* is one start of one container: precreate draws a token for it and writes it into the poststop hook that it adds,
so that a late poststop of an earlier run of the same container (Podman restarts that way) never touches the newer one.
Files are written beside and renamed; each carries VERSION, and one of another version counts as absent.
"""

import fcntl
import json
import os
import time
from typing import Any, Dict, Iterator, NamedTuple, Optional, Tuple, Union

from rcc.core.change import Change, change_from_data, change_to_data
from rcc.core.errors import RccError
from rcc.core.policy import Policy, Ports
from rcc.core.policy_json import policy_from_data, policy_to_data
from rcc.system.own_directory import own_directory

VERSION = 1
OUTCOMES = 200
PAST = 30
PENDING_SECONDS = 3600.0  # hooks have half a minute
RECORD_LIMIT = 4 << 20  # bytes; no record of ours comes near


class Member(NamedTuple):
    """A labelled container in a namespace; ``run`` is the token of this start of it."""

    container: str  # 64 hex digits
    name: str
    run: str
    profile: str = ""  # what was asked for, and what the image named beside it: a reload settles them anew
    image_profile: str = ""


class Settled(NamedTuple):
    """What was settled for one start of a container: all that isolating its namespace takes.

    Where the runtime has yet to make the namespace, it waits in ROOT/pending for the createRuntime hook of the same
    run.
    """

    member: Member
    policy: Policy
    source: str  # who asked, in words
    notes: Tuple[str, ...]
    published: Tuple[Ports, ...]
    resolv_conf: str  # path on the host of the file that is the container's /etc/resolv.conf; may be empty
    hosts: str  # the same for /etc/hosts
    dns_servers: Tuple[str, ...]  # given with --dns


class Record(NamedTuple):
    """An isolated network namespace.

    ``netns`` is its inode, ``path`` where it was found (a bound file, or /proc/PID/ns/net), ``ident`` the mark of our
    table in it, ``bare`` true when an unlabelled container shares the namespace.  ``since`` is wall time in seconds.
    ``changes``: what `rcc allow` and `rcc deny` have made of the policy; ``policy`` has them in it.
    """

    netns: int
    path: str
    members: Tuple[Member, ...]
    policy: Policy
    source: str
    notes: Tuple[str, ...]
    generation: int
    ident: str
    published: Tuple[Ports, ...]
    resolv_conf: str
    hosts: str
    dns_servers: Tuple[str, ...]
    bare: bool
    since: float
    changes: Tuple[Change, ...] = ()


class Outcome(NamedTuple):
    """A start that was refused, or let pass although its labels could not be read: ``verdict``, reason and remedy."""

    time: float
    container: str
    name: str
    verdict: str
    message: str
    hint: str
    where: str


def record_to_data(record: Record) -> Dict[str, Any]:
    """A record as JSON-able data; ``record_from_data`` is its inverse."""
    members = [dict(member._asdict()) for member in record.members]
    return {**_to_data(record), "members": members, "changes": [change_to_data(change) for change in record.changes]}


def record_from_data(data: Any) -> Record:
    """The record that ``data`` stands for.  Raises RccError when it is none."""
    try:
        return Record(
            netns=int(data["netns"]),
            path=str(data["path"]),
            members=tuple(_member_from(member) for member in data["members"]),
            generation=int(data["generation"]),
            ident=str(data["ident"]),
            bare=bool(data["bare"]),
            since=float(data["since"]),
            changes=tuple(change_from_data(change) for change in data.get("changes", ())),
            **_shared_from(data),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RccError(f"not a record of rcc: {error!r}") from error


def settled_to_data(settled: Settled) -> Dict[str, Any]:
    """What was settled as JSON-able data; ``settled_from_data`` is its inverse."""
    return {**_to_data(settled), "member": dict(settled.member._asdict())}


def settled_from_data(data: Any) -> Settled:
    """The Settled that ``data`` stands for.  Raises RccError when it is none."""
    try:
        return Settled(member=_member_from(data["member"]), **_shared_from(data))
    except (KeyError, TypeError, ValueError) as error:
        raise RccError(f"not what precreate left: {error!r}") from error


def _to_data(value: Union[Record, Settled]) -> Dict[str, Any]:
    return {**value._asdict(), "policy": policy_to_data(value.policy)}


def _shared_from(data: Any) -> Dict[str, Any]:
    """The fields that Record and Settled have in common."""
    return {
        "policy": policy_from_data(data["policy"]),
        "source": str(data["source"]),
        "notes": tuple(str(note) for note in data["notes"]),
        "published": tuple(Ports(str(protocol), int(low), int(high)) for protocol, low, high in data["published"]),
        "resolv_conf": str(data["resolv_conf"]),
        "hosts": str(data["hosts"]),
        "dns_servers": tuple(str(server) for server in data["dns_servers"]),
    }


def _member_from(data: Any) -> Member:
    return Member(*(str(data.get(field, "")) for field in Member._fields))


class State:
    """The state folder ``root``.  Methods that change it raise RccError when it cannot be written."""

    def __init__(self, root: str) -> None:
        self.root = own_directory(root)

    def __enter__(self) -> "State":
        """Hold the lock: records change only under it."""
        try:
            self._lock = os.open(os.path.join(self.root, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        except OSError as error:
            raise RccError(f"cannot lock the state: {error.strerror}", where=self.root) from error
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._lock)

    def record(self, netns: int) -> Optional[Record]:
        """The record of the namespace with this inode, None when there is none that can be read."""
        data = self._read("netns", f"{netns}.json")
        return None if data is None else _or_none(record_from_data, data)

    def records(self) -> Iterator[Record]:
        """All records that can be read, by inode."""
        for name in self._names("netns"):
            data = self._read("netns", name)
            record = None if data is None else _or_none(record_from_data, data)
            if record is not None:
                yield record

    def write_record(self, record: Record) -> None:
        """Write or replace the record of a namespace."""
        self._write("netns", f"{record.netns}.json", record_to_data(record))

    def replacing_record(self, record: Record) -> "_Replacing":
        """For a `with` whose body makes true what ``record`` says: it is on disk before, and takes the old one's place
        when the body has ended well.  So a full disk is found out before anything has changed.
        """
        return _Replacing(*self._stage("netns", f"{record.netns}.json", record_to_data(record)))

    def remove_record(self, netns: int) -> None:
        """Forget a namespace; no error when it is not known."""
        self._remove("netns", f"{netns}.json")

    def write_settled(self, settled: Settled) -> None:
        """Leave what precreate settled for createRuntime of the same run."""
        self._write("pending", f"{settled.member.run}.json", settled_to_data(settled))
        for name in self._names("pending"):
            if self._age("pending", name) > PENDING_SECONDS:  # its container never came to createRuntime
                self._remove("pending", name)

    def read_settled(self, run: str) -> Optional[Settled]:
        """What precreate left for this run."""
        data = self._read("pending", f"{run}.json")
        return None if data is None else settled_from_data(data)

    def drop_settled(self, run: str) -> None:
        """Remove what was pending for a run that has ended."""
        self._remove("pending", f"{run}.json")

    def end_of(self, run: str) -> str:
        """The file whose being there says that this start has ended; its folder is made."""
        return os.path.join(own_directory(os.path.join(self.root, "ended")), run)

    def ended(self) -> "list[str]":
        """The starts that have ended and are not forgotten yet."""
        try:
            return os.listdir(os.path.join(self.root, "ended"))
        except FileNotFoundError:
            return []

    def drop_end(self, run: str) -> None:
        """Forget that a start has ended."""
        self._remove("ended", run)

    def add_outcome(self, outcome: Outcome) -> None:
        """Note how a start ended and drop the oldest notes beyond OUTCOMES."""
        name = f"{int(outcome.time * 1e6):020d}-{outcome.container[:12] or 'unknown'}.json"
        self._write("outcomes", name, dict(outcome._asdict()))
        for old in self._names("outcomes")[:-OUTCOMES]:
            self._remove("outcomes", old)

    def outcomes(self) -> Iterator[Outcome]:
        """The noted starts, newest first."""
        for name in reversed(self._names("outcomes")):
            data = self._read("outcomes", name)
            if data is not None:
                try:
                    yield Outcome(**{field: data[field] for field in Outcome._fields})
                except (KeyError, TypeError):
                    continue

    def read_activity(self, netns: int) -> Optional[Dict[str, Any]]:
        """What ``write_activity`` left for a namespace, None where there is nothing or it cannot be read."""
        data: Optional[Dict[str, Any]] = self._read("activity", f"{netns}.json")
        return data

    def write_activity(self, netns: int, data: Dict[str, Any]) -> None:
        """Keep what the containers of a namespace have done."""
        self._write("activity", f"{netns}.json", data)

    def remove_activity(self, netns: int) -> None:
        """The namespace is gone; no error when nothing was kept."""
        self._remove("activity", f"{netns}.json")

    def add_past(self, ended: float, netns: int, data: Dict[str, Any]) -> None:
        """Keep what the containers of a namespace had done by its end, and drop the oldest beyond PAST."""
        self._write("past", f"{int(ended * 1e6):020d}-{netns}.json", data)
        for old in self._names("past")[:-PAST]:
            self._remove("past", old)

    def past(self) -> Iterator[Dict[str, Any]]:
        """What was kept of namespaces that are gone, newest first."""
        for name in reversed(self._names("past")):
            data = self._read("past", name)
            if data is not None:
                yield data

    def read_cache(self, name: str) -> Optional[Dict[str, Any]]:
        """What ``write_cache`` left, None where there is nothing or it cannot be read."""
        data: Optional[Dict[str, Any]] = self._read("cache", f"{name}.json")
        return data

    def write_cache(self, name: str, data: Dict[str, Any]) -> None:
        """Keep data that can be made again."""
        self._write("cache", f"{name}.json", data)

    def _names(self, folder: str) -> "list[str]":
        try:
            return sorted(name for name in os.listdir(os.path.join(self.root, folder)) if name.endswith(".json"))
        except FileNotFoundError:
            return []

    def _age(self, folder: str, name: str) -> float:
        """Seconds since a file was written, 0 when it is gone or of the future."""
        try:
            return max(time.time() - os.stat(os.path.join(self.root, folder, name)).st_mtime, 0.0)
        except OSError:
            return 0.0

    def _read(self, folder: str, name: str) -> Any:
        path = os.path.join(self.root, folder, name)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RccError(f"cannot read the state: {error.strerror}", where=path) from error
        with open(descriptor, "rb") as stream:
            try:
                data = json.loads(stream.read(RECORD_LIMIT))
            except ValueError:
                return None
        return data if isinstance(data, dict) and data.get("version") == VERSION else None

    def _write(self, folder: str, name: str, data: Dict[str, Any]) -> None:
        with _Replacing(*self._stage(folder, name, data)):
            pass

    def _stage(self, folder: str, name: str, data: Dict[str, Any]) -> Tuple[str, str]:
        """Write beside; that path and the one where it belongs."""
        directory = own_directory(os.path.join(self.root, folder))
        path = os.path.join(directory, name)
        beside = f"{path}.{os.urandom(8).hex()}"
        try:
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            with open(descriptor, "w", encoding="utf-8") as stream:
                json.dump({"version": VERSION, **data}, stream, separators=(",", ":"))
        except OSError as error:
            _unlink(beside)
            raise _unwritable(path, error) from error
        return beside, path

    def _remove(self, folder: str, name: str) -> None:
        try:
            os.unlink(os.path.join(self.root, folder, name))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise RccError(f"cannot change the state: {error.strerror}", where=os.path.join(folder, name)) from error


class _Replacing:
    """A file that has been written beside another."""

    def __init__(self, beside: str, path: str) -> None:
        self._beside = beside
        self._path = path

    def __enter__(self) -> None:
        """Nothing yet."""

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            _unlink(self._beside)
            return
        try:
            os.rename(self._beside, self._path)
        except OSError as error:
            raise _unwritable(self._path, error) from error


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        return


def _unwritable(path: str, error: OSError) -> RccError:
    return RccError(
        f"cannot write the state: {error.strerror}", hint=f"df {os.path.dirname(path)}; nothing has changed", where=path
    )


def _or_none(parse: Any, data: Any) -> Any:
    try:
        return parse(data)
    except RccError:
        return None
