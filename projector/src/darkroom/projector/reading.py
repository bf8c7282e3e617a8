"""A stretch of one partition, read from the log."""

from collections.abc import Iterator
from time import monotonic

from darkroom.projector.batches import EVENTS_MAX, by_partition
from darkroom.runtime.eventlog.port import EventLog, Record
from darkroom.schemas.errors import LogUnavailable

_SILENCE_S_MAX = 30.0
_POLL_S = 0.5


def stretch(log: EventLog, partition: int, start: int, stop: int) -> Iterator[list[Record]]:
    """The records with start <= offset < stop, in bounded batches. Raises LogUnavailable if the log goes silent."""
    if start >= stop:
        return
    reader = log.follow({partition: start})
    heard = monotonic()
    try:
        while start < stop:
            records = reader.poll(_POLL_S, EVENTS_MAX)
            if not records:
                if monotonic() - heard > _SILENCE_S_MAX:
                    raise LogUnavailable(
                        f"partition {partition}: no record from {start} on (of {stop}) in {_SILENCE_S_MAX:g} s"
                    )
                continue
            start = records[-1].offset + 1
            for _, batch in by_partition([r for r in records if r.offset < stop]):
                yield batch
            heard = monotonic()  # what was done with them meanwhile is no silence of the log
    finally:
        reader.close()
