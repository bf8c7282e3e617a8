"""How heads stand in the file: the layout, and the way of texts and states into its columns and back.

Most ids are UUIDs and most hashes are SHA-256: those take 16 and 32 bytes. A key or id of any other form comes from
the log as well and is kept as the text that it is; no text is ever taken for such bytes, or the other way round.
"""

from collections.abc import Sequence
from typing import Any

from darkroom.schemas.job import Head, Status

FOLD_VERSION = 3
"""Raise it whenever `job.evolve`, the layout below or the window of commands changes: older files are rebuilt."""

LAYOUT = """
CREATE TABLE stamp (
    topic_id TEXT NOT NULL, partitions INTEGER NOT NULL, fold_version INTEGER NOT NULL,
    content BLOB NOT NULL, openings INTEGER NOT NULL
);
CREATE TABLE positions (
    partition INTEGER PRIMARY KEY, next_offset INTEGER NOT NULL, heads INTEGER NOT NULL,
    last_epoch INTEGER NOT NULL, last_id TEXT NOT NULL
);
CREATE TABLE heads (
    job BLOB PRIMARY KEY, partition INTEGER NOT NULL, tenant TEXT NOT NULL, version INTEGER NOT NULL,
    last_event_id BLOB NOT NULL, status INTEGER NOT NULL, run INTEGER NOT NULL, attempt INTEGER NOT NULL,
    create_command_id BLOB NOT NULL, create_hash BLOB NOT NULL, origin_offset INTEGER NOT NULL,
    request_offset INTEGER NOT NULL, last_offset INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX active ON heads (partition, status, request_offset) WHERE status < 2;
CREATE TABLE commands (
    slot INTEGER PRIMARY KEY, offset INTEGER NOT NULL, command_id BLOB NOT NULL, request_hash BLOB NOT NULL,
    version INTEGER NOT NULL, status INTEGER NOT NULL, run INTEGER NOT NULL
);
CREATE INDEX by_command ON commands (command_id);
"""
"""`stamp` comes first and has one row, so that it fills page 2 alone. `commands` is a ring per partition: a slot is
taken again once its command has left the window, and nothing needs to be swept. `last_epoch` and `last_id` name the
record before `next_offset`: by them a log is noticed that has lost it."""

HEAD_COLUMNS = (
    "tenant, version, last_event_id, status, run, attempt, create_command_id, create_hash, origin_offset, "
    "request_offset, last_offset"
)
SELECT_POSITIONS = "SELECT partition, next_offset, heads, last_epoch, last_id FROM positions"
MOVE_POSITION = "UPDATE positions SET next_offset = ?, heads = ?, last_epoch = ?, last_id = ? WHERE partition = ?"
SELECT_HEAD = f"SELECT {HEAD_COLUMNS} FROM heads WHERE job = ?"
SELECT_ACTIVE = (
    f"SELECT job, {HEAD_COLUMNS} FROM heads "
    "WHERE partition = ? AND status = ? AND status < 2 ORDER BY request_offset LIMIT ?"
)
INSERT_HEAD = f"INSERT INTO heads (job, partition, {HEAD_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
UPDATE_HEAD = (
    "UPDATE heads SET version = ?, last_event_id = ?, status = ?, run = ?, attempt = ?, request_offset = ?, "
    "last_offset = ? WHERE job = ?"
)
INSERT_COMMAND = "INSERT OR REPLACE INTO commands VALUES (?, ?, ?, ?, ?, ?, ?)"
SELECT_COMMAND = (
    "SELECT command_id, request_hash, offset, version, status, run FROM commands "
    "WHERE command_id = ? AND slot BETWEEN ? AND ? AND offset >= ? ORDER BY offset LIMIT 1"
)

_STATUSES = (
    Status.QUEUED,
    Status.RUNNING,
    Status.CREATED,
    Status.SUCCEEDED,
    Status.FAILED,
    Status.CANCELLED,
    Status.DELETED,
)
"""A status is kept as its place in here; those below 2 are active, and indexed."""
STATUS_NUMBER = {status: number for number, status in enumerate(_STATUSES)}


def packed(text: str) -> bytes | str:
    """A canonical UUID as its 16 bytes, 64 lower-case hex digits as 32 bytes, anything else as it is."""
    if len(text) == 36:
        digits = text.replace("-", "")
        shaped = len(digits) == 32 and text[8] == text[13] == text[18] == text[23] == "-"
    else:
        digits = text
        shaped = len(text) == 64
    if not shaped:
        return text
    try:
        data = bytes.fromhex(digits)
    except ValueError:
        return text
    return data if data.hex() == digits else text


def unpacked(value: bytes | str) -> str:
    """What `packed` was given."""
    if isinstance(value, str):
        return value
    digits = value.hex()
    if len(digits) != 32:
        return digits
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def status_of(number: int) -> Status:
    return _STATUSES[number]


def row_of(job_id: str, partition: int, head: Head) -> tuple[Any, ...]:
    """A new head, for INSERT_HEAD."""
    return (
        packed(job_id),
        partition,
        head.tenant,
        head.version,
        packed(head.last_event_id),
        STATUS_NUMBER[head.status],
        head.run,
        head.attempt,
        packed(head.create_command_id),
        packed(head.create_hash),
        head.origin_offset,
        head.request_offset,
        head.last_offset,
    )


def change_of(job_id: str, head: Head) -> tuple[Any, ...]:
    """What events after the first can change of a head, for UPDATE_HEAD."""
    return (
        head.version,
        packed(head.last_event_id),
        STATUS_NUMBER[head.status],
        head.run,
        head.attempt,
        head.request_offset,
        head.last_offset,
        packed(job_id),
    )


def head_of(row: Sequence[Any]) -> Head:
    """The head of a row of HEAD_COLUMNS."""
    return Head(
        tenant=row[0],
        version=row[1],
        last_event_id=unpacked(row[2]),
        status=_STATUSES[row[3]],
        run=row[4],
        attempt=row[5],
        create_command_id=unpacked(row[6]),
        create_hash=unpacked(row[7]),
        origin_offset=row[8],
        request_offset=row[9],
        last_offset=row[10],
    )
