"""Takes a generation that lags behind the live one to where the live one stands. Live loop and replay both use it:
the checkpoint decides between them."""

from functools import partial

from darkroom.projector.projections.families import Family
from darkroom.projector.reading import stretch
from darkroom.projector.store import Session, Store, Work
from darkroom.runtime.eventlog.port import EventLog


def catch_up(
    store: Store,
    session: Session,
    log: EventLog,
    family: Family,
    topic: str,
    generation: int,
    partition: int,
    start: int,
    stop: int,
) -> int:
    """Folds [start, stop) of a partition into one generation; returns how many events. Raises Fenced where somebody
    else does it, StoreUnavailable, LogUnavailable."""
    events = 0
    for records in stretch(log, partition, start, stop):
        following = records[-1].offset + 1
        work = Work(topic, partition, (generation,), start, following, following, alone=True)
        fold = partial(family.fold, topic, log.partitions, records)
        store.project(session, family, work, fold)
        start, events = following, events + len(records)
    return events
