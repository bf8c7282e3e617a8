"""A database as projectors leave it, with 100,000 jobs, and a store that tells which commands it sends to it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import bson
import pytest
from bson.raw_bson import RawBSONDocument
from pymongo import IndexModel, MongoClient
from pymongo.monitoring import CommandListener, CommandStartedEvent

from darkroom.query_api import store as store_module
from darkroom.query_api.store import Store
from darkroom.runtime.ids import new_id
from darkroom.schemas import views

START = datetime(2026, 11, 1, tzinfo=UTC)
JOBS = 100_000
PARTITIONS = 8
HOURS = 24
SHARES = {"succeeded": 78, "failed": 8, "deleted": 6, "cancelled": 4, "queued": 2, "running": 1, "created": 1}
LONG_CHUNKS = 300
"""Chunks of the one job with a long history."""


class Commands(CommandListener):
    """Keeps the reading commands that were sent, as they were sent."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def started(self, event: CommandStartedEvent) -> None:
        if event.command_name in ("find", "aggregate", "count", "distinct"):
            self.sent.append(dict(event.command))

    def succeeded(self, event: Any) -> None: ...

    def failed(self, event: Any) -> None: ...


@dataclass
class Filled:
    """A store over a database with `jobs` jobs."""

    store: Store
    database: Any
    commands: Commands
    ids: list[str]
    long_job: str

    def taken(self) -> list[dict[str, Any]]:
        sent, self.commands.sent = self.commands.sent, []
        return sent


def job_document(random: Random) -> dict[str, Any]:
    """A job as a projector writes it."""
    status = random.choices(list(SHARES), list(SHARES.values()))[0]
    model = {"name": f"model-{random.choice((0, 0, 0, 0, 0, 0, 1, 1, 2))}", "version": str(random.randrange(2))}
    deleted = status == "deleted"
    run = {
        "run": 1,
        "status": status,
        "model": model,
        "requested_at": START,
        "attempt": 1,
        "results": [{"input": 0, "kind": "classification", "classes": []}],
        "timing": {"queued_ms": 1.5, "running_ms": 20.25},
    }
    entry = {"offset": 7, "id": "e", "type": "t", "version": 1, "time": START, "void": False}
    return {
        "_id": str(UUID(int=0)),
        "created_at": START,
        "tenant": "default",
        "partition": random.randrange(PARTITIONS),
        "position": 7,
        "version": 3,
        "last_event_id": "e",
        "status": status,
        "updated_at": START,
        "deleted_at": START if deleted else None,
        "labels": [] if deleted else [f"batch:{random.randrange(50)}", f"camera:{random.randrange(4)}"],
        "model": model,
        "inputs": [],
        "spec": {},
        "run": None if deleted else run,
        "event_count": 3,
        "void_count": 0,
        "history": {"chunk": 0, "events": 3, "size_bytes": 3000},
        "timeline": [entry] * 3,
    }


def job_documents(random: Random, count: int) -> Iterator[tuple[str, RawBSONDocument]]:
    """(id, document) of `count` jobs, one every 20 s, some of the very same moment. Each is one of 2,000 documents,
    encoded once, with an id and a time of its own put into the bytes."""
    encoded = [bson.encode(job_document(random)) for _ in range(2_000)]
    id_at = encoded[0].index(str(UUID(int=0)).encode())
    time_at = encoded[0].index(b"created_at\0") + len("created_at") + 1
    start_ms = int(START.timestamp()) * 1_000
    for number in range(count):
        document, id = random.choice(encoded), f"{random.getrandbits(128):032x}"
        id = f"{id[:8]}-{id[8:12]}-{id[12:16]}-{id[16:20]}-{id[20:]}"
        time = (start_ms + 20_000 * (number - number % 3 // 2)).to_bytes(8, "little")
        yield (
            id,
            RawBSONDocument(
                document[:id_at] + id.encode() + document[id_at + 36 : time_at] + time + document[time_at + 8 :]
            ),
        )


def history_document(job: str, partition: int, chunk: int, offsets: Sequence[int]) -> dict[str, Any]:
    entry = {"void": False, "type": "darkroom.job.created.v1", "status": "queued", "event": '{"data": {}}'}
    return {
        "_id": f"{job}:{chunk}",
        "job": job,
        "tenant": "default",
        "partition": partition,
        "chunk": chunk,
        "first": offsets[0],
        "last": offsets[-1],
        "entries": [{"offset": offset, **entry} for offset in offsets],
    }


def documents(ids: Sequence[str], long_job: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(read model, document) of the read models beside `jobs`."""
    for number, job_id in enumerate(ids[: len(ids) // 10]):
        first = number // PARTITIONS * 3
        partition = number % PARTITIONS
        yield "history", history_document(job_id, partition, 0, [first, first + 7, first + 40])
        yield "runs", {"_id": f"{job_id}:1", "job": job_id, "tenant": "default", "run": 1, "status": "succeeded"}
    for chunk in range(LONG_CHUNKS):
        # It goes on all the time, so its chunks lie across all windows of its partition.
        yield "history", history_document(long_job, 0, chunk, [chunk * 20 + n for n in range(20)])
    for hour in range(HOURS):
        for model in range(6):
            for partition in range(PARTITIONS):
                at = START + timedelta(hours=hour)
                name, version = f"model-{model % 3}", str(model % 2)
                yield (
                    "stats",
                    {
                        "_id": f"{at:%Y-%m-%dT%H}|default|{name}@{version}|p{partition}",
                        "tenant": "default",
                        "hour": at,
                        "model": name,
                        "model_version": version,
                        "events": {"created": 1},
                        "void": 0,
                    },
                )
    for number in range(300):
        yield "models", {"_id": f"model-{number}", "tenant": "default", "versions": []}
        yield "jobs_quarantine", {"_id": f"darkroom.jobs.v1:p{number % PARTITIONS}:{number}"}
        yield "models_quarantine", {"_id": f"darkroom.models.v1:p0:{number}"}


def fill(database: Any, jobs: int) -> tuple[list[str], str]:
    """The live generations 3 of both families, and checkpoints of 2 and 3. Indexes come last, as in a replay."""
    ids: list[str] = []
    long_job = new_id()
    waiting: dict[str, list[Any]] = {read_model: [] for read_model in views.READ_MODELS}
    for id, raw in job_documents(Random(5), jobs):
        ids.append(id)
        waiting["jobs"].append(raw)
    for read_model, document in documents(ids, long_job):
        waiting[read_model].append(document)
    for read_model, found in waiting.items():
        target = database[views.collection(read_model, 3)]
        for start in range(0, len(found), 10_000):
            target.insert_many(found[start : start + 10_000], ordered=False)
        if views.INDEXES[read_model]:
            target.create_indexes([IndexModel(keys) for keys in views.INDEXES[read_model]])
    for family in views.FAMILIES:
        database.generations.insert_one({"_id": family, "live": 3, "kept": [2], "building": None})
        database.checkpoints.insert_many(
            {
                "_id": views.checkpoint_id(family, generation, partition),
                "family": family,
                "generation": generation,
                "partition": partition,
                "topic": f"darkroom.{family}.v1",
                "topic_id": "id",
                "next": 1,
                "end_seen": 1,
                "end_seen_at": START,
            }
            for generation in (2, 3)
            for partition in range(PARTITIONS)
        )
    return ids, long_job


@pytest.fixture
def filled(mongodb: str) -> Iterator[Filled]:
    commands = Commands()
    with MongoClient[dict[str, Any]](mongodb) as client, pytest.MonkeyPatch.context() as patched:
        database = client[f"query-indexes-{new_id()}"]
        ids, long_job = fill(database, JOBS)
        listening = [commands]
        patched.setattr(
            store_module, "MongoClient", lambda *a, **more: MongoClient(*a, **more, event_listeners=listening)
        )
        store = Store(mongodb, database.name, 30.0)
        yield Filled(store, database, commands, ids, long_job)
        store.close()
        client.drop_database(database.name)
