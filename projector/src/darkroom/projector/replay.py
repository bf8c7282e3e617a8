"""Replay: a read model developed again from the log, proved equal, and switched to.

1. take a snapshot of the live generation: its checkpoints (the vector V) and the checksum of its documents;
2. fold each partition in memory from offset 0 to exactly V, with the live loop's own folds;
3. insert the finished documents as generation n+1, and compare counts and checksums;
4. hand over: give n+1 its checkpoints at V; the live loop carries it as soon as it stands where the live one does;
5. switch: one transaction that finds all partitions of n+1 level with the live generation, and changes the alias.
A crash before 5 leaves the readers untouched; the next replay drops what is half built and starts clean.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from threading import Event
from time import monotonic

import bson

from darkroom.projector.catchup import catch_up
from darkroom.projector.compare import EXAMPLES_MAX, Comparison, Example, differing_fields
from darkroom.projector.ends import end_offsets
from darkroom.projector.projections.families import Family
from darkroom.projector.reading import stretch
from darkroom.projector.shelf import CODEC, Shelf
from darkroom.projector.store import Fenced, Progress, Store
from darkroom.projector.store_bulk import Inserter
from darkroom.projector.store_generations import (
    abandon,
    begin,
    check,
    ensure,
    hand_over,
    make_indexes,
    outdated,
    switch,
)
from darkroom.projector.store_lease import Lease
from darkroom.projector.store_snapshot import Snapshot, snapshot
from darkroom.runtime import failpoints
from darkroom.runtime.eventlog.port import EventLog
from darkroom.schemas.errors import StoreUnavailable
from darkroom.schemas.views import collection

GAP_EVENTS_MAX = 10_000
"""A gap to the live generation that is larger is closed by the replay; a smaller one by the live loop."""
_ALONE_AFTER_S = 3.0
_JOIN_TIMEOUT_S = 300.0
_LOG_TIMEOUT_S = 10.0


class Mode(Enum):
    """What becomes of the rebuilt generation. CHECK and DRY_RUN write nothing."""

    SWITCH = "switch if it equals the live one"
    REPAIR = "switch even if it differs"
    DRY_RUN = "compare only"
    CHECK = "compare only; a difference is a failure"


@dataclass(frozen=True, slots=True)
class Moment:
    """How far a replay is. `phase`: reading, folding, joining. `left_s`: None while it cannot be told."""

    phase: str
    done: int
    total: int
    per_s: float
    left_s: float | None


@dataclass(slots=True)
class Report:
    """What a replay found and did. `vector`: offsets of the next record by partition."""

    family: str
    vector: Mapping[int, int]
    comparisons: list[Comparison]
    events: int = 0
    took_s: float = 0.0
    generation: int | None = None
    switched: bool = False
    outdated: list[str] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Whether the live read models are what the log says."""
        return all(c.equal for c in self.comparisons)


Tell = Callable[[Moment], None]


def replay(
    store: Store, log: EventLog, topic: str, family: Family, mode: Mode, tell: Tell, say: Callable[[str], None]
) -> Report:
    """Rebuilds a family of read models. `tell` hears of the progress, `say` gets lines for a person.

    Raises ValueError with a sentence that says what to do (a log that does not fit, another replay under way),
    StoreUnavailable, LogUnavailable; the live generation is then as it was.
    """
    check(store, family, topic, log.topic_id, partial(end_offsets, log, _LOG_TIMEOUT_S))
    if mode in (Mode.CHECK, Mode.DRY_RUN):
        with snapshot(store, family, topic, log.partitions) as taken:
            return _compare(store, log, topic, family, taken, None, tell)
    ensure(store, family, topic, log.topic_id, log.partitions)
    with Lease(store, family, say) as lease:
        generation = begin(store, family)
        try:
            with snapshot(store, family, topic, log.partitions) as taken:
                report = _compare(store, log, topic, family, taken, generation, tell)
            lease.check()
            if not (report.equal or mode is Mode.REPAIR or report.outdated):
                abandon(store, family, generation)
                return report
            make_indexes(store, family, generation)
            hand_over(store, family, generation, topic, log.topic_id, report.vector)
            failpoints.reach("replay-handed-over")
            _join_and_switch(store, log, topic, family, generation, lease, tell)
        except BaseException:
            with suppress(StoreUnavailable, Fenced):  # what is left is dropped by the next replay
                lease.check()  # without it, the generation may be another replay's by now
                abandon(store, family, generation)
            raise
        report.generation, report.switched = generation, True
        return report


def fold_partition(
    log: EventLog, topic: str, family: Family, partition: int, stop: int, took: Tell | None
) -> Shelf:
    """All documents of one partition, folded from offset 0 to before `stop`."""
    shelf, done, begun = Shelf(), 0, monotonic()
    for records in stretch(log, partition, 0, stop):
        shelf.take(family.fold(topic, log.partitions, records, shelf.load))
        done += len(records)
        if took:
            took(Moment("folding", done, stop, done / max(0.001, monotonic() - begun), None))
    return shelf


def _compare(
    store: Store,
    log: EventLog,
    topic: str,
    family: Family,
    taken: Snapshot,
    generation: int | None,
    tell: Tell,
) -> Report:
    """Folds to the snapshot's vector, inserts as `generation` (None: nowhere), and compares."""
    comparisons = {m: Comparison(m) for m in family.read_models}
    begun = monotonic()
    for read_model, comparison in comparisons.items():
        for number, document in enumerate(taken.documents(read_model)):
            comparison.see_live(document)
            if number % 10_000 == 0:
                tell(Moment("reading", comparison.live.count, 0, 0.0, None))
    report = Report(family.name, taken.vector, list(comparisons.values()), outdated=outdated(store, family))
    folding, done, total = monotonic(), 0, sum(taken.vector.values())

    def took(moment: Moment) -> None:
        so_far = done + moment.done
        per_s = so_far / max(0.001, monotonic() - folding)
        tell(Moment("folding", so_far, total, per_s, (total - so_far) / per_s if per_s else None))

    with Inserter(store) as inserter:
        for partition, stop in sorted(taken.vector.items()):
            shelf = fold_partition(log, topic, family, partition, stop, took)
            for read_model, comparison in comparisons.items():
                for id, document in shelf.encoded(read_model):
                    what = comparison.see_rebuilt(document)
                    if what and len(comparison.examples) < EXAMPLES_MAX:
                        comparison.examples.append(_example(taken, read_model, id, what, document))
                    if generation is not None:
                        inserter.add(collection(read_model, generation), document)
            done += stop
            failpoints.reach("replay-partition")
    for comparison in comparisons.values():
        comparison.finish()
    report.events, report.took_s = total, monotonic() - begun
    return report


def _example(taken: Snapshot, read_model: str, id: str, what: str, document: bytes) -> Example:
    if what == "missing":
        return Example(id, "is in the log, but not in the read model")
    rebuilt = bson.decode(document, CODEC)
    return Example(id, "differs", tuple(differing_fields(taken.document(read_model, id), rebuilt)[:EXAMPLES_MAX]))


def _join_and_switch(
    store: Store, log: EventLog, topic: str, family: Family, generation: int, lease: Lease, tell: Tell
) -> None:
    """Until the generation is live. With a projector running, its loop closes the last gap of each partition and
    carries the generation from there; without one, there is no gap, or it is closed here."""
    until, changed, gaps = monotonic() + _JOIN_TIMEOUT_S, monotonic(), dict[int, int]()
    with store.session() as session:
        while True:
            lease.check()
            try:
                if switch(store, session, family, generation, topic):
                    return
                progress = store.progress(family, topic, range(log.partitions))
                now = {p: found.start - _standing(found, generation) for p, found in progress.items()}
                if now != gaps:
                    gaps, changed = now, monotonic()
                tell(Moment("joining", 0, sum(gaps.values()), 0.0, None))
                alone = monotonic() - changed > _ALONE_AFTER_S
                for partition, gap in gaps.items():
                    if gap > GAP_EVENTS_MAX or (gap > 0 and alone):
                        start, stop = _standing(progress[partition], generation), progress[partition].start
                        catch_up(store, session, log, family, topic, generation, partition, start, stop)
            except Fenced:
                pass  # a projection came in between: look again
            if monotonic() > until:
                raise StoreUnavailable(f"generation {generation} did not join within {_JOIN_TIMEOUT_S:g} s")
            Event().wait(0.1)


def _standing(progress: Progress, generation: int) -> int:
    if generation not in progress.next:
        raise StoreUnavailable(f"generation {generation} was dropped by somebody else: start the replay again")
    return progress.next[generation]
