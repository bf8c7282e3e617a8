"""Queries that scan an index see one moment: nothing is missed because it moved in the index meanwhile."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from pymongo import MongoClient

from darkroom.query_api.store import Store
from darkroom.schemas import views

JOBS, LISTED, LISTS = 2_000, 1_500, 40
STATUSES = ["created", "queued", "running", "succeeded", "failed", "cancelled"]
START = datetime(2026, 1, 1, tzinfo=UTC)


@contextmanager
def moving(client: MongoClient[dict[str, Any]], jobs: Any) -> Iterator[None]:
    """Jobs change their status all the time, some dozens in a transaction, as a projector does it."""
    stop, random = threading.Event(), Random(1)

    def move() -> None:
        with client.start_session() as session:
            while not stop.is_set():
                some = [f"{random.randrange(JOBS):05}" for _ in range(60)]
                with session.start_transaction():
                    jobs.update_many(
                        {"_id": {"$in": some}}, {"$set": {"status": random.choice(STATUSES)}}, session=session
                    )

    thread = threading.Thread(target=move)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_lists_and_counts_miss_no_job_that_changes_its_status(mongodb: str, unique_name: str) -> None:
    client: MongoClient[dict[str, Any]] = MongoClient(mongodb)
    store = Store(mongodb, unique_name, 10.0)
    jobs = client[unique_name][views.collection("jobs", 1)]
    ids = [f"{n:05}" for n in range(JOBS)]
    jobs.insert_many(
        {"_id": id, "tenant": "default", "status": "queued", "created_at": START + timedelta(seconds=n)}
        for n, id in enumerate(ids)
    )
    for keys in views.INDEXES["jobs"]:
        jobs.create_index(keys)
    query = {"tenant": "default", "status": {"$in": STATUSES}}
    newest = ids[: -LISTED - 1 : -1]
    try:
        with moving(client, jobs):
            for _ in range(LISTS):
                assert [j["_id"] for j in store.jobs(1, query, LISTED)] == newest
                assert sum(store.count_by_status(1, "default", STATUSES).values()) == JOBS
    finally:
        client.drop_database(unique_name)
        store.close()
        client.close()
