"""Puts the rebuilt documents of one job in the place of those that are there."""

from datetime import UTC, datetime
from typing import Any

from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from darkroom.projector.projections.families import JOBS
from darkroom.projector.store import Fenced, Progress, Session, Store, unavailable
from darkroom.schemas.views import collection


def put_job(
    store: Store,
    session: Session,
    topic: str,
    partition: int,
    progress: Progress,
    job: str,
    documents: dict[str, list[dict[str, Any]]],
) -> None:
    """One transaction, and only if the checkpoints still stand where the documents were folded to; writing to the
    checkpoints makes a projection under way conflict with it. Raises Fenced, StoreUnavailable."""
    with (
        unavailable(),
        session.start_transaction(read_concern=ReadConcern("snapshot"), write_concern=WriteConcern("majority")),
    ):
        standing = {
            "topic": topic,
            "partition": partition,
            "read_model": {"$in": list(JOBS.read_models)},
            "next": progress.start,
        }
        touched = store.checkpoints.update_many(
            standing, {"$set": {"end_seen_at": datetime.now(UTC)}}, session=session
        )
        if touched.modified_count != len(JOBS.read_models) * len(progress.carried):
            raise Fenced(f"partition {partition} of {topic} has moved on")
        for generation in progress.carried:
            for read_model, found in documents.items():
                target = store.database[collection(read_model, generation)]
                field = "_id" if read_model == "jobs" else "job"
                target.delete_many({field: job}, session=session)
                if found:
                    target.insert_many(found, session=session)
