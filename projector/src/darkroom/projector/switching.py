"""Makes another generation the live one, while a projector works and readers read.

1. close the gap between the two, as long as it is large, without stopping anybody;
2. hold all checkpoints: no projector moves them;
3. close the last gap, so that both generations stand at the same offsets;
4. change the alias, in one transaction that finds them there.
The hold is short, has an end of its own, and is all that readers could notice: no error, no gap, no going back.

Only the generations of this code's folds can be taken to an offset. During a rolling deployment the other one may
stand ahead, and is caught up with; or it stands behind, and its own projector is let go until it stands ahead.
"""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Event
from time import monotonic

from darkroom.projector.catchup import catch_up
from darkroom.projector.projections.families import Family
from darkroom.projector.store import Fenced, Progress, Session, Store
from darkroom.projector.store_generations import alias_of, hold, make_live, release
from darkroom.projector.store_lease import Lease
from darkroom.runtime import failpoints
from darkroom.runtime.eventlog.port import EventLog
from darkroom.schemas.errors import StoreUnavailable
from darkroom.schemas.views import ALIAS_AGE_S_MAX

LAST_GAP_EVENTS_MAX = 1_000
"""In all partitions together; a larger gap is closed before anybody is held."""
_HOLD_S = 5.0
_LINGER_S = ALIAS_AGE_S_MAX + 0.5
_JOIN_TIMEOUT_S = 300.0
_PAUSE_S = 0.05
_ALONE_S = 2.0
"""A projector that is let go, and moves nothing for so long, is not there."""

Behind = Callable[[int], None]
"""Hears how many events the new generation is behind."""


def switch_to(
    store: Store,
    log: EventLog,
    topic: str,
    family: Family,
    generation: int,
    lease: Lease,
    behind: Behind = lambda _: None,
) -> None:
    """Returns when `generation` is live, the former one is kept, and those kept before are no longer carried.
    Raises StoreUnavailable, LogUnavailable, and ValueError with a sentence that says what to do."""
    until = monotonic() + _JOIN_TIMEOUT_S
    pair = _Pair(store, log, topic, family, generation)
    with store.session() as session:
        lease.note(session)
        while True:
            lease.check()
            try:
                standing = pair.standing()
                behind(standing.gap)
                waits = standing.own
                if standing.gap > LAST_GAP_EVENTS_MAX and not standing.own:
                    waits = _shrinks(pair, standing)
                elif standing.own_gap > LAST_GAP_EVENTS_MAX:
                    pair.close(session)
                elif _held_switch(pair, session):
                    return
                if not waits:
                    raise ValueError(
                        f"generation {generation} of {family.name} stands {standing.gap} events behind the live "
                        "one, and this version of the folds cannot carry it on: start a projector of the version "
                        "that made it, and try again when it has caught up"
                    )
            except Fenced:
                Event().wait(_PAUSE_S)  # a projection or a new generation came in between: look again
            if monotonic() > until:
                raise StoreUnavailable(f"generation {generation} did not catch up within {_JOIN_TIMEOUT_S:g} s")


def roll_back(
    store: Store, log: EventLog, topic: str, family: Family, say: Callable[[str], None] = lambda _: None
) -> int:
    """Makes the generation live that was live before, and returns it; the present one is kept in its turn. Raises
    ValueError with a sentence that says what to do, StoreUnavailable, LogUnavailable."""
    with Lease(store, family, say) as lease:
        kept = alias_of(store, family)["kept"]
        if not kept:
            raise ValueError(
                f"there is no generation of {', '.join(family.read_models)} to go back to: it was pruned, or "
                "there has been no replay yet"
            )
        generation = int(max(kept))
        switch_to(store, log, topic, family, generation, lease)
        return generation


@dataclass(frozen=True, slots=True)
class _Standing:
    """`gap`: events by which the new generation stands behind the live one, `ahead`: the other way round, each over
    all partitions. `own`: the new one is of this code's folds; `live_own`: so is the live one."""

    gap: int
    ahead: int
    own: bool
    live_own: bool

    @property
    def own_gap(self) -> int:
        """What this code can close."""
        return max(self.gap if self.own else 0, self.ahead if self.live_own else 0)


@dataclass(frozen=True, slots=True)
class _Pair:
    """The live generation, and the one that is to take its place."""

    store: Store
    log: EventLog
    topic: str
    family: Family
    generation: int

    def progress(self) -> dict[int, Progress]:
        """Raises StoreUnavailable if the new generation is no longer there, Fenced."""
        progress = self.store.progress(self.family, self.topic, range(self.log.partitions))
        if any(self.generation not in found.next for found in progress.values()):
            raise StoreUnavailable(
                f"generation {self.generation} was dropped by somebody else: start the replay again"
            )
        return progress

    def standing(self) -> _Standing:
        progress = self.progress().values()
        gaps = [found.start - found.next[self.generation] for found in progress]
        return _Standing(
            gap=sum(g for g in gaps if g > 0),
            ahead=-sum(g for g in gaps if g < 0),
            own=all(self.generation in found.own for found in progress),
            live_own=all(found.live in found.own for found in progress),
        )

    def close(self, session: Session) -> None:
        """Takes the one of this code's folds to where the other one stands, where it stands behind."""
        for partition, found in self.progress().items():
            for lagging, other in ((self.generation, found.live), (found.live, self.generation)):
                if lagging in found.own and found.next[lagging] < found.next[other]:
                    stop = found.next[other]
                    catch_up(
                        self.store, session, self.log, self.family, self.topic, lagging, partition, found, stop
                    )


def _held_switch(pair: _Pair, session: Session) -> bool:
    """Whether it is live now; False where its own projector did not bring it up to the live one in time. Where
    nobody projects the live one any more, the new one need not wait for it, and may stand ahead."""
    store, family = pair.store, pair.family
    until = monotonic() + _HOLD_S
    hold(store, family, 2 * _HOLD_S)
    failpoints.reach("switch-held")
    alone = False
    try:
        while monotonic() < until:
            pair.close(session)
            if make_live(store, session, family, pair.generation, _LINGER_S, ahead=alone):
                return True
            if alone:
                break
            alone = not _goes_on(pair, min(until, monotonic() + _ALONE_S))
        release(store, family)
        return False
    except BaseException:
        release(store, family)
        raise


def _goes_on(pair: _Pair, until: float) -> bool:
    """Lets the generation that is not of this code's folds go on until it stands nowhere behind, and holds it
    again. False where it stands still: nobody projects it."""
    before = pair.standing()
    release(pair.store, pair.family, others=True)
    now = before
    while monotonic() < until:
        Event().wait(_PAUSE_S)
        now = pair.standing()
        if not (now.gap if before.live_own else now.ahead):
            break
    hold(pair.store, pair.family, 2 * _HOLD_S)
    return now != before


def _shrinks(pair: _Pair, before: _Standing) -> bool:
    """Whether somebody else closes the gap, and may be waited for."""
    until = monotonic() + _HOLD_S
    while monotonic() < until:
        Event().wait(_PAUSE_S)
        now = pair.standing()
        if now.gap < before.gap:
            return True
    return False
