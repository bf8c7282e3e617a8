"""Moments of the past: a time, a position, or the positions of a whole topic, and the offsets that they mean."""

import math
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime

from darkroom.projector.ends import end_offsets
from darkroom.runtime.eventlog.port import EventLog
from darkroom.runtime.ids import Position, Vector

AsOf = datetime | Position | Vector
_TIMEOUT_S = 10.0


def parse_as_of(text: str) -> AsOf:
    """A time (RFC 3339, with its zone), a position token of the APIs, or the id of an event of the stream over all
    jobs. Raises ValueError with a sentence."""
    for kind in (Position, Vector):
        try:
            return kind.parse(text)
        except ValueError:
            continue
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{text!r:.100} is neither a time like 2026-11-22T12:00:00Z, nor a position as the APIs hand it out, "
            "nor the id of an event of the stream over all jobs"
        ) from None
    if time.tzinfo is None:
        raise ValueError(f"{text} is a time without a zone: write {text}Z for UTC, or {text}+01:00")
    return time.astimezone(UTC)


def name_of(as_of: AsOf) -> str:
    """A short name for it, of letters, digits and underscores."""
    match as_of:
        case datetime():
            milliseconds = f"_{as_of.microsecond // 1000:03}" if as_of.microsecond else ""
            return f"{as_of:%Y%m%dT%H%M%S}{milliseconds}Z"
        case Position():
            return f"t{zlib.crc32(as_of.topic_id.encode()):08x}_p{as_of.partition}_o{as_of.offset}"
        case Vector():
            return f"v{zlib.crc32(as_of.token().encode()):08x}"


def vectors_as_of(as_of: AsOf, logs: Mapping[str, EventLog], now: datetime) -> dict[str, dict[int, int]]:
    """For each log, by name: the offset of the next record of each partition at that moment.

    A time means all records before the first one, in each partition, whose own time is not before it. (Times are
    the producers': they need not rise from record to record.) A position means its partition up to and with it, and
    all else up to the time of its record. Positions of a whole topic mean just these, and all else up to the
    newest of the records before them. Raises ValueError with a sentence that says what to do, LogUnavailable.
    """
    match as_of:
        case datetime():
            if as_of > now:
                raise ValueError(f"{as_of:%Y-%m-%dT%H:%M:%SZ} is in the future: now is {now:%Y-%m-%dT%H:%M:%SZ}")
            vectors = {name: _before(log, math.ceil(as_of.timestamp() * 1000)) for name, log in logs.items()}
            if not any(offset for vector in vectors.values() for offset in vector.values()):
                raise ValueError(f"there is no event before {as_of:%Y-%m-%dT%H:%M:%SZ}{_first_of_all(logs)}")
            return vectors
        case Position():
            name, log = _log_of(as_of.topic_id, logs)
            _check_in_log(as_of.partition, as_of.offset + 1, log)
            time_ms = log.read_one(as_of.partition, as_of.offset, _TIMEOUT_S).timestamp_ms
            vectors = {other: _before(log, time_ms + 1) for other, log in logs.items()}
            vectors[name][as_of.partition] = as_of.offset + 1
            return vectors
        case Vector():
            name, log = _log_of(as_of.topic_id, logs)
            if len(as_of.next) != log.partitions:
                raise ValueError(f"it names {len(as_of.next)} partitions, and the topic has {log.partitions}")
            for partition, offset in enumerate(as_of.next):
                _check_in_log(partition, offset, log)
            lasts = [log.read_one(p, n - 1, _TIMEOUT_S).timestamp_ms for p, n in enumerate(as_of.next) if n]
            vectors = {other: _before(log, max(lasts, default=0) + 1) for other, log in logs.items()}
            vectors[name] = dict(enumerate(as_of.next))
            return vectors


def _before(log: EventLog, time_ms: int) -> dict[int, int]:
    return {p: log.offset_at(p, time_ms, _TIMEOUT_S) for p in range(log.partitions)}


def _log_of(topic_id: str, logs: Mapping[str, EventLog]) -> tuple[str, EventLog]:
    for name, log in logs.items():
        if log.topic_id == topic_id:
            return name, log
    raise ValueError(
        f"it is a position in another topic (id {topic_id}): the topics here are "
        + ", ".join(f"{name} (id {log.topic_id})" for name, log in logs.items())
    )


def _check_in_log(partition: int, offset: int, log: EventLog) -> None:
    """Whether so many records are there."""
    ends = end_offsets(log, _TIMEOUT_S)
    if partition not in ends:
        raise ValueError(f"it is a position in partition {partition}, and the topic has {len(ends)} partitions")
    if offset > ends[partition]:
        raise ValueError(
            f"it is beyond the end: partition {partition} ends at {ends[partition]}, and offset {offset - 1} has "
            "not been written"
        )


def _first_of_all(logs: Mapping[str, EventLog]) -> str:
    first = min(
        (
            log.read_one(partition, 0, _TIMEOUT_S).timestamp_ms
            for log in logs.values()
            for partition, end in end_offsets(log, _TIMEOUT_S).items()
            if end
        ),
        default=None,
    )
    if first is None:
        return ": the log is empty"
    return f": the first is of {datetime.fromtimestamp(first / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
