"""Whether commands can be served now: the own tails live and are near the end, the broker and the store answer."""

from collections.abc import Callable, Iterable, Sequence
from time import monotonic

from darkroom.runtime.blobs import BlobStore
from darkroom.runtime.eventlog.port import EventLog
from darkroom.runtime.tail import Tail
from darkroom.schemas.errors import Unavailable

LAG_EVENTS_MAX = 1_000
_TIMEOUT_S = 2.0


def readiness_of(follows: Sequence[tuple[EventLog, Tail]], blobs: BlobStore) -> Callable[[], str | None]:
    """A check that tells why commands cannot be served now, or None; it takes two seconds at most for the log."""

    def check() -> str | None:
        until = monotonic() + _TIMEOUT_S
        try:
            for log, tail in follows:
                reason = _lag(log, tail, until)
                if reason:
                    return reason
            blobs.check()
        except Unavailable as error:
            return str(error)
        return None

    return check


def failure_of(tails: Iterable[Tail]) -> str | None:
    """Why this process cannot go on: a tail has stopped for good, so that it would answer every command with 503.
    None while all is well."""
    return next((f"a tail has stopped: {tail.failure}" for tail in tails if tail.failure is not None), None)


def _lag(log: EventLog, tail: Tail, until: float) -> str | None:
    if (failure := failure_of([tail])) is not None:
        return failure
    behind = sum(
        log.end_offset(partition, max(0.01, until - monotonic())) - tail.position(partition)
        for partition in range(log.partitions)
    )
    return f"{behind} events of the log are still to be read" if behind > LAG_EVENTS_MAX else None
