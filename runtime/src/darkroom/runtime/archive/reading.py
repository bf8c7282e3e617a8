"""The records of one partition of a log, every one of them."""

from collections.abc import Generator
from time import monotonic

from darkroom.runtime.archive.segment import missing
from darkroom.runtime.eventlog.port import EventLog, Record
from darkroom.schemas.errors import LogUnavailable

LOG_TIMEOUT_S = 30.0
_POLL_S = 0.5
_RECORDS_MAX = 2_000


def records_of(log: EventLog, partition: int, start: int, stop: int) -> Generator[Record, None, None]:
    """The records from offset `start` to before `stop`. Raises LogUnavailable if the log says nothing for too long,
    ArchiveError where an offset is missing. Close it if you do not take all."""
    if start >= stop:
        return
    reader = log.follow({partition: start})
    try:
        heard = monotonic()
        while start < stop:
            records = reader.poll(_POLL_S, _RECORDS_MAX)
            for record in records:
                if start == stop:
                    return
                if record.offset != start:
                    raise missing(partition, start, record.offset)
                yield record
                start += 1
            if records:
                heard = monotonic()
            elif monotonic() - heard > LOG_TIMEOUT_S:
                raise LogUnavailable(
                    f"partition {partition} gave no record from {start} on (of {stop}) for {LOG_TIMEOUT_S:g} s"
                )
    finally:
        reader.close()
