"""All partitions of a log folded up to a vector: the loop that looks after those who fold."""

from collections.abc import Callable
from time import monotonic

from darkroom.projector.replaying.crew import Crew, Target
from darkroom.projector.replaying.lag import LagWatch
from darkroom.projector.replaying.pace import Pace, adapted, slower
from darkroom.projector.replaying.progress import Moment, Tell

_TICK_S = 0.05
_RECENT_S = 5.0


def develop(
    crew: Crew,
    target: Target | None,
    per_s_max: float | None,
    lag: LagWatch | None,
    check: Callable[[], None],
    tell: Tell,
) -> None:
    """Returns when the crew has folded everything. `lag`: the live projector beside which it works, None if there
    is none to mind. `check` is called now and then, and may raise. Raises what goes wrong."""
    pace, rate = Pace(), _Rate()
    crew.set_rate(per_s_max)
    crew.start(target)
    while not crew.wait(_TICK_S):
        check()
        rate.see(crew.folded_events)
        if lag is not None and lag.due:
            pace = adapted(pace, lag.look(), rate.per_s)
        bound = slower(per_s_max, pace.per_s)
        crew.set_rate(bound)  # also where it is the same: fewer may be at work by now
        left = crew.total - crew.folded_events
        why = "" if bound is None else "the live projector is behind" if bound == pace.per_s else "as asked"
        tell(
            Moment(
                "folding",
                crew.folded_events,
                crew.total,
                rate.per_s,
                left / rate.per_s if rate.per_s else None,
                bound,
                why,
            )
        )
    tell(Moment("folding", crew.folded_events, crew.total, rate.per_s, 0.0))


class _Rate:
    """Events per second, over the last few seconds."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, int]] = [(monotonic(), 0)]
        self.per_s = 0.0

    def see(self, events: int) -> None:
        now = monotonic()
        self._seen.append((now, events))
        while now - self._seen[0][0] > _RECENT_S:
            self._seen.pop(0)
        since, before = self._seen[0]
        self.per_s = (events - before) / max(0.001, now - since)
