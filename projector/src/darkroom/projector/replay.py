"""Replay: a read model developed again from the log, proved equal, and switched to.

1. take a snapshot of the live generation: its checkpoints (the vector V), and its documents, which are read
   meanwhile;
2. fold each partition in memory from offset 0 to exactly V, with the live loop's own folds;
3. insert the finished documents as generation n+1, and compare counts and checksums by partition;
4. hand over: give n+1 its checkpoints at V; the live loop of these folds carries it from there;
5. switch: one transaction that finds no partition of n+1 behind the live generation, and changes the alias.
A crash before 5 leaves the readers untouched; the next replay drops what is half built and starts clean.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from time import monotonic

from darkroom.projector.compare import Comparison, compare
from darkroom.projector.ends import end_offsets
from darkroom.projector.projections.families import Family
from darkroom.projector.replaying.crew import Address, Crew, Effort, Target
from darkroom.projector.replaying.develop import develop
from darkroom.projector.replaying.examples import Rebuilt
from darkroom.projector.replaying.lag import LagWatch
from darkroom.projector.replaying.livedocuments import LiveDocuments
from darkroom.projector.replaying.progress import Moment, Tell
from darkroom.projector.store import Fenced, Store
from darkroom.projector.store_generations import (
    abandon,
    begin,
    check,
    count,
    ensure,
    hand_over,
    make_indexes,
    outdated,
)
from darkroom.projector.store_lease import Lease
from darkroom.projector.store_leftovers import drop_leftovers
from darkroom.projector.store_snapshot import Snapshot, snapshot
from darkroom.projector.switching import switch_to
from darkroom.runtime import failpoints
from darkroom.runtime.eventlog.port import EventLog
from darkroom.schemas.errors import StoreUnavailable

_LOG_TIMEOUT_S = 10.0
_TICK_S = 0.1
EFFORT = Effort()

__all__ = ["Address", "Effort", "Mode", "Moment", "Report", "Tell", "replay"]


class Mode(Enum):
    """What becomes of the rebuilt generation. CHECK and DRY_RUN write nothing."""

    SWITCH = "switch if it equals the live one"
    REPAIR = "switch even if it differs"
    DRY_RUN = "compare only"
    CHECK = "compare only; a difference is a failure"


@dataclass(slots=True)
class Report:
    """What a replay found and did. `vector`: offsets of the next record by partition; `processes`: how many others
    folded, 0 if this one did; `took_s`: until everything was folded, inserted and compared; `before`: the live
    generation that was compared."""

    family: str
    vector: Mapping[int, int]
    comparisons: list[Comparison]
    events: int = 0
    took_s: float = 0.0
    processes: int = 0
    before: int = 1
    generation: int | None = None
    switched: bool = False
    outdated: list[str] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Whether the live read models are what the log says."""
        return all(c.equal for c in self.comparisons)


def replay(
    store: Store,
    log: EventLog,
    topic: str,
    family: Family,
    mode: Mode,
    tell: Tell,
    say: Callable[[str], None],
    effort: Effort = EFFORT,
) -> Report:
    """Rebuilds a family of read models. `tell` hears of the progress, `say` gets lines for a person.

    Raises ValueError with a sentence that says what to do (a log that does not fit, another replay under way),
    StoreUnavailable, LogUnavailable, WorkerLost, OSError (no room for what does not fit into memory); the live
    generation is then as it was.
    """
    check(store, family, topic, log.topic_id, partial(end_offsets, log, _LOG_TIMEOUT_S))
    if mode in (Mode.CHECK, Mode.DRY_RUN):
        with snapshot(store, family, topic, log.partitions) as taken:
            return _prove(store, log, topic, family, taken, None, effort, lambda: None, tell)
    ensure(store, family, topic, log.topic_id, log.partitions)
    with Lease(store, family, say) as lease:
        drop_leftovers(store, family)
        generation = begin(store, family)
        try:
            with snapshot(store, family, topic, log.partitions) as taken:
                report = _prove(store, log, topic, family, taken, generation, effort, lease.check, tell)
            lease.check()
            if not (report.equal or mode is Mode.REPAIR or report.outdated):
                abandon(store, family, generation)
                return report
            make_indexes(store, family, generation)
            _check_whole(store, family, generation, report)
            hand_over(store, family, generation, topic, log.topic_id, report.vector)
            failpoints.reach("replay-handed-over")
            switch_to(
                store,
                log,
                topic,
                family,
                generation,
                lease,
                lambda gap: tell(Moment("joining", 0, gap, 0.0, None)),
            )
        except BaseException:
            with suppress(StoreUnavailable, Fenced):  # what is left is dropped by the next replay
                lease.check()  # without it, the generation may be another replay's by now
                abandon(store, family, generation)
            raise
        report.generation, report.switched = generation, True
        with suppress(StoreUnavailable, Fenced):  # so does the next one
            drop_leftovers(store, family)
        return report


def _check_whole(store: Store, family: Family, generation: int, report: Report) -> None:
    """The sums were taken over what was given to MongoDB; this is what it has."""
    held = count(store, family, generation)
    for comparison in report.comparisons:
        if held[comparison.read_model] != comparison.rebuilt.count:
            raise StoreUnavailable(
                f"MongoDB holds {held[comparison.read_model]} of {comparison.rebuilt.count} rebuilt documents of "
                f"{comparison.read_model}: start the replay again"
            )


def _prove(
    store: Store,
    log: EventLog,
    topic: str,
    family: Family,
    taken: Snapshot,
    generation: int | None,
    effort: Effort,
    check: Callable[[], None],
    tell: Tell,
) -> Report:
    """Folds to the snapshot's vector, inserts as `generation` (None: nowhere), and compares."""
    begun = monotonic()
    target = Target(store, generation) if generation is not None else None
    with ExitStack() as opened:
        crew = opened.enter_context(Crew(log, topic, family, taken.vector, effort))
        live = opened.enter_context(LiveDocuments(taken, family, log.partitions))
        lag = LagWatch(store, log, family, taken.live)

        def check_all() -> None:
            check()
            live.wait(0.0)  # raises, if it has failed

        develop(crew, target, effort.per_s_max, lag, check_all, tell)
        failpoints.reach("replay-folded")
        while not live.wait(_TICK_S):
            check()
            tell(Moment("reading", live.read, max(live.about, live.read), live.per_s, None))
        comparisons = compare(family.read_models, live.tally.sums, live.spool, crew.sums, crew.spool)
    with Rebuilt(log, topic, family, taken, target, effort) as rebuilt:
        for comparison in comparisons:
            rebuilt.add_examples(comparison)
    events = sum(taken.vector.values())
    return Report(
        family.name,
        taken.vector,
        comparisons,
        events=events,
        took_s=monotonic() - begun,
        processes=crew.processes,
        before=taken.live,
        outdated=outdated(store, family),
    )
