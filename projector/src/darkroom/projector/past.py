"""The read models as they were at a moment of the past, built into a database of their own.

A query API that is pointed to it shows the past; no projector carries it on, and nothing of the live database is
touched. Built again, it is built anew; half built, it has no alias, and no reader takes it for finished.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace

from darkroom.projector.projections.families import JOBS, Family
from darkroom.projector.replaying.crew import Crew, Effort, Target
from darkroom.projector.replaying.develop import develop
from darkroom.projector.replaying.progress import Tell
from darkroom.projector.store import Store
from darkroom.projector.store_generations import FIRST, make_collections, make_indexes
from darkroom.projector.store_lease import Lease
from darkroom.projector.store_past import drop_past, finish_past, jobs_by_status
from darkroom.runtime.eventlog.port import EventLog


@dataclass(frozen=True, slots=True)
class Past:
    """What was built: events by family, jobs by status (empty without the jobs)."""

    events: Mapping[str, int]
    jobs: Mapping[str, int]


def build_past(
    store: Store,
    past: Store,
    topics: Mapping[Family, tuple[str, EventLog]],
    vectors: Mapping[str, Mapping[int, int]],
    effort: Effort,
    tell: Tell,
    say: Callable[[str], None],
) -> Past:
    """Builds the families of `topics` (topic and log) up to `vectors` into the database of `past`, in the place of
    what is there. `store` is the live database, where the lease is kept. Raises ValueError if somebody else builds
    it just now, StoreUnavailable, LogUnavailable, WorkerLost, OSError."""
    with _lease(store, past, say) as lease:
        drop_past(past)
        for family, (topic, log) in topics.items():
            make_collections(past, family, FIRST)
            with ExitStack() as opened:
                crew = opened.enter_context(Crew(log, topic, family, vectors[family.name], effort))
                develop(crew, Target(past, FIRST), effort.per_s_max, None, lease.check, tell)
            make_indexes(past, family, FIRST)
        lease.check()
        built = {family: (topic, log.topic_id, vectors[family.name]) for family, (topic, log) in topics.items()}
        finish_past(past, built)
    events = {family.name: sum(vectors[family.name].values()) for family in topics}
    return Past(events, jobs_by_status(past) if JOBS in topics else {})


def give_up_past(store: Store, past: Store, say: Callable[[str], None]) -> bool:
    """Drops what was built; whether there was anything. Raises ValueError if somebody builds it just now,
    StoreUnavailable."""
    with _lease(store, past, say):
        return drop_past(past)


def _lease(store: Store, past: Store, say: Callable[[str], None]) -> Lease:
    return Lease(store, replace(JOBS, name=past.database.name), say)  # of its own: it is in nobody else's way
