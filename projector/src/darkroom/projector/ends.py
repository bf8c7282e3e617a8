"""The ends of the partitions, asked for once a second beside the work, so that asking delays no event."""

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from darkroom.runtime.eventlog.port import EventLog
from darkroom.schemas.errors import LogUnavailable

_INTERVAL_S = 1.0
_TIMEOUT_S = 2.0


def end_offsets(log: EventLog, timeout_s: float) -> dict[int, int]:
    """The end of each partition; `timeout_s` bounds the wait for each one. Raises LogUnavailable."""
    return {p: log.end_offset(p, timeout_s) for p in range(log.partitions)}


@dataclass(frozen=True, slots=True)
class Seen:
    """The end of a partition, and when it was seen (UTC)."""

    end: int
    at: datetime


class Ends:
    """`partitions` says which ones to ask for."""

    def __init__(self, log: EventLog, partitions: Callable[[], Collection[int]]) -> None:
        self._log = log
        self._partitions = partitions
        self._ends: dict[int, Seen] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ends", daemon=True)
        self.failure: str | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(2 * _TIMEOUT_S)

    def known(self, partition: int) -> Seen | None:
        """The end as the broker last told it, None before the first answer."""
        return self._ends.get(partition)

    def _run(self) -> None:
        while not self._stopping.wait(_INTERVAL_S):
            for partition in self._partitions():
                try:
                    end = self._log.end_offset(partition, _TIMEOUT_S)
                    self._ends[partition] = Seen(end, datetime.now(UTC))
                    self.failure = None
                except LogUnavailable as error:
                    self.failure = str(error)
                    break
