"""How fast a replay may go: what the operator allows, and less while the live projector falls behind beside it."""

import threading
from dataclasses import dataclass
from time import monotonic

FLOOR_PER_S = 1_000.0
"""No lag slows a replay down below this, so that it ends."""
LAG_GROWTH_EVENTS_MAX = 1_000
"""How much further behind the live projector may fall, from the least lag seen since the replay began."""
_SLOWER, _FASTER = 0.5, 1.25
_UNBOUNDED_AFTER = 2.0
"""A bound that is this much more than what it bounded first is none any more."""


@dataclass(frozen=True, slots=True)
class Pace:
    """`per_s`: events per second over all workers, None: as fast as it goes. `lag_least`: the smallest lag seen.
    `unbounded_per_s`: how fast it went when it was first slowed down."""

    per_s: float | None = None
    lag_least: int | None = None
    unbounded_per_s: float = 0.0


def adapted(pace: Pace, lag: int | None, going_per_s: float) -> Pace:
    """The pace after one more look at the live projector, taken about once a second.

    `lag`: how many events the live projector is behind the log's end; None while none is at work, which cannot be
    held up. `going_per_s`: how fast the replay goes. The bound is halved while the lag stands higher than the least
    one seen by more than LAG_GROWTH_EVENTS_MAX, never below FLOOR_PER_S; it is raised by a quarter while the growth
    is less than half of that, until it bounds nothing; between the two it stays.
    """
    if lag is None:
        return Pace(None, pace.lag_least)
    least = lag if pace.lag_least is None else min(pace.lag_least, lag)
    growth = lag - least
    if growth > LAG_GROWTH_EVENTS_MAX:
        first = going_per_s if pace.per_s is None else pace.unbounded_per_s
        now = going_per_s if pace.per_s is None else pace.per_s
        return Pace(max(FLOOR_PER_S, now * _SLOWER), least, first)
    if pace.per_s is None or growth > LAG_GROWTH_EVENTS_MAX / 2:
        return Pace(pace.per_s, least, pace.unbounded_per_s)
    faster = pace.per_s * _FASTER
    if faster > pace.unbounded_per_s * _UNBOUNDED_AFTER:
        return Pace(None, least)
    return Pace(faster, least, pace.unbounded_per_s)


def slower(*rates: float | None) -> float | None:
    """The lowest of some bounds, each None if it is none."""
    return min((r for r in rates if r is not None), default=None)


class Throttle:
    """Holds one worker to its share of the pace. `set_rate` and `stop` may come from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._per_s: float | None = None
        self._stopped = False

    def set_rate(self, per_s: float | None) -> None:
        """Events per second from now on, also for who waits just now; None: no bound."""
        with self._changed:
            self._per_s = per_s
            self._changed.notify_all()

    def stop(self) -> None:
        """Lets nobody wait any more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    @property
    def stopped(self) -> bool:
        return self._stopped

    def passed(self, events: int, took_s: float) -> None:
        """After `events` that took `took_s`: waits until they would have been done at the bound."""
        left, since = float(events), monotonic() - took_s
        with self._changed:
            while not self._stopped and self._per_s is not None:
                now = monotonic()
                left, since = left - (now - since) * self._per_s, now
                if left <= 0:
                    return
                self._changed.wait(left / self._per_s)
