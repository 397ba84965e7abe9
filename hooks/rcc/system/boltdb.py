"""Read one value from a BoltDB file (go.etcd.io/bbolt), without Go and without writing.

The format (bbolt page.go, bucket.go, db.go; integers in the machine's own byte order):

    page     id u64, flags u16, count u16, overflow u32; then elements; ``overflow`` more pages belong to it
    meta     pages 0 and 1: magic u32, version u32, page size u32, flags u32, root bucket (page u64, sequence u64),
             freelist u64, number of pages u64, transaction u64, FNV-1a of all that u64.  The valid one that is newer
             holds.
    branch   pos u32, ksize u32, page u64       pos counts from the element itself
    leaf     flags u32, pos u32, ksize u32, vsize u32; flag 1: the value is a bucket
    bucket   page u64, sequence u64; page 0: the bucket's only page follows inline

A writer holds flock(2) exclusively while it has the file open.  Podman to 5.8 opens it for each operation and holds no
operation while hooks run (seen with 4.3.1), so a shared lock comes soon, or never.
On the path of every unlabelled container: only C modules; `import os` costs a start 1 ms more than its posix.
"""

import fcntl
import posix
import sys
import time

from rcc.core.errors import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional, Tuple

MAGIC = 0xED0CDAED
VERSION = 2
BRANCH, LEAF, META = 0x01, 0x02, 0x04
BUCKET = 0x01
PAGE_HEADER = 16
ELEMENT = 16
META_LENGTH = 56  # bytes under the checksum
PAGE_SIZES = tuple(1 << power for power in range(9, 25))  # bbolt tries 1 kB to 32 MB
DEPTH_LIMIT = 32  # levels of a tree; 8 of the smallest pages hold more than any machine's containers
VALUE_LIMIT = 64 << 20  # bytes of one page with its overflow
LOCK_PAUSE = 0.01  # seconds
FNV_OFFSET, FNV_PRIME, U64 = 0xCBF29CE484222325, 0x100000001B3, 0xFFFFFFFFFFFFFFFF


class BoltDb:
    """An open database; ``close`` lets others write again.  Every method raises StoreError for a broken file."""

    __slots__ = ("_descriptor", "_page_size", "_pages", "_root", "path")

    def __init__(self, path: str, wait: float) -> None:
        """Open ``path`` and lock it, for no more than ``wait`` seconds.  Raises FileNotFoundError if there is none."""
        self.path = path
        try:
            self._descriptor = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StoreError(f"Podman's database cannot be opened: {error.strerror}", hint=_LOOK, where=path) from error
        try:
            self._lock(wait)
            self._page_size, self._root, self._pages = self._newest_meta()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Release the lock and the file."""
        if self._descriptor >= 0:
            posix.close(self._descriptor)
            self._descriptor = -1

    def get(self, buckets: "Tuple[bytes, ...]", key: bytes) -> "Optional[bytes]":
        """The value of ``key`` in the innermost of ``buckets``; None when the key or a bucket is not there."""
        page: bytes = b""  # an inline bucket's page
        root = self._root
        for name in buckets:
            found = self._search(page, root, name)
            if found is None:
                return None
            flags, value = found
            if not flags & BUCKET:
                raise self._broken(f"{name[:70]!r} is no bucket")
            if len(value) < PAGE_HEADER:
                raise self._broken("a bucket without a header")
            root = _int(value, 0, 8)
            page = b"" if root else value[16:]
        found = self._search(page, root, key)
        if found is None:
            return None
        if found[0] & BUCKET:
            raise self._broken(f"{key[:70]!r} is a bucket")
        return found[1]

    def _search(self, inline: bytes, root: int, key: bytes) -> "Optional[Tuple[int, bytes]]":
        """Flags and value of ``key`` in the tree at ``root``, or in the page ``inline``."""
        page = inline or self._page(root)
        for _ in range(DEPTH_LIMIT):
            if len(page) < PAGE_HEADER:
                raise self._broken("a page without a header")
            flags, count = _int(page, 8, 2), _int(page, 10, 2)
            if PAGE_HEADER + count * ELEMENT > len(page):
                raise self._broken("a page with more elements than room")
            if flags == LEAF:
                index = self._last_not_after(page, count, key, 4)
                if index < 0 or self._key(page, index, 4) != key:
                    return None
                return _int(page, PAGE_HEADER + index * ELEMENT, 4), self._value(page, index)
            if flags != BRANCH or inline:
                raise self._broken(f"a page of the unknown kind {flags:#x}")
            if not count:
                raise self._broken("a branch without leaves")
            index = max(self._last_not_after(page, count, key, 0), 0)
            page = self._page(_int(page, PAGE_HEADER + index * ELEMENT + 8, 8))
        raise self._broken("a tree without end")

    def _last_not_after(self, page: bytes, count: int, key: bytes, offset: int) -> int:
        """Index of the last element whose key is not after ``key``, -1 when all are; ``offset``: of pos in it."""
        low, high = 0, count
        while low < high:
            middle = (low + high) // 2
            if self._key(page, middle, offset) <= key:
                low = middle + 1
            else:
                high = middle
        return low - 1

    def _key(self, page: bytes, index: int, offset: int) -> bytes:
        element = PAGE_HEADER + index * ELEMENT
        start = element + _int(page, element + offset, 4)
        return self._slice(page, start, _int(page, element + offset + 4, 4))

    def _value(self, page: bytes, index: int) -> bytes:
        element = PAGE_HEADER + index * ELEMENT
        start = element + _int(page, element + 4, 4) + _int(page, element + 8, 4)
        return self._slice(page, start, _int(page, element + 12, 4))

    def _slice(self, page: bytes, start: int, length: int) -> bytes:
        if start + length > len(page):
            raise self._broken("an element beyond its page")
        return page[start : start + length]

    def _page(self, number: int) -> bytes:
        """A page with those that it overflows into."""
        if not 2 <= number < self._pages:
            raise self._broken(f"page {number} of {self._pages}")
        head = self._read(number * self._page_size, PAGE_HEADER)
        length = (_int(head, 12, 4) + 1) * self._page_size
        if _int(head, 0, 8) != number or number + _int(head, 12, 4) >= self._pages or length > VALUE_LIMIT:
            raise self._broken(f"page {number} is another")
        return self._read(number * self._page_size, length)

    def _newest_meta(self) -> "Tuple[int, int, int]":
        """Page size, root page and number of pages, from the valid meta page with the highest transaction."""
        first = self._meta(0)
        if first is not None:
            second = self._meta(first[1])
        else:  # the second page begins where the first would have said
            second = next((meta for meta in map(self._meta, PAGE_SIZES) if meta is not None and meta[1]), None)
        found = [meta for meta in (first, second) if meta is not None]
        if not found:
            raise self._broken("it has no valid meta page")
        return max(found)[1:]

    def _meta(self, offset: int) -> "Optional[Tuple[int, int, int, int]]":
        """Transaction, page size, root page, number of pages of the meta page at ``offset``; None when invalid."""
        try:
            data = posix.pread(self._descriptor, PAGE_HEADER + META_LENGTH + 8, offset)[PAGE_HEADER:]
        except OSError as error:
            raise self._broken(f"it cannot be read: {error.strerror}") from error
        if len(data) != META_LENGTH + 8 or _int(data, 0, 4) != MAGIC or _int(data, 4, 4) != VERSION:
            return None
        if _int(data, META_LENGTH, 8) != _fnv1a(data[:META_LENGTH]) or _int(data, 8, 4) not in PAGE_SIZES:
            return None
        if offset not in (0, _int(data, 8, 4)):
            return None
        return _int(data, 48, 8), _int(data, 8, 4), _int(data, 16, 8), _int(data, 40, 8)

    def _read(self, offset: int, length: int) -> bytes:
        try:
            data = posix.pread(self._descriptor, length, offset)
        except (OSError, OverflowError) as error:
            raise self._broken(f"it cannot be read at {offset}: {error}") from error
        if len(data) != length:
            raise self._broken(f"it ends before {offset + length}")
        return data

    def _lock(self, wait: float) -> None:
        deadline = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise StoreError(
                        f"another process has kept Podman's database locked for {wait:g} s",
                        hint="see who holds it: fuser -v " + self.path,
                        where=self.path,
                    ) from None
            except OSError as error:
                raise StoreError(f"Podman's database cannot be locked: {error.strerror}", where=self.path) from error
            time.sleep(LOCK_PAUSE)

    def _broken(self, detail: str) -> StoreError:
        return StoreError(f"Podman's database is damaged: {detail}", hint=_LOOK, where=self.path)


_LOOK = "see what Podman itself says of it: podman ps -a"


def _int(data: bytes, start: int, length: int) -> int:
    return int.from_bytes(data[start : start + length], sys.byteorder)  # type: ignore[arg-type,unused-ignore]


def _fnv1a(data: bytes) -> int:
    """64-bit FNV-1a (draft-eastlake-fnv)."""
    total = FNV_OFFSET
    for byte in data:
        total = ((total ^ byte) * FNV_PRIME) & U64
    return total
