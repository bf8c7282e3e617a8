"""Whether commands can be served now: the own tails live and are near the end, the broker and the store answer."""

from collections.abc import Callable, Iterable, Sequence
from threading import Lock
from time import monotonic

from darkroom.runtime.blobs import BlobStore
from darkroom.runtime.eventlog.port import EventLog
from darkroom.runtime.tail import Tail
from darkroom.schemas.errors import Unavailable

LAG_EVENTS_MAX = 1_000
_TIMEOUT_S = 2.0
_TURN_S = 0.3


def readiness_of(follows: Sequence[tuple[EventLog, Tail]], blobs: BlobStore) -> Callable[[], str | None]:
    """A check that tells why commands cannot be served now, or None; it takes two seconds at most for the log.

    One check at a time: with a broker that does not answer, many who ask would otherwise take many threads.
    """
    turn = Lock()

    def check() -> str | None:
        if (failure := failure_of(tail for _, tail in follows)) is not None:
            return failure
        if not turn.acquire(timeout=_TURN_S):
            return "another check has been waiting for the log or the blob store for a while"
        try:
            return _reason(follows, blobs)
        finally:
            turn.release()

    return check


def failure_of(tails: Iterable[Tail]) -> str | None:
    """Why this process cannot go on: a tail has stopped for good, so that it would answer every command with 503.
    None while all is well."""
    return next((f"a tail has stopped: {tail.failure}" for tail in tails if tail.failure is not None), None)


def _reason(follows: Sequence[tuple[EventLog, Tail]], blobs: BlobStore) -> str | None:
    until = monotonic() + _TIMEOUT_S
    try:
        for log, tail in follows:
            ends = {p: log.end_offset(p, max(0.01, until - monotonic())) for p in range(log.partitions)}
            behind = sum(end - tail.position(p) for p, end in ends.items())
            if behind > LAG_EVENTS_MAX:
                return f"{behind} events of the log are still to be read"
            for partition, end in ends.items():
                tail.wait_until(partition, end, until)  # one that is near the end, and does not move, is no use
        blobs.check()
    except Unavailable as error:
        return str(error)
    return None
