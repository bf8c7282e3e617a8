"""Puts the rebuilt documents of one job in the place of those that are there."""

from typing import Any

from darkroom.projector.projections.families import JOBS
from darkroom.projector.store import Fenced, Progress, Session, Store, transaction, under
from darkroom.schemas.views import checkpoint_id, collection


def put_job(
    store: Store,
    session: Session,
    topic: str,
    partition: int,
    progress: Progress,
    job: str,
    documents: dict[str, list[dict[str, Any]]],
) -> None:
    """One transaction, and only if the checkpoints still stand where the documents were folded to. It begins a new
    era of the partition: a projection under way conflicts with it, and a projector forgets what it remembers of
    the documents. Raises Fenced, StoreUnavailable."""
    with transaction(session):
        known = [{"_id": checkpoint_id(JOBS.name, g, partition), "era": era} for g, era in progress.carried.items()]
        standing: dict[str, Any] = {"$or": known, "topic": topic, "next": progress.start}
        if store.checkpoints.update_many(standing, {"$inc": {"era": 1}}, session=session).matched_count != len(
            known
        ):
            raise Fenced(f"partition {partition} of {topic} has moved on")
        for generation in progress.carried:
            for read_model, rebuilt in documents.items():
                target = store.database[collection(read_model, generation)]
                target.delete_many({"_id": job if read_model == "jobs" else under(job)}, session=session)
                if rebuilt:
                    target.insert_many(rebuilt, session=session)
