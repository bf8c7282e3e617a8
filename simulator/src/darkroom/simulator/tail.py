"""Follows the log itself and says, event by event, where each job stands.

Whether an event counts, and the status after it, depend on all earlier events of its job: so the fold always
begins at the log's first record, and what is not wanted is folded in silence. (The status alone could be had
from an event's type; that it did not lose a race cannot.) The heads stand in a temporary file, so that memory
stays bounded however long the log is.
"""

import heapq
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

from darkroom.runtime.eventlog.port import EventLog, Reader, Record
from darkroom.runtime.heads import HeadStore
from darkroom.runtime.ids import Position
from darkroom.runtime.protocol import Verdict
from darkroom.schemas.chain import short_type
from darkroom.schemas.errors import Undecodable
from darkroom.schemas.wire import read_guard

BATCH_RECORDS_MAX = 2_000
POLL_S = 0.1
VOID = "void"
ASK_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Line:
    """One event of a job. `status`: where the job stood after it, or `void` if the event lost a race."""

    job_id: str
    kind: str
    status: str
    record: Record

    def text(self) -> str:
        return f"Inference job (id: {self.job_id}) {self.kind}: {self.status}"

    def json(self) -> str:
        """The raw CloudEvent, on one line."""
        return (self.record.value or b"").decode(errors="replace").replace("\n", " ")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events to give. `since_ms`: from this time on (milliseconds since 1970), as the records state it;
    `since_offsets`: in these partitions, from this offset on instead. `types` are short or whole ones."""

    since_ms: int = 0
    since_offsets: tuple[tuple[int, int], ...] = ()
    job_prefix: str = ""
    types: frozenset[str] = frozenset()
    void: bool = False

    def covers(self, line: Line) -> bool:
        if line.status == VOID and not self.void:
            return False
        if not line.job_id.startswith(self.job_prefix):
            return False
        if self.types and line.kind not in self.types:
            return False
        first_offset = dict(self.since_offsets).get(line.record.partition)
        if first_offset is not None:
            return line.record.offset >= first_offset
        return line.record.timestamp_ms >= self.since_ms


def lines(
    log: EventLog, wanted: Wanted, *, follow: bool, stopping: threading.Event | None = None
) -> Iterator[Line]:
    """The events as they stand in the log, then (with `follow`) as they arrive, until `stopping` is set.

    Events of one job come in their order. Between jobs there is no order; what is read at once is merged by
    the records' times, for the reader's comfort only. Raises LogUnavailable.
    """
    ends = {p: log.end_offset(p, ASK_TIMEOUT_S) for p in range(log.partitions)}
    with TemporaryDirectory(prefix="darkroom-tail-") as folder:
        heads = HeadStore(Path(folder) / "heads.sqlite", log)
        reader = log.follow(heads.positions())
        try:
            while not (stopping and stopping.is_set()):
                behind = any(heads.positions()[p] < end for p, end in ends.items())
                if not behind and not follow:
                    return
                records = _read(reader, gather=behind)
                if records:
                    yield from _judged(records, heads.apply(records), wanted)
        finally:
            reader.close()
            heads.close()


def _read(reader: Reader, *, gather: bool) -> list[Record]:
    """What is there. While catching up it gathers a whole batch, so that there is something to merge."""
    records = list(reader.poll(POLL_S, BATCH_RECORDS_MAX))
    until = monotonic() + POLL_S
    while gather and len(records) < BATCH_RECORDS_MAX and (left_s := until - monotonic()) > 0:
        records += reader.poll(left_s, BATCH_RECORDS_MAX - len(records))
    by_partition: dict[int, list[Record]] = {}
    for record in records:
        by_partition.setdefault(record.partition, []).append(record)
    return list(heapq.merge(*by_partition.values(), key=lambda record: record.timestamp_ms))


def _judged(records: Sequence[Record], verdicts: Sequence[Verdict], wanted: Wanted) -> Iterator[Line]:
    judged = {(v.partition, v.offset): v for v in verdicts}
    for record in records:
        verdict = judged.get((record.partition, record.offset))
        if verdict is None:
            continue  # no event of ours: the projector quarantines it
        try:
            guard = read_guard(record.key, record.headers)
        except Undecodable:
            continue
        status = str(verdict.outcome.status) if verdict.accepted else VOID
        line = Line(guard.key, short_type(guard.type), status, record)
        if wanted.covers(line):
            yield line


SPAN_S_MAX = 100 * 365 * 86_400.0
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def span_s(text: str) -> float | None:
    """Seconds of a span like 30s, 10m, 1.5h or 7d; None if it is none."""
    number, unit = text[:-1], text[-1:]
    if unit not in _UNITS_S or not number.replace(".", "", 1).isdecimal() or not number.isascii():
        return None
    return min(float(number) * _UNITS_S[unit], SPAN_S_MAX)


def since(text: str, log: EventLog, now: datetime) -> tuple[int, tuple[tuple[int, int], ...]]:
    """`since_ms` and `since_offsets` for what a person gave: a time (RFC 3339; without an offset it is UTC),
    a span before `now` (30s, 10m, 2h, 7d), or a position as the APIs give it (from that event on, in the other
    partitions from its time on). Raises ValueError with a sentence, LogUnavailable."""
    span = span_s(text)
    if span is not None:
        return _ms(now - timedelta(seconds=span)), ()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        pass
    else:
        return _ms(moment if moment.tzinfo else moment.replace(tzinfo=UTC)), ()
    try:
        position = Position.parse(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is no time (2026-11-22T10:00:00Z), no span (30s, 10m, 2h, 7d) and no position"
        ) from None
    if position.topic_id != log.topic_id or position.partition >= log.partitions:
        raise ValueError(f"the position {text!r} belongs to another log")
    if position.offset >= log.end_offset(position.partition, ASK_TIMEOUT_S):
        raise ValueError(f"the position {text!r} lies beyond the end of the log")
    record = log.read_one(position.partition, position.offset, ASK_TIMEOUT_S)
    return record.timestamp_ms, ((position.partition, position.offset),)


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
