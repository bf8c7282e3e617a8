"""How far a long piece of work is."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from time import monotonic

from darkroom.runtime.eventlog.port import Record


@dataclass(frozen=True, slots=True)
class Moment:
    """`phase`: what is being done. `left_s`: None while it cannot be told."""

    phase: str
    done: int
    total: int
    per_s: float
    left_s: float | None


Tell = Callable[[Moment], None]
_STEP = 1_000


class Progress:
    """Counts the events of one phase, and tells now and then."""

    def __init__(self, tell: Tell, phase: str, total: int) -> None:
        self._tell = tell
        self._phase = phase
        self._total = total
        self._begun = monotonic()
        self.done = self._say_at = 0
        self.say()

    def step(self, events: int = 1) -> None:
        """So many events more."""
        self.done += events
        if self.done >= self._say_at:
            self.say()

    def counting(self, records: Iterable[Record]) -> Iterator[Record]:
        """The records, each counted as it is taken."""
        for record in records:
            self.step()
            yield record

    def say(self) -> None:
        """Tells how far it is."""
        self._say_at = self.done + _STEP
        per_s = self.done / max(0.001, monotonic() - self._begun)
        left_s = (self._total - self.done) / per_s if per_s else None
        self._tell(Moment(self._phase, self.done, self._total, per_s, left_s))
