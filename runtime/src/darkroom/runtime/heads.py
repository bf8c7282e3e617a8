"""Heads in a local, disposable SQLite file: what the write side knows of every job.

Heads, remembered commands and next offsets change in one transaction. The file is stamped with the topic's
identity, its partition count and the fold's version; if any differs, or the file is ahead of the log, it is
thrown away and filled again from the log. One process at a time has it, held by a lock on a file beside it.
"""

import fcntl
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from darkroom.runtime.eventlog.port import EventLog, Record
from darkroom.runtime.protocol import Verdict
from darkroom.schemas.chain import Guard, accepts, partition_of
from darkroom.schemas.errors import StoreUnavailable, Undecodable
from darkroom.schemas.job import Head, Outcome, Status, evolve
from darkroom.schemas.wire import read_guard

_log = logging.getLogger("darkroom.heads")

FOLD_VERSION = 1
"""Raise it whenever `job.evolve` or the layout below changes: older files are then rebuilt."""

REMEMBERED_OFFSETS = 10_000
"""The window, per partition, in which a repeated command is recognised. Creates never expire: their id and
hash stand in the head."""

_LAYOUT = """
CREATE TABLE stamp (topic_id TEXT, partitions INTEGER, fold_version INTEGER);
CREATE TABLE positions (partition INTEGER PRIMARY KEY, next_offset INTEGER NOT NULL);
CREATE TABLE heads (
    job TEXT PRIMARY KEY, partition INTEGER NOT NULL, tenant TEXT NOT NULL, version INTEGER NOT NULL,
    last_event_id TEXT NOT NULL, status TEXT NOT NULL, run INTEGER NOT NULL, attempt INTEGER NOT NULL,
    create_command_id TEXT NOT NULL, create_hash TEXT NOT NULL, origin_offset INTEGER NOT NULL,
    request_offset INTEGER NOT NULL, last_offset INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX queued ON heads (partition, request_offset) WHERE status = 'queued';
CREATE INDEX running ON heads (partition, request_offset) WHERE status = 'running';
CREATE TABLE commands (
    partition INTEGER NOT NULL, offset INTEGER NOT NULL, command_id TEXT NOT NULL, request_hash TEXT NOT NULL,
    version INTEGER NOT NULL, status TEXT NOT NULL, run INTEGER NOT NULL, PRIMARY KEY (partition, offset)
) WITHOUT ROWID;
CREATE INDEX by_command ON commands (partition, command_id);
"""
_HEAD_COLUMNS = (
    "tenant, version, last_event_id, status, run, attempt, create_command_id, create_hash, origin_offset, "
    "request_offset, last_offset"
)


@dataclass(frozen=True, slots=True)
class Folded:
    """One accepted event and the head after it, for those who act on the log (the executor)."""

    record: Record
    guard: Guard
    head: Head


class HeadStore:
    """The fold of job heads. Reads may come from any thread; `apply` from one only (the tail's)."""

    def __init__(
        self, path: Path | str, log: EventLog, on_folded: Callable[[Sequence[Folded]], None] | None = None
    ) -> None:
        """`path` may be ":memory:". `on_folded` is called in the tail's thread, after the commit. Raises
        LogUnavailable if the log cannot be asked how far it reaches, StoreUnavailable if another process has
        the file."""
        self._partitions = log.partitions
        self._on_folded = on_folded
        self._lock = threading.Lock()
        self._file_lock = _lock_file(path)
        try:
            self._db = self._open(path, log)
        except BaseException:
            self._unlock_file()
            raise
        self._positions = dict(self._db.execute("SELECT partition, next_offset FROM positions"))

    def positions(self) -> Mapping[int, int]:
        return dict(self._positions)

    def get(self, job_id: str) -> Head | None:
        """The head of a job, or None if no accepted event of it was read so far."""
        with self._lock:
            row = self._db.execute(f"SELECT {_HEAD_COLUMNS} FROM heads WHERE job = ?", (job_id,)).fetchone()
        return _head(row) if row else None

    def seen(self, job_id: str, command_id: str) -> Outcome | None:
        """What a command did, if it was accepted within the window."""
        with self._lock:
            row = self._db.execute(
                "SELECT command_id, request_hash, offset, version, status, run FROM commands "
                "WHERE partition = ? AND command_id = ? ORDER BY offset LIMIT 1",
                (partition_of(job_id, self._partitions), command_id),
            ).fetchone()
        return Outcome(row[0], row[1], row[2], row[3], Status(row[4]), row[5]) if row else None

    def queued(self, partition: int, limit: int) -> list[tuple[str, Head]]:
        """The jobs of a partition that wait for an executor, those requested first in front."""
        return self._where("status = 'queued'", partition, limit)

    def running(self, partition: int, limit: int) -> list[tuple[str, Head]]:
        """The jobs of a partition that an executor has taken, those requested first in front."""
        return self._where("status = 'running'", partition, limit)

    def _where(self, condition: str, partition: int, limit: int) -> list[tuple[str, Head]]:
        with self._lock:
            rows = self._db.execute(
                f"SELECT job, {_HEAD_COLUMNS} FROM heads WHERE partition = ? AND {condition} "
                "ORDER BY request_offset LIMIT ?",
                (partition, limit),
            ).fetchall()
        return [(row[0], _head(row[1:])) for row in rows]

    def apply(self, records: Sequence[Record]) -> Sequence[Verdict]:
        verdicts: list[Verdict] = []
        folded: list[Folded] = []
        with self._lock, self._db:
            moved: dict[int, int] = {}
            for record in records:
                verdicts += self._fold(record, folded)
                moved[record.partition] = record.offset + 1
            self._db.executemany("INSERT OR REPLACE INTO positions VALUES (?, ?)", list(moved.items()))
            self._forget_old(moved)
        self._positions |= moved  # only now: a transaction that failed has moved nothing
        if self._on_folded and folded:
            self._on_folded(folded)
        return verdicts

    def close(self) -> None:
        with self._lock:
            self._db.close()
            self._unlock_file()

    def _unlock_file(self) -> None:
        if self._file_lock is not None:
            os.close(self._file_lock)
            self._file_lock = None

    def _fold(self, record: Record, folded: list[Folded]) -> list[Verdict]:
        try:
            guard = read_guard(record.key, record.headers)
        except Undecodable:
            return []  # no event of ours: it changes nothing here, and the projector quarantines it
        if partition_of(guard.key, self._partitions) != record.partition:
            return []
        row = self._db.execute(f"SELECT {_HEAD_COLUMNS} FROM heads WHERE job = ?", (guard.key,)).fetchone()
        before = _head(row) if row else None
        version, last_event_id = (before.version, before.last_event_id) if before else (0, "")
        if not accepts(version, last_event_id, guard):
            return [Verdict(record.partition, record.offset, guard.event_id, accepted=False)]
        head = evolve(before, guard, record.offset)
        self._db.execute(
            f"INSERT OR REPLACE INTO heads (job, partition, {_HEAD_COLUMNS}) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (guard.key, record.partition, *astuple(head)),
        )
        self._db.execute(
            "INSERT OR IGNORE INTO commands VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                record.partition,
                record.offset,
                guard.command_id,
                guard.request_hash,
                head.version,
                head.status,
                head.run,
            ),
        )
        folded.append(Folded(record, guard, head))
        outcome = Outcome(guard.command_id, guard.request_hash, record.offset, head.version, head.status, head.run)
        return [Verdict(record.partition, record.offset, guard.event_id, True, outcome)]

    def _forget_old(self, positions: Mapping[int, int]) -> None:
        self._db.executemany(
            "DELETE FROM commands WHERE partition = ? AND offset < ?",
            [(p, offset - REMEMBERED_OFFSETS) for p, offset in positions.items()],
        )

    def _open(self, path: Path | str, log: EventLog) -> sqlite3.Connection:
        stamp = (log.topic_id, log.partitions, FOLD_VERSION)
        if str(path) != ":memory:":
            db = _reopen(path, stamp, log)
            if db is not None:
                return db
            for suffix in ("", "-wal", "-shm"):
                Path(f"{path}{suffix}").unlink(missing_ok=True)
        db = _connect(path)
        db.executescript(_LAYOUT)
        with db:
            db.execute("INSERT INTO stamp VALUES (?, ?, ?)", stamp)
            db.executemany("INSERT INTO positions VALUES (?, 0)", [(p,) for p in range(log.partitions)])
        return db


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


def _connect(path: Path | str) -> sqlite3.Connection:
    db = sqlite3.connect(path, check_same_thread=False)
    # WAL with NORMAL keeps the file consistent over a crash; what it may lose is read again from the log.
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    return db


def _reopen(path: Path | str, stamp: tuple[str, int, int], log: EventLog) -> sqlite3.Connection | None:
    """The file's connection if it belongs to this log and does not know more than the log holds."""
    if not Path(path).exists():
        return None
    db = None
    try:
        db = _connect(path)
        if db.execute("SELECT topic_id, partitions, fold_version FROM stamp").fetchall() == [stamp]:
            positions = dict(db.execute("SELECT partition, next_offset FROM positions"))
            if set(positions) == set(range(log.partitions)) and all(
                offset <= log.end_offset(p, 5.0) for p, offset in positions.items()
            ):
                usable, db = db, None
                return usable
    except sqlite3.DatabaseError as error:
        _log.warning("the heads file %s cannot be used: %s", path, error)
    finally:
        if db is not None:
            db.close()
    _log.info("the heads file %s belongs to another log or fold: rebuilding it", path)
    return None


def _head(row: Sequence[Any]) -> Head:
    tenant, version, last_event_id, status, *others = row
    return Head(tenant, version, last_event_id, Status(status), *others)
