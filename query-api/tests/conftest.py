"""A query API over a real MongoDB that a test fills itself, as a projector would: documents and checkpoints in one
transaction. One database and one app for the whole run; each test begins with empty read models."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import orjson
import pytest
from flask import Flask
from flask.testing import FlaskClient
from obstore.store import MemoryStore
from PIL import Image
from pymongo import MongoClient, ReplaceOne

from darkroom.query_api.app import make_query_app
from darkroom.query_api.live import Watcher
from darkroom.query_api.store import Store
from darkroom.runtime.blobs import BlobStore
from darkroom.runtime.ids import Position, new_id
from darkroom.runtime.settings import Settings, read_settings
from darkroom.schemas import views
from darkroom.schemas.chain import partition_of

PARTITIONS = 4
TOPIC_ID = "jobs-topic-id"
MODELS_TOPIC_ID = "models-topic-id"
START = datetime(2026, 11, 22, 10, 0, 0, tzinfo=UTC)
TYPE_OF = {
    "created": "queued",
    "execution-requested": "queued",
    "execution-started": "running",
    "execution-progressed": "running",
    "execution-succeeded": "succeeded",
    "execution-failed": "failed",
    "cancelled": "cancelled",
    "deleted": "deleted",
}


@dataclass
class Log:
    """Writes read models as a projector does, from events that a test makes up."""

    database: Any
    blobs: BlobStore
    generation: int = 1
    ends: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(PARTITIONS), 0))
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    history: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    moments: int = 0

    def begin(self) -> None:
        """Empty read models of generation 1, as at a projector's first start."""
        models = [views.collection(name, generation) for name in views.READ_MODELS for generation in (1, 2)]
        for name in (views.GENERATIONS, views.CHECKPOINTS, *models):
            self.database[name].delete_many({})
        for family, members in views.FAMILIES.items():
            self.database.generations.insert_one(
                {
                    "_id": family,
                    "live": 1,
                    "kept": [],
                    "building": None,
                    "fold_versions": {"1": {name: views.FOLD_VERSIONS[name] for name in members}},
                }
            )
            self.checkpoints(family, 1)

    def make_indexes(self) -> None:
        for name in views.READ_MODELS:
            for index in views.INDEXES[name]:
                self.database[views.collection(name, 1)].create_index(index)

    def checkpoints(self, family: str, generation: int) -> None:
        of_models = family == "models"
        self.database.checkpoints.insert_many(
            [
                {
                    "_id": views.checkpoint_id(family, generation, p),
                    "family": family,
                    "generation": generation,
                    "partition": p,
                    "topic": "darkroom.models.v1" if of_models else "darkroom.jobs.v1",
                    "topic_id": MODELS_TOPIC_ID if of_models else TOPIC_ID,
                    "next": 0 if of_models else self.ends[p],
                    "end_seen": 0 if of_models else self.ends[p],
                    "end_seen_at": START,
                }
                for p in range(1 if of_models else PARTITIONS)
            ]
        )

    def switch(self, generation: int) -> None:
        """Makes a generation of the jobs' family the live one, and drops the other, as `--prune` would."""
        former = self.database.generations.find_one_and_update({"_id": "jobs"}, {"$set": {"live": generation}})
        for name in views.JOB_READ_MODELS:
            self.database[views.collection(name, former["live"])].drop()
        self.database.checkpoints.delete_many({"family": "jobs", "generation": former["live"]})

    def picture(self, width: int = 60, height: int = 40, kind: str = "PNG", **save: Any) -> dict[str, Any]:
        """An input whose bytes are in the blob store."""
        out = BytesIO()
        Image.effect_mandelbrot((width, height), (-2, -1, 1, 1), 20).convert("RGB").save(out, kind, **save)
        return self.upload(out.getvalue(), width, height, f"image/{kind.lower()}")

    def upload(self, data: bytes, width: int, height: int, media_type: str = "image/png") -> dict[str, Any]:
        return {
            "digest": self.blobs.put(data),
            "media_type": media_type,
            "size_bytes": len(data),
            "width_px": width,
            "height_px": height,
        }

    def create(self, job: str | None = None, **more: Any) -> str:
        """A job with its first run asked for; `run=None` for one without."""
        job = job or new_id()
        at = self.tick()
        model = more.pop("model", {"name": "shapes", "version": "1", "digest": "sha256:" + "a" * 64})
        inputs = more.pop("inputs", None) or [self.picture()]
        self.jobs[job] = {
            "_id": job,
            "tenant": "default",
            "partition": partition_of(job, PARTITIONS),
            "position": -1,
            "version": 0,
            "last_event_id": "",
            "status": "queued",
            "created_at": at,
            "updated_at": at,
            "deleted_at": None,
            "labels": [],
            "model": model,
            "inputs": inputs,
            "spec": {},
            "run": self.run(1, model, inputs, at),
            "event_count": 0,
            "void_count": 0,
            "history": {"chunk": 0, "events": 0, "size_bytes": 0},
            "timeline": [],
        } | more
        status = "created" if self.jobs[job]["run"] is None else "queued"
        self.event(job, "created", status=status)
        return job

    def run(self, number: int, model: Any, inputs: Any, at: datetime) -> dict[str, Any]:
        return {
            "run": number,
            "status": "queued",
            "model": model,
            "inputs": inputs,
            "parameters": {"top_k": 5},
            "deadline_s": 60.0,
            "max_attempts": 3,
            "requested_at": at,
            "started_at": None,
            "finished_at": None,
            "attempt": 0,
            "attempts": [],
            "progress": None,
            "results": None,
            "results_blob": None,
            "error": None,
            "timing": None,
            "provenance": None,
        }

    def tick(self) -> datetime:
        self.moments += 1
        return START + timedelta(milliseconds=250 * self.moments)

    def event(
        self,
        job: str,
        kind: str,
        *,
        void: bool = False,
        data: dict[str, Any] | None = None,
        status: str | None = None,
        **run: Any,
    ) -> str:
        """Appends an event, changes the documents, moves the checkpoints; gives the event's position token.
        `run`: fields of the job's latest run that change with it."""
        doc, at = self.jobs[job], self.tick()
        offset = self.ends[doc["partition"]]
        self.ends[doc["partition"]] += 1
        if void:
            doc["void_count"] += 1
        else:
            doc |= {"version": doc["version"] + 1, "position": offset, "updated_at": at}
            doc["status"] = status or TYPE_OF[kind]
            if doc["run"]:
                doc["run"] |= run
                if doc["status"] != "deleted":
                    doc["run"]["status"] = doc["status"]
            if kind == "deleted":
                doc |= {"run": None, "inputs": [], "labels": [], "deleted_at": at}
        body = {
            "specversion": "1.0",
            "id": f"{job}-{offset}",
            "source": "urn:darkroom:test",
            "type": f"darkroom.job.{kind}.v1",
            "subject": job,
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "streamversion": doc["version"],
            "data": data or {},
        }
        self.history.setdefault(job, []).append(
            {
                "offset": offset,
                "void": void,
                "type": body["type"],
                "status": doc["status"],
                "event": orjson.dumps(body).decode(),
            }
        )
        self.write(job)
        return Position(TOPIC_ID, doc["partition"], offset).token()

    def succeed(self, job: str, results: list[dict[str, Any]] | None, **run: Any) -> str:
        return self.event(
            job,
            "execution-succeeded",
            **{  # type: ignore[arg-type]
                "results": results,
                "attempt": 1,
                "timing": {"queued_ms": 12.0, "running_ms": 48.0, "decode_ms": 6.0, "inference_ms": 9.5},
                "provenance": {"runtime": "litert"},
            }
            | run,
        )

    def write(self, job: str, generation: int | None = None) -> None:
        doc, g = self.jobs[job], generation or self.generation
        entries = self.history[job]
        size = views.HISTORY_CHUNK_EVENTS
        chunks = [entries[i : i + size] for i in range(0, len(entries), size)]
        with self.database.client.start_session() as session, session.start_transaction():
            d = self.database
            d[views.collection("jobs", g)].replace_one({"_id": job}, doc, upsert=True, session=session)
            d[views.collection("history", g)].bulk_write(
                [
                    ReplaceOne(
                        {"_id": f"{job}:{n}"},
                        {
                            "job": job,
                            "tenant": doc["tenant"],
                            "partition": doc["partition"],
                            "chunk": n,
                            "first": chunk[0]["offset"],
                            "last": chunk[-1]["offset"],
                            "entries": chunk,
                        },
                        upsert=True,
                    )
                    for n, chunk in enumerate(chunks)
                ],
                session=session,
            )
            runs = d[views.collection("runs", g)]
            if doc["run"]:
                number = doc["run"]["run"]
                of_job = {"job": job, "tenant": doc["tenant"], "partition": doc["partition"]}
                runs.replace_one(
                    {"_id": f"{job}:{number}"},
                    {**doc["run"], **of_job, "position": doc["position"]},
                    upsert=True,
                    session=session,
                )
            d.checkpoints.update_many(
                {"partition": doc["partition"], "generation": g, "topic_id": TOPIC_ID},
                {"$set": {"next": self.ends[doc["partition"]], "end_seen": self.ends[doc["partition"]]}},
                session=session,
            )

    def register_model(self, name: str, labels: list[str], kind: str = "classification") -> None:
        digest = self.blobs.put(orjson.dumps(labels))
        self.database.models_g1.insert_one(
            {
                "_id": name,
                "tenant": "default",
                "partition": 0,
                "position": 0,
                "version": 1,
                "last_event_id": "e",
                "versions": [
                    {
                        "version": "1",
                        "status": "active",
                        "digest": "sha256:" + "a" * 64,
                        "kind": kind,
                        "runtime": "litert",
                        "source": {"type": "upload"},
                        "artifact": {"digest": "sha256:" + "a" * 64, "size_bytes": 9, "format": "tflite"},
                        "input": {"width_px": 64, "height_px": 64, "layout": "NHWC", "dtype": "uint8"},
                        "output": {"format": "scores"},
                        "labels": {"digest": digest, "count": len(labels)},
                        "registered_at": START,
                        "retired_at": None,
                    }
                ],
            }
        )


@dataclass
class Service:
    app: Flask
    client: FlaskClient
    log: Log
    watcher: Watcher
    store: Store
    settings: Settings

    def get(self, path: str, **more: Any) -> Any:
        return self.client.get(f"/api/v1/inference{path}", **more)

    def json(self, path: str, status: int = 200, **more: Any) -> Any:
        answer = self.get(path, **more)
        assert answer.status_code == status, answer.get_data(as_text=True)
        if status >= 400:
            assert answer.content_type == "application/problem+json"
        return answer.json


@dataclass
class Running:
    """What all tests of a run share."""

    database: Any
    blobs: BlobStore
    app: Flask
    watcher: Watcher
    store: Store
    settings: Settings


@pytest.fixture(scope="session")
def running(mongodb: str) -> Iterator[Running]:
    with pytest.MonkeyPatch.context() as environment, MongoClient[dict[str, Any]](mongodb, tz_aware=True) as client:
        environment.setenv("DARKROOM_COMMAND_URL", "http://command.test")
        environment.setenv("DARKROOM_QUERY_URL", "http://query.test")
        environment.setenv("DARKROOM_HTTP_THREADS", "36")  # 14 waits and 14 streams at once
        settings = read_settings()
        database = client[f"query-api-{new_id()}"]
        store = Store(mongodb, database.name, 5.0)
        watcher = Watcher(store, threading.Event())
        blobs = BlobStore(MemoryStore())
        Log(database, blobs).make_indexes()
        app = make_query_app(settings, store, blobs, watcher)
        watcher.start()
        yield Running(database, blobs, app, watcher, store, settings)
        watcher.stop()
        store.close()
        client.drop_database(database.name)


@pytest.fixture
def log(running: Running) -> Log:
    found = Log(running.database, running.blobs)
    found.begin()
    for family in views.FAMILIES:
        running.store.generation(family, fresh=True)
    return found


@pytest.fixture
def service(running: Running, log: Log) -> Service:
    return Service(running.app, running.app.test_client(), log, running.watcher, running.store, running.settings)
