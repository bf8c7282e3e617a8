"""How far the live projector is behind the log's end, looked at once a second beside a replay."""

from time import monotonic

from darkroom.projector.ends import end_offsets
from darkroom.projector.projections.families import Family
from darkroom.projector.store import Store
from darkroom.projector.store_snapshot import live_marks
from darkroom.runtime.eventlog.port import EventLog
from darkroom.schemas.errors import Unavailable

_EVERY_S = 1.0
_ASK_S_MAX = 1.0
_ALIVE_S = 5.0
"""A projector at work looks after its checkpoints once a second."""


class LagWatch:
    """Looks at the checkpoints of one generation, which is live."""

    def __init__(self, store: Store, log: EventLog, family: Family, generation: int) -> None:
        self._store, self._log, self._family, self._generation = store, log, family, generation
        self._marks: object = None
        self._moved_at: float | None = None
        self._look_at = monotonic()

    @property
    def due(self) -> bool:
        """Whether it is time to look again."""
        return monotonic() >= self._look_at

    def look(self) -> int | None:
        """The lag in events; None if no projector is at work, or if it cannot be told just now."""
        try:
            marks = live_marks(self._store, self._family, self._generation)
            lag = sum(end_offsets(self._log, _ASK_S_MAX).values()) - sum(offset for offset, _ in marks.values())
        except Unavailable:
            return None  # those who fold will notice
        finally:
            self._look_at = monotonic() + _EVERY_S
        if self._marks is not None and marks != self._marks:
            self._moved_at = monotonic()
        self._marks = marks
        alive = self._moved_at is not None and monotonic() - self._moved_at < _ALIVE_S
        return max(0, lag) if alive else None
