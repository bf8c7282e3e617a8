"""The heads file: one SQLite database that is never believed without proof.

It is disposable, so anybody may delete, truncate, overwrite or exchange it and its -wal, at any time. None of
that may lead to a false verdict. Two things see to it.

**While the process runs: seals.** After each of our own writes the file gets a modification time of its own
(the past second, with random nanoseconds), and its inode, size and that time are remembered. Any other write
leaves the kernel's time behind, an exchange another inode or another seal, so it shows. `check` compares the
seals of both files, and is called *after* whatever was read and *before* it is given out or committed. SQLite
itself is told to write only when told: no automatic checkpoint, no spilled pages, no shared -shm (exclusive
locking mode). What is left is a foreign write that begins and ends within one of our own commits or checkpoints
(some tenths to some ten milliseconds): in the file itself it shows at the next start, in the -wal it may not.

**At the start: the content.** The file holds the sum (XOR) of a hash of each of its pages, but for the one page
that holds the sum. It is brought forward with each checkpoint, from the old and the new content of the pages
that the checkpoint changes, and committed to the -wal *before* the checkpoint begins. The first commit into an
empty -wal writes that page as well, so what is read there always says which file the -wal belongs to. At the
start the sum is taken over the whole file, which must agree

- with the file as it stands: it is that of the last checkpoint, and the -wal (if it is there, or as much of
  it as SQLite accepts by its own checksums) goes on from it; or
- with the file after SQLite has finished its checkpoint: the process was killed within it.

So a file of another time, torn, or beside another -wal is thrown away; kill -9 at any moment costs nothing; and
nothing is ever synced to the disk (`synchronous = OFF`), since a file that a power cut has torn is noticed as
well.
"""

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass
from hashlib import sha256
from pathlib import Path
from struct import unpack_from

from darkroom.runtime.headsrows import LAYOUT
from darkroom.runtime.headsseal import HeadsFileLost, Seal, look, seal_of, sealed_again
from darkroom.schemas.errors import StoreUnavailable

_log = logging.getLogger("darkroom.heads")

PAGE_SIZE_BYTES = 4096
WAL_SIZE_BYTES_DUE = 8 * 2**20
"""Above this a commit is followed by a checkpoint."""
_WAL_SIZE_BYTES_HELD = 256 * 2**20
"""The same while the file is being copied; above it the checkpoint goes ahead and the copy is given up."""
_CACHE_SIZE_KIB = 16 * 1024
_READ_SIZE_BYTES = 2**20
_STAMP_PAGE = 2
_WAL_HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24
_FRAME_BYTES = _FRAME_HEADER_BYTES + PAGE_SIZE_BYTES


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a file must have been made for."""

    topic_id: str
    partitions: int
    fold_version: int


class HeadsFile:
    """A verified file, or a database in memory (`path` None). Not thread-safe: its owner has a lock."""

    def __init__(self, db: sqlite3.Connection, path: Path | None) -> None:
        """Use `make`, `reopen` or `in_memory`. Seals what SQLite has opened and locked."""
        self.db = db
        self.held = False
        self._path = path
        self._unopened = True
        self._content = 0
        if path is None:
            return
        # Opened once and kept: closing any descriptor of the file would give away SQLite's locks on it.
        self._wal = wal_of(path)
        self._main_fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._wal_fd = os.open(self._wal, os.O_RDONLY | os.O_CLOEXEC)
        self._main_seal = seal_of(path)
        self._wal_seal = seal_of(self._wal)

    @classmethod
    def in_memory(cls, stamp: Stamp) -> "HeadsFile":
        file = cls(_connect(":memory:"), None)
        file._fill(stamp)
        return file

    @classmethod
    def make(cls, path: Path, stamp: Stamp) -> "HeadsFile":
        """An empty file in the place of whatever stands there. Raises sqlite3.Error, OSError."""
        remove(path)
        db = _connect(path)
        try:
            file = cls(db, path)
            file._fill(stamp)
            _complete_checkpoint(db)
            file._content = _content_of(file._main_fd)
            db.execute("UPDATE stamp SET content = ?", (_sum_bytes(file._content),))
            _complete_checkpoint(db)
            file._seal_both()
        except BaseException:
            db.close()
            raise
        return file

    @classmethod
    def reopen(cls, path: Path, stamp: Stamp) -> "HeadsFile | None":
        """The file that stands there, if it is whole and belongs to `stamp`; the log says why it is not. Raises
        StoreUnavailable if another process has it."""
        if not path.exists():
            return None
        db = file = None
        try:
            before = {p: look(p) for p in (path, wal_of(path)) if p.exists()}
            db = _connect(path)
            if any(look(p) != found for p, found in before.items()):
                raise HeadsFileLost("it was changed while it was opened")
            file = cls(db, path)
            found = db.execute("SELECT topic_id, partitions, fold_version FROM stamp").fetchall()
            if found != [astuple(stamp)]:
                reason = "it belongs to another log or fold"
            elif not file._verified():
                reason = "its content is not what was written"
            else:
                return file
        except (sqlite3.Error, OSError, HeadsFileLost) as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
                raise StoreUnavailable(f"the heads file {path} is in use by another process") from None
            reason = str(error)
        _log.warning("the heads file %s cannot be used: %s", path, reason)
        if file is not None:
            file.close()
        elif db is not None:
            db.close()
        return None

    @property
    def size_bytes(self) -> int:
        if self._path is None:
            pages: int = self.db.execute("PRAGMA page_count").fetchone()[0]
            return pages * PAGE_SIZE_BYTES
        return self._main_seal[2] + self._wal_seal[2]

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commits what is done within, if all that was read for it came from what this process wrote. Raises
        HeadsFileLost, sqlite3.Error."""
        self.db.execute("BEGIN")
        try:
            if self._unopened:
                self.db.execute("UPDATE stamp SET openings = openings + 1")
            yield
            self.check()
            self.db.execute("COMMIT")
        except BaseException:
            if self.db.in_transaction:
                with suppress(sqlite3.Error):
                    self.db.execute("ROLLBACK")
            raise
        self._unopened = False
        if self._path is not None:
            self._wal_seal = sealed_again(self._wal, self._wal_seal)
            if self._wal_seal[2] >= (_WAL_SIZE_BYTES_HELD if self.held else WAL_SIZE_BYTES_DUE):
                self.checkpoint()

    def check(self) -> None:
        """Raises HeadsFileLost if anybody else has touched the file or its -wal since our last write."""
        if self._path is None:
            return
        for path, seal in ((self._path, self._main_seal), (self._wal, self._wal_seal)):
            if look(path) != seal:
                raise HeadsFileLost(f"somebody else has changed or removed {path}")

    def checkpoint(self) -> None:
        """Brings what stands in the -wal into the file, which then alone is the whole. Raises HeadsFileLost,
        sqlite3.Error."""
        if self._path is None:
            return
        self.check()
        frames = self._frames()
        if not frames:
            return
        content = self._content
        pages_before = self._main_seal[2] // PAGE_SIZE_BYTES
        for page, offset in frames.items():
            if page == _STAMP_PAGE:
                continue
            if page <= pages_before:
                content ^= _hash(page, os.pread(self._main_fd, PAGE_SIZE_BYTES, (page - 1) * PAGE_SIZE_BYTES))
            content ^= _hash(page, os.pread(self._wal_fd, PAGE_SIZE_BYTES, offset))
        self.check()
        self.db.execute("UPDATE stamp SET content = ?", (_sum_bytes(content),))
        self._wal_seal = sealed_again(self._wal, self._wal_seal)
        _complete_checkpoint(self.db)
        self._seal_both()
        self._content = content
        self._unopened = True

    def copy_main(self, target: Path, seal: Seal) -> None:
        """Copies the file as it was at `seal`; may run beside transactions, for as long as it is `held`. Raises
        HeadsFileLost if a checkpoint or somebody else has changed it meanwhile, OSError."""
        with target.open("wb") as out:
            for offset in range(0, seal[2], _READ_SIZE_BYTES):
                if not self.held:
                    raise HeadsFileLost("the copy was given up")
                out.write(os.pread(self._main_fd, min(_READ_SIZE_BYTES, seal[2] - offset), offset))
        if self._path is None or look(self._path) != seal:
            raise HeadsFileLost("the heads file was changed while it was copied")

    @property
    def seal(self) -> Seal:
        """The seal of the file without its -wal, for `copy_main`."""
        return self._main_seal

    def close(self) -> None:
        """Lets go of the file. Without a `checkpoint` before, SQLite makes its own, and the file will not be
        believed."""
        self.db.close()
        if self._path is not None:
            os.close(self._main_fd)
            os.close(self._wal_fd)

    def _fill(self, stamp: Stamp) -> None:
        self.db.executescript(LAYOUT)
        (page,) = self.db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'stamp'").fetchone()
        assert page == _STAMP_PAGE
        self.db.execute("INSERT INTO stamp VALUES (?, ?, ?, ?, 0)", (*astuple(stamp), _sum_bytes(0)))
        self.db.executemany(
            "INSERT INTO positions VALUES (?, 0, 0, -1, '')", [(p,) for p in range(stamp.partitions)]
        )

    def _verified(self) -> bool:
        ((claimed,),) = self.db.execute("SELECT content FROM stamp")
        self._content = _content_of(self._main_fd)
        if _sum_bytes(self._content) != claimed:
            self.check()
            _complete_checkpoint(self.db)
            self._seal_both()
            self._content = _content_of(self._main_fd)
        self.check()
        return bool(_sum_bytes(self._content) == claimed)

    def _frames(self) -> dict[int, int]:
        """Where in the -wal the newest committed content of each page stands.

        The -wal is emptied by every checkpoint, so all of it belongs to the present one; what follows the last
        commit was left there by a process that was killed.
        """
        committed: dict[int, int] = {}
        under_way: dict[int, int] = {}
        for start in range(_WAL_HEADER_BYTES, self._wal_seal[2] - _FRAME_BYTES + 1, _FRAME_BYTES):
            page, pages_after_commit = unpack_from(">II", os.pread(self._wal_fd, 8, start))
            under_way[page] = start + _FRAME_HEADER_BYTES
            if pages_after_commit:
                committed |= under_way
                under_way.clear()
        return committed

    def _seal_both(self) -> None:
        assert self._path is not None
        self._main_seal = sealed_again(self._path, self._main_seal)
        self._wal_seal = sealed_again(self._wal, self._wal_seal)


def wal_of(path: Path) -> Path:
    """SQLite's write-ahead log beside a file."""
    return Path(f"{path}-wal")


def remove(path: Path) -> None:
    """Removes a heads file and what belongs to it, if it is there."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def _connect(path: Path | str) -> sqlite3.Connection:
    db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=0, cached_statements=64)
    try:
        for pragma in (
            f"page_size = {PAGE_SIZE_BYTES}",
            "auto_vacuum = NONE",
            "locking_mode = EXCLUSIVE",
            "journal_mode = WAL",
            "synchronous = OFF",
            "wal_autocheckpoint = 0",
            "cache_spill = OFF",
            "secure_delete = OFF",
            f"cache_size = -{_CACHE_SIZE_KIB}",
        ):
            db.execute(f"PRAGMA {pragma}")
        db.execute("SELECT count(*) FROM sqlite_master").fetchall()  # takes the lock, and reads or makes the -wal
    except BaseException:
        db.close()
        raise
    return db


def _complete_checkpoint(db: sqlite3.Connection) -> None:
    ((busy, *_),) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if busy:
        raise HeadsFileLost("the heads file is in use by another process")


def _content_of(fd: int) -> int:
    content = page = offset = 0
    while chunk := os.pread(fd, _READ_SIZE_BYTES, offset):
        offset += len(chunk)
        view = memoryview(chunk)
        for start in range(0, len(chunk), PAGE_SIZE_BYTES):
            page += 1
            if page != _STAMP_PAGE:
                content ^= _hash(page, view[start : start + PAGE_SIZE_BYTES])
    return content


def _hash(page: int, data: bytes | memoryview) -> int:
    state = sha256(data)
    state.update(page.to_bytes(4, "big"))
    return int.from_bytes(state.digest()[:16], "big")


def _sum_bytes(content: int) -> bytes:
    return content.to_bytes(16, "big")
