"""A stretch of one partition, in batches that a transaction takes."""

from collections.abc import Iterator
from contextlib import closing

from darkroom.projector.batches import by_partition
from darkroom.runtime.eventlog.port import EventLog, Record
from darkroom.runtime.eventlog.stretch import records_between


def stretch(log: EventLog, partition: int, start: int, stop: int) -> Iterator[list[Record]]:
    """The records with start <= offset < stop, in bounded batches. Raises LogUnavailable if the log goes silent."""
    with closing(records_between(log, partition, start, stop)) as found:
        for records in found:
            for _, batch in by_partition(records):
                yield batch
