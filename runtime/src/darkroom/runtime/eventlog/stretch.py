"""A stretch of one partition, read from its beginning to its end."""

from collections.abc import Generator, Sequence
from time import monotonic

from darkroom.runtime.eventlog.port import EventLog, Record
from darkroom.schemas.errors import LogUnavailable

SILENCE_S_MAX = 30.0
RECORDS_MAX = 2_000
_POLL_S = 0.5


def records_between(
    log: EventLog, partition: int, start: int, stop: int
) -> Generator[Sequence[Record], None, None]:
    """The records with start <= offset < stop in their order, at most RECORDS_MAX at once and never none. Raises
    LogUnavailable if the log goes silent. Close it if you do not take all."""
    if start >= stop:
        return
    reader = log.follow({partition: start})
    heard = monotonic()
    try:
        while start < stop:
            records = reader.poll(_POLL_S, RECORDS_MAX)
            if records:
                start = records[-1].offset + 1
                if wanted := [r for r in records if r.offset < stop]:
                    yield wanted
                heard = monotonic()  # what was done with them meanwhile is no silence of the log
            elif monotonic() - heard > SILENCE_S_MAX:
                raise LogUnavailable(
                    f"partition {partition}: no record from {start} on (of {stop}) in {SILENCE_S_MAX:g} s"
                )
    finally:
        reader.close()
