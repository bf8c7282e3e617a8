"""The fold of heads: some records in order, against what the file holds, and what they change in it."""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from darkroom.runtime import headsrows as rows
from darkroom.runtime.eventlog.port import Record
from darkroom.runtime.protocol import Verdict
from darkroom.schemas.chain import Guard, accepts, partition_of
from darkroom.schemas.errors import Undecodable
from darkroom.schemas.job import Head, Outcome, evolve
from darkroom.schemas.wire import read_guard

REMEMBERED_OFFSETS = 10_000
"""The window, per partition, in which a repeated command is recognised: one at offset `o` is known exactly while
`o >= next_offset - REMEMBERED_OFFSETS`, on every instance alike. Creates never expire: their id and hash stand in
the head. A change of this number is a change of the fold."""


_ID_SIZE_BYTES_MAX = 200


@dataclass(frozen=True, slots=True)
class Mark:
    """The record before a position: its leader epoch, and its `id` header ("" without one). What stands at the same
    offset in another history of the log has another epoch or, where a backup was put in its place, another id."""

    epoch: int = -1
    id: str = ""

    @classmethod
    def of(cls, record: Record) -> "Mark":
        found = next((value for name, value in record.headers if name == "id"), b"")
        return cls(record.leader_epoch, found[:_ID_SIZE_BYTES_MAX].decode("utf-8", "replace"))


@dataclass(frozen=True, slots=True)
class Folded:
    """One accepted event and the head after it, for those who act on the log (the executor)."""

    record: Record
    guard: Guard
    head: Head


class Piece:
    """Some records folded: what they change, written at the end in as few steps as there are tables."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self.verdicts: list[Verdict] = []
        self.folded: list[Folded] = []
        self.moved: dict[int, int] = {}
        self._last: dict[int, Record] = {}
        self._before: dict[str, Head | None] = {}
        self._after: dict[str, Head] = {}
        self._commands: list[tuple[Any, ...]] = []
        self._new: dict[int, list[str]] = {}

    def new_in(self, partition: int) -> int:
        """How many jobs were new."""
        return len(self._new.get(partition, ()))

    def fold(self, record: Record, db: sqlite3.Connection) -> None:
        """The next record. Changes nothing in the file. Raises sqlite3.Error."""
        partition, offset = record.partition, record.offset
        self.moved[partition] = offset + 1
        self._last[partition] = record
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
        """Writes all changes; `counts`: how many jobs each partition has then. Raises sqlite3.Error."""
        new = {key for keys in self._new.values() for key in keys}
        inserts = [rows.row_of(key, p, self._after[key]) for p, keys in self._new.items() for key in keys]
        updates = [rows.change_of(key, head) for key, head in self._after.items() if key not in new]
        if inserts:
            db.executemany(rows.INSERT_HEAD, inserts)
        if updates:
            db.executemany(rows.UPDATE_HEAD, updates)
        if self._commands:
            db.executemany(rows.INSERT_COMMAND, self._commands)
        marks = {p: Mark.of(record) for p, record in self._last.items()}
        db.executemany(
            rows.MOVE_POSITION,
            [(next_offset, counts[p], marks[p].epoch, marks[p].id, p) for p, next_offset in self.moved.items()],
        )

    def _head(self, key: str, db: sqlite3.Connection) -> Head | None:
        if key in self._after:
            return self._after[key]
        row = db.execute(rows.SELECT_HEAD, (rows.packed(key),)).fetchone()
        return rows.head_of(row) if row else None
