"""The records of one partition of a log, every one of them."""

from collections.abc import Generator
from contextlib import closing

from darkroom.runtime.archive.segment import missing
from darkroom.runtime.eventlog.port import EventLog, Record
from darkroom.runtime.eventlog.stretch import records_between

LOG_TIMEOUT_S = 30.0


def records_of(log: EventLog, partition: int, start: int, stop: int) -> Generator[Record, None, None]:
    """The records from offset `start` to before `stop`. Raises LogUnavailable if the log says nothing for too long,
    ArchiveError where an offset is missing. Close it if you do not take all."""
    with closing(records_between(log, partition, start, stop)) as found:
        for records in found:
            for record in records:
                if record.offset != start:
                    raise missing(partition, start, record.offset)
                yield record
                start += 1
    if start < stop:
        raise missing(partition, start, stop)
