"""Heads: what the write side knows of every job, folded from the log into a local, disposable file.

Heads, remembered commands and next offsets change in one transaction. The file is stamped with the topic's
identity, its partition count and the fold's version; if any differs, if the file is ahead of the log, or if it
is not what was written (headsfile.py), a copy takes its place (headscopy.py), or it is filled again from the
log. One process at a time has it, held by a lock on a file beside it.

Reads and folds take turns under one lock, so a read never sees half a transaction, and a read that begins after
the tail told a position sees all before it: the barrier before a refusal rests on that. It may see more, since
a commit comes before the telling: that is harmless, for it is in the log, and whatever is decided on it is
judged by the fold. A batch is committed in pieces, so that a read waits for one piece at most.
"""

import atexit
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from darkroom.runtime import headsfold
from darkroom.runtime import headsrows as rows
from darkroom.runtime.eventlog.port import EventLog, Record
from darkroom.runtime.headsfold import Folded, Piece
from darkroom.runtime.headsopen import Copies, lock_file, open_file, stamp_of
from darkroom.runtime.headsseal import HeadsFileLost
from darkroom.runtime.protocol import Verdict
from darkroom.schemas.chain import partition_of
from darkroom.schemas.job import Head, Outcome, Status

__all__ = ["Folded", "HeadStore", "HeadsFileLost"]

_PIECE_RECORDS_MAX = 500
"""How many records are folded in one transaction, and so how long a read may have to wait."""


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
        self.stamp = stamp_of(log)
        self._partitions = log.partitions
        self._on_folded = on_folded
        self._lock = threading.Lock()
        self._copying = threading.Lock()
        self._failure: str | None = None
        self._file_lock = lock_file(path)
        self._closed = False
        try:
            self._file = open_file(path, self.stamp, log, copies)
            found = self._file.db.execute(rows.SELECT_POSITIONS).fetchall()
            self._file.check()
        except BaseException:
            self._unlock_file()
            raise
        self._positions: dict[int, int] = {partition: next_offset for partition, next_offset, *_ in found}
        self._counts: dict[int, int] = {partition: count for partition, _, count, *_ in found}
        self._epochs: dict[int, int] = {partition: epoch for partition, _, _, epoch, _ in found}
        if self._file_lock is not None:
            # SQLite checkpoints when it is closed, as at an exit without our own close: it must be our checkpoint.
            atexit.register(self.close)

    def positions(self) -> Mapping[int, int]:
        """The offset of the next record of each partition."""
        return dict(self._positions)

    def epochs(self) -> Mapping[int, int]:
        """The leader epoch of the record before each position that the file was opened with; -1: unknown."""
        return dict(self._epochs)

    def get(self, job_id: str) -> Head | None:
        """The head of a job, or None if no accepted event of it was read so far. Raises HeadsFileLost."""
        found = self._select(rows.SELECT_HEAD, (rows.packed(job_id),))
        return rows.head_of(found[0]) if found else None

    def seen(self, job_id: str, command_id: str) -> Outcome | None:
        """What a command did, if it was accepted within the window. Raises HeadsFileLost."""
        partition = partition_of(job_id, self._partitions)
        window = headsfold.REMEMBERED_OFFSETS
        slots = partition * window, (partition + 1) * window - 1
        with self._lock:
            oldest = self._positions[partition] - window
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
            piece = Piece(self._partitions)
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
        with self._lock:
            if not self._closed:
                with suppress(HeadsFileLost), self._guarded():
                    self._file.check()
            return self._failure

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
        self._file.held = False  # gives up a copy under way
        with self._copying, self._lock:
            if self._closed:
                return
            self._closed = True
            if self._failure is None:
                with suppress(HeadsFileLost, sqlite3.Error):
                    self._file.checkpoint()
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
        if self._failure is not None or self._closed:
            raise HeadsFileLost(self._failure or "the heads are closed")
        try:
            yield
        except HeadsFileLost as error:
            self._failure = str(error)
            raise
        except sqlite3.DatabaseError as error:
            self._failure = f"the heads file cannot be used any more: {error}"
            raise HeadsFileLost(self._failure) from error
