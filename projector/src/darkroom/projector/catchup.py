"""Takes a generation that lags behind another one to where that one stands. Live loop and replay both use it: the
checkpoint decides between them."""

from functools import partial

from darkroom.projector.projections.families import Family
from darkroom.projector.reading import stretch
from darkroom.projector.store import Progress, Session, Store, Work
from darkroom.runtime.eventlog.port import EventLog


def catch_up(
    store: Store,
    session: Session,
    log: EventLog,
    family: Family,
    topic: str,
    generation: int,
    partition: int,
    progress: Progress,
    stop: int,
) -> int:
    """Folds what one own generation lacks of a partition up to before offset `stop`; `progress` says where it
    stands. Returns how many events. Raises Fenced where somebody else does it, StoreUnavailable, LogUnavailable."""
    events, start = 0, progress.next[generation]
    for records in stretch(log, partition, start, stop):
        following = records[-1].offset + 1
        work = Work(topic, partition, {generation: progress.own[generation]}, start, following, None)
        fold = partial(family.fold, topic, log.partitions, records)
        store.project(session, family, work, fold)
        start, events = following, events + len(records)
    return events
