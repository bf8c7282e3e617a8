"""Rebuilds the documents of one job from the log (`replay --job`); statistics are not touched."""

from threading import Event
from typing import Any

from darkroom.projector.projections.families import JOBS
from darkroom.projector.reading import stretch
from darkroom.projector.shelf import Shelf
from darkroom.projector.store import Fenced, Store
from darkroom.projector.store_job import put_job
from darkroom.projector.store_lease import Lease
from darkroom.runtime.eventlog.port import EventLog, Record
from darkroom.schemas.chain import partition_of

_TRIES_MAX = 50
READ_MODELS = ("jobs", "runs", "history")


def rebuild_job(store: Store, log: EventLog, topic: str, job: str) -> dict[str, int]:
    """Writes the documents of one job again, in every generation that is carried, and returns how many by read
    model. Raises ValueError if the log holds no such job or a replay is under way, StoreUnavailable,
    LogUnavailable."""
    partition = partition_of(job, log.partitions)
    records: list[Record] = []
    read = 0
    with Lease(store, JOBS, lambda _: None) as lease, store.session() as session:
        lease.note(session)
        for _ in range(_TRIES_MAX):
            progress = store.progress(JOBS, topic, [partition])[partition]
            if progress.live not in progress.own:
                raise ValueError(
                    "the live generation was made by other folds than these: run `darkroom replay`, or rebuild the "
                    "job with the version that made it"
                )
            for batch in stretch(log, partition, read, progress.start):
                records += [r for r in batch if r.key == job.encode()]
            read = max(read, progress.start)
            documents = _folded(topic, log.partitions, records)
            if not documents["jobs"]:
                raise ValueError(f"the log holds no job {job} up to offset {read} of partition {partition}")
            try:
                put_job(store, session, topic, partition, progress, job, documents)
            except Fenced:
                Event().wait(0.05)  # the live loop has moved on: read what it has folded since
                continue
            return {m: len(found) for m, found in documents.items()}
    raise Fenced(f"partition {partition} moved on {_TRIES_MAX} times in a row: try again when it is quieter")


def _folded(topic: str, partitions: int, records: list[Record]) -> dict[str, list[dict[str, Any]]]:
    shelf = Shelf()
    for record in records:
        shelf.take(JOBS.fold(topic, partitions, [record], shelf.load))
    return {m: shelf.documents(m) for m in READ_MODELS}
