"""Heads: what the write side knows of every job, folded from the log into a local, disposable file.

Heads, remembered commands and next offsets change in one transaction. The file is stamped with the topic's
identity, its partition count and the fold's version; if any differs, if the file is ahead of the log, or if it is not
what was written (headsfile.py), a copy takes its place (headscopy.py), or it is filled again from the log. One process
at a time has it, held by a lock on a file beside it.

Reads and folds take turns under one lock, so a read never sees half a transaction, and a read that begins after the
tail told a position sees all before it: the barrier before a refusal rests on that. It may see more, since a commit
comes before the telling: that is harmless, for it is in the log, and whatever is decided on it is judged by the fold.
A batch is committed in pieces, so that a read waits for one piece at most.
"""

import atexit
import fcntl
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from darkroom.runtime import headsrows as rows
from darkroom.runtime.eventlog.port import EventLog, Record
from darkroom.runtime.headsfile import HeadsFile, HeadsFileLost, Stamp, remove
from darkroom.runtime.headsrows import FOLD_VERSION
from darkroom.runtime.tail import Verdict
from darkroom.schemas.chain import Guard, accepts, partition_of
from darkroom.schemas.errors import StoreUnavailable, Undecodable
from darkroom.schemas.job import Head, Outcome, Status, evolve
from darkroom.schemas.wire import read_guard

_log = logging.getLogger("darkroom.heads")

REMEMBERED_OFFSETS = 10_000
"""The window, per partition, in which a repeated command is recognised: one at offset `o` is known exactly while
`o >= next_offset - REMEMBERED_OFFSETS`, on every instance alike. Creates never expire: their id and hash stand in the
head. A change of this number is a change of the fold."""

_PIECE_RECORDS_MAX = 500
"""How many records are folded in one transaction, and so how long a read may have to wait."""


@dataclass(frozen=True, slots=True)
class Folded:
    """One accepted event and the head after it, for those who act on the log (the executor)."""

    record: Record
    guard: Guard
    head: Head


class Copies(Protocol):
    """Where a machine without a usable file gets one from."""

    def bring(self, stamp: Stamp, path: Path) -> Iterator[str]:
        """Puts one copy after the other at `path`, the newest first, and names it; ends when there is none left.
        Never raises."""


class HeadStore:
    """The fold of job heads. Reads may come from any thread; `apply` from one only (the tail's)."""

    def __init__(
        self,
        path: Path | str,
        log: EventLog,
        on_folded: Callable[[Sequence[Folded]], None] | None = None,
        copies: Copies | None = None,
    ) -> None:
        """`path` may be ":memory:". `on_folded` is called in the tail's thread, after the commit. `copies` are
        tried where the file cannot be used. Raises LogUnavailable if the log cannot be asked how far it reaches,
        StoreUnavailable if another process has the file."""
        self._partitions = log.partitions
        self._on_folded = on_folded
        self._lock = threading.Lock()
        self._copying = threading.Lock()
        self._failure: str | None = None
        self._file_lock = _lock_file(path)
        self._closed = False
        try:
            self._file = _open(path, log, copies)
            found = self._file.db.execute("SELECT partition, next_offset, heads FROM positions").fetchall()
            self._file.check()
        except BaseException:
            self._unlock_file()
            raise
        self._positions = {partition: next_offset for partition, next_offset, _ in found}
        self._counts = {partition: count for partition, _, count in found}
        if self._file_lock is not None:
            # SQLite checkpoints when it is closed, as at an exit without our own close: it must be our checkpoint.
            atexit.register(self.close)

    def positions(self) -> Mapping[int, int]:
        """The offset of the next record of each partition."""
        return dict(self._positions)

    def get(self, job_id: str) -> Head | None:
        """The head of a job, or None if no accepted event of it was read so far. Raises HeadsFileLost."""
        found = self._select(rows.SELECT_HEAD, (rows.packed(job_id),))
        return rows.head_of(found[0]) if found else None

    def seen(self, job_id: str, command_id: str) -> Outcome | None:
        """What a command did, if it was accepted within the window. Raises HeadsFileLost."""
        partition = partition_of(job_id, self._partitions)
        slots = partition * REMEMBERED_OFFSETS, (partition + 1) * REMEMBERED_OFFSETS - 1
        with self._lock:
            oldest = self._positions[partition] - REMEMBERED_OFFSETS
            found = self._selected(rows.SELECT_COMMAND, (rows.packed(command_id), *slots, oldest))
        if not found:
            return None
        command, request_hash, offset, version, status, run = found[0]
        return Outcome(
            rows.unpacked(command), rows.unpacked(request_hash), offset, version, rows.status_of(status), run
        )

    def queued(self, partition: int, limit: int) -> list[tuple[str, Head]]:
        """The jobs of a partition that wait for an executor, those requested first in front. Raises
        HeadsFileLost."""
        return self._active(Status.QUEUED, partition, limit)

    def running(self, partition: int, limit: int) -> list[tuple[str, Head]]:
        """The jobs of a partition that an executor has taken, those requested first in front. Raises
        HeadsFileLost."""
        return self._active(Status.RUNNING, partition, limit)

    def apply(self, records: Sequence[Record]) -> Sequence[Verdict]:
        """Folds records in order, and tells the verdicts. Raises HeadsFileLost: nobody may be told a verdict, and
        the file must be opened anew."""
        verdicts: list[Verdict] = []
        folded: list[Folded] = []
        for start in range(0, len(records), _PIECE_RECORDS_MAX):
            piece = _Piece(self._partitions)
            with self._lock, self._guarded():
                with self._file.transaction():
                    for record in records[start : start + _PIECE_RECORDS_MAX]:
                        piece.fold(record, self._file.db)
                    positions = self._positions | piece.moved  # a transaction that fails has moved nothing
                    counts = {p: self._counts[p] + piece.new_in(p) for p in positions}
                    piece.write(self._file.db, counts)
                self._positions, self._counts = positions, counts
            verdicts += piece.verdicts
            folded += piece.folded
        if self._on_folded and folded:
            self._on_folded(folded)
        return verdicts

    def count(self) -> int:
        """How many jobs are known; costs nothing."""
        return sum(self._counts.values())

    def size_bytes(self) -> int:
        """Size of the file with its -wal (or of the memory, for ":memory:"); costs nothing."""
        with self._lock:
            return 0 if self._closed else self._file.size_bytes

    def failure(self) -> str | None:
        """Why nothing can be read from the file any more, if it is so: the process must then end. Looks at the
        file, so an instance at rest notices as well."""
        try:
            with self._lock, self._guarded():
                self._file.check()
        except HeadsFileLost as error:
            return str(error)
        return None

    def copy_to(self, target: Path) -> int:
        """Copies the file as it is at one moment, beside folds; returns how many events it has passed. Raises
        HeadsFileLost (the copy is then worth nothing), OSError."""
        with self._copying:
            with self._lock, self._guarded():
                self._file.checkpoint()
                seal, passed = self._file.seal, sum(self._positions.values())
                self._file.held = True
            try:
                self._file.copy_main(target, seal)
            finally:
                self._file.held = False
        return passed

    def close(self) -> None:
        """Closes the file, whole. May be called again."""
        atexit.unregister(self.close)
        with self._copying, self._lock:
            if self._closed:
                return
            self._closed = True
            if self._failure is None:
                with suppress(HeadsFileLost, sqlite3.Error):
                    self._file.checkpoint()
            self._failure = self._failure or "the heads are closed"
            self._file.close()
            self._unlock_file()

    def _unlock_file(self) -> None:
        if self._file_lock is not None:
            os.close(self._file_lock)
            self._file_lock = None

    def _active(self, status: Status, partition: int, limit: int) -> list[tuple[str, Head]]:
        found = self._select(rows.SELECT_ACTIVE, (partition, rows.STATUS_NUMBER[status], limit))
        return [(rows.unpacked(row[0]), rows.head_of(row[1:])) for row in found]

    def _select(self, statement: str, parameters: Sequence[Any]) -> list[Any]:
        with self._lock:
            return self._selected(statement, parameters)

    def _selected(self, statement: str, parameters: Sequence[Any]) -> list[Any]:
        with self._guarded():
            found = self._file.db.execute(statement, parameters).fetchall()
            self._file.check()
        return found

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Once anything is wrong with the file, nothing is read from it or written to it any more."""
        if self._failure is not None:
            raise HeadsFileLost(self._failure)
        try:
            yield
        except HeadsFileLost as error:
            self._failure = str(error)
            raise
        except sqlite3.DatabaseError as error:
            self._failure = f"the heads file cannot be used any more: {error}"
            raise HeadsFileLost(self._failure) from error


class _Piece:
    """Some records folded: what they change, written at the end in as few steps as there are tables."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self.verdicts: list[Verdict] = []
        self.folded: list[Folded] = []
        self.moved: dict[int, int] = {}
        self._before: dict[str, Head | None] = {}
        self._after: dict[str, Head] = {}
        self._commands: list[tuple[Any, ...]] = []
        self._new: dict[int, list[str]] = {}

    def new_in(self, partition: int) -> int:
        return len(self._new.get(partition, ()))

    def fold(self, record: Record, db: sqlite3.Connection) -> None:
        partition, offset = record.partition, record.offset
        self.moved[partition] = offset + 1
        try:
            guard = read_guard(record.key, record.headers)
        except Undecodable:
            return  # no event of ours: it changes nothing here, and the projector quarantines it
        if partition_of(guard.key, self._partitions) != partition:
            return
        before = self._head(guard.key, db)
        version, last_event_id = (before.version, before.last_event_id) if before else (0, "")
        if not accepts(version, last_event_id, guard):
            self.verdicts.append(Verdict(partition, offset, guard.event_id, accepted=False))
            return
        head = self._after[guard.key] = evolve(before, guard, offset)
        if before is None:
            self._new.setdefault(partition, []).append(guard.key)
        self._commands.append(
            (
                partition * REMEMBERED_OFFSETS + offset % REMEMBERED_OFFSETS,
                offset,
                rows.packed(guard.command_id),
                rows.packed(guard.request_hash),
                head.version,
                rows.STATUS_NUMBER[head.status],
                head.run,
            )
        )
        self.folded.append(Folded(record, guard, head))
        outcome = Outcome(guard.command_id, guard.request_hash, offset, head.version, head.status, head.run)
        self.verdicts.append(Verdict(partition, offset, guard.event_id, True, outcome))

    def write(self, db: sqlite3.Connection, counts: Mapping[int, int]) -> None:
        new = {key for keys in self._new.values() for key in keys}
        inserts = [rows.row_of(key, p, self._after[key]) for p, keys in self._new.items() for key in keys]
        updates = [rows.change_of(key, head) for key, head in self._after.items() if key not in new]
        db.executemany(rows.INSERT_HEAD, inserts)
        db.executemany(rows.UPDATE_HEAD, updates)
        db.executemany(rows.INSERT_COMMAND, self._commands)
        db.executemany(
            "UPDATE positions SET next_offset = ?, heads = ? WHERE partition = ?",
            [(next_offset, counts[p], p) for p, next_offset in self.moved.items()],
        )

    def _head(self, key: str, db: sqlite3.Connection) -> Head | None:
        if key in self._after:
            return self._after[key]
        row = db.execute(rows.SELECT_HEAD, (rows.packed(key),)).fetchone()
        return rows.head_of(row) if row else None


def _lock_file(path: Path | str) -> int | None:
    """Two processes that fold into one file would each find the other's events void. A dead process holds no
    lock, however it died."""
    if str(path) == ":memory:":
        return None
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise StoreUnavailable(f"the heads file {path} is in use by another process") from None
    return descriptor


def _open(path: Path | str, log: EventLog, copies: Copies | None) -> HeadsFile:
    stamp = Stamp(log.topic_id, log.partitions, FOLD_VERSION)
    if str(path) == ":memory:":
        return HeadsFile.in_memory(stamp)
    path = Path(path)
    file = _usable(path, stamp, log)
    if file is None and copies is not None:
        for name in copies.bring(stamp, path):
            file = _usable(path, stamp, log, from_elsewhere=True)
            if file is not None:
                _log.info("the heads begin with the copy %s", name)
                return file
            _log.warning("the copy %s of the heads is not used", name)
    if file is None:
        _log.info("the heads are read from the log into a new file %s", path)
        file = HeadsFile.make(path, stamp)
    return file


def _usable(path: Path, stamp: Stamp, log: EventLog, *, from_elsewhere: bool = False) -> HeadsFile | None:
    """The file, if it does not know more than the log holds. What comes from elsewhere is looked through by SQLite as
    well. Raises LogUnavailable."""
    file = HeadsFile.reopen(path, stamp)
    if file is None:
        return None
    usable = None
    try:
        positions = dict(file.db.execute("SELECT partition, next_offset FROM positions").fetchall())
        if set(positions) != set(range(log.partitions)):
            _log.warning("the heads file %s has other partitions than the log", path)
        elif any(offset > log.end_offset(p, 5.0) for p, offset in positions.items()):
            _log.warning("the heads file %s knows more than the log holds", path)
        elif from_elsewhere and file.db.execute("PRAGMA quick_check(1)").fetchall() != [("ok",)]:
            _log.warning("the heads file %s is damaged", path)
        else:
            usable = file
    except sqlite3.DatabaseError as error:
        _log.warning("the heads file %s cannot be used: %s", path, error)
    finally:
        if usable is None:
            with suppress(HeadsFileLost, sqlite3.Error):
                file.checkpoint()  # so that it stays usable where only the log could not be asked
            file.close()
    return usable
