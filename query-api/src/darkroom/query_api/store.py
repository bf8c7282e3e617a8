"""MongoDB as the query API reads it: the only module here that imports pymongo.

Every read is of one generation of one read model, at majority read concern, from the primary, and in this order:
alias, checkpoint, document. A projector changes documents and checkpoint in one transaction, so a document read
after its checkpoint is at least as new, and a position taken from the checkpoint is never newer than what is shown.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from time import monotonic
from typing import Any, ParamSpec, TypeVar

from pymongo import ASCENDING, DESCENDING, MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from darkroom.schemas import views
from darkroom.schemas.errors import StoreUnavailable

Document = dict[str, Any]
P = ParamSpec("P")
R = TypeVar("R")

ALIAS_AGE_S_MAX = 0.5
"""A switch is seen within this. Old and new generation stand at the same checkpoint meanwhile, so nobody reads
backwards."""
_QUERY_KILLED = frozenset({175, 237})  # QueryPlanKilled, CursorKilled: the collection was dropped under the query
_SUMMARY = {"run.results": 0, "run.provenance": 0, "run.inputs": 0, "timeline": 0, "spec": 0, "history": 0}


class GenerationGone(Exception):
    """The generation was dropped while it was read; read the alias again."""


@dataclass(frozen=True, slots=True)
class Mark:
    """How far one generation of a read model has folded one partition; `next` is the first offset not folded."""

    partition: int
    topic: str
    topic_id: str
    next: int
    end_seen: int
    end_seen_at: datetime


def _guarded(read: Callable[P, R]) -> Callable[P, R]:
    """Lets nothing of pymongo out. Raises StoreUnavailable or GenerationGone."""

    @functools.wraps(read)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        with _translated():
            return read(*args, **kwargs)

    return guarded


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OperationFailure as error:
        if error.code in _QUERY_KILLED:
            raise GenerationGone from None
        raise StoreUnavailable(f"MongoDB refused a query (code {error.code})") from error
    except PyMongoError as error:
        raise StoreUnavailable(f"MongoDB does not answer ({type(error).__name__})") from error


class Store:
    """Connects lazily, and only after a fork (pymongo clients are not fork-safe). Every call ends within
    `deadline_s`."""

    def __init__(self, uri: str, database: str, deadline_s: float) -> None:
        self._client: MongoClient[Document] = MongoClient(
            uri,
            connect=False,
            tz_aware=True,
            appname="darkroom-query-api",
            readConcernLevel="majority",
            timeoutMS=int(deadline_s * 1000),
            serverSelectionTimeoutMS=int(deadline_s * 1000),
        )
        # A change stream outlives any one deadline, so it has a client of its own, with socket time-outs.
        self._watching: MongoClient[Document] = MongoClient(
            uri,
            connect=False,
            appname="darkroom-query-api-watch",
            readConcernLevel="majority",
            serverSelectionTimeoutMS=int(deadline_s * 1000),
            connectTimeoutMS=int(deadline_s * 1000),
            socketTimeoutMS=10_000,
        )
        self._database = self._client[database]
        self._watched = self._watching[database]
        self._aliases: dict[str, tuple[int, float]] = {}
        self._topics: dict[tuple[str, int], dict[int, str]] = {}
        self._lock = Lock()

    def close(self) -> None:
        self._client.close()
        self._watching.close()

    # ------------------------------------------------------------------------------------ generations, checkpoints

    @_guarded
    def generation(self, read_model: str, fresh: bool = False) -> int:
        """The generation that readers read. Raises StoreUnavailable where no projector has ever run."""
        with self._lock:
            known = self._aliases.get(read_model)
        if known is not None and not fresh and monotonic() - known[1] < ALIAS_AGE_S_MAX:
            return known[0]
        alias = self._database[views.GENERATIONS].find_one({"_id": read_model}, {"live": 1})
        if alias is None:
            raise StoreUnavailable(f"The read model {read_model} is not there yet: has a projector run?")
        with self._lock:
            self._aliases[read_model] = (alias["live"], monotonic())
            if fresh or known is None or known[0] != alias["live"]:
                self._topics.pop((read_model, alias["live"]), None)
        return int(alias["live"])

    @_guarded
    def marks(self, read_model: str, generation: int) -> dict[int, Mark]:
        """The checkpoints of one generation, by partition, as they are now."""
        found = self._database[views.CHECKPOINTS].find({"read_model": read_model, "generation": generation})
        return {c["partition"]: _mark(c) for c in found}

    def topic_id(self, read_model: str, generation: int, partition: int) -> str:
        """The id of the topic that a document of this partition was folded from. It never changes within a
        generation, and is remembered. Raises GenerationGone when there is no such checkpoint."""
        topics = self._topics.get((read_model, generation), {})
        if partition not in topics:
            topics = {p: mark.topic_id for p, mark in self.marks(read_model, generation).items()}
            with self._lock:
                self._topics[(read_model, generation)] = topics
                while len(self._topics) > 4 * len(views.READ_MODELS):
                    self._topics.pop(next(iter(self._topics)))
        if partition not in topics:
            raise GenerationGone
        return topics[partition]

    @_guarded
    def projections(self) -> tuple[list[Document], list[tuple[str, int, Mark]], dict[str, int]]:
        """Every alias, every checkpoint (read model, generation, mark), and how many records of each topic are in
        quarantine."""
        aliases = list(self._database[views.GENERATIONS].find())
        checkpoints = self._database[views.CHECKPOINTS].find()
        marks = [(c["read_model"], c["generation"], _mark(c)) for c in checkpoints]
        quarantined = self._database[views.QUARANTINE].aggregate(
            [{"$group": {"_id": "$topic", "count": {"$sum": 1}}}]
        )
        return aliases, marks, {q["_id"]: q["count"] for q in quarantined}

    @_guarded
    def ping(self) -> None:
        """Raises StoreUnavailable if the database does not answer."""
        self._client.admin.command("ping")

    @contextmanager
    def moved_checkpoints(self, idle_s: float) -> Iterator[Iterator[tuple[str, int] | None]]:
        """A change stream of checkpoints that moved: (checkpoint id, next), or None after `idle_s` of silence.
        Raises StoreUnavailable, also for a server without change streams."""
        moved: Sequence[Mapping[str, Any]] = [
            {
                "$match": {
                    "$or": [
                        {"operationType": {"$in": ["insert", "replace"]}},
                        {"updateDescription.updatedFields.next": {"$exists": True}},
                    ]
                }
            }
        ]
        with (
            _translated(),
            self._watched[views.CHECKPOINTS].watch(moved, max_await_time_ms=int(idle_s * 1000)) as stream,
        ):

            def changes() -> Iterator[tuple[str, int] | None]:
                while stream.alive:
                    change = stream.try_next()
                    if change is None:
                        yield None
                        continue
                    whole = change.get("fullDocument") or change["updateDescription"]["updatedFields"]
                    yield str(change["documentKey"]["_id"]), int(whole["next"])

            yield changes()

    @_guarded
    def checkpoints_now(self) -> dict[str, int]:
        """`next` of every checkpoint, by its id."""
        return {str(c["_id"]): int(c["next"]) for c in self._database[views.CHECKPOINTS].find({}, {"next": 1})}

    # ------------------------------------------------------------------------------------ documents

    def _of(self, read_model: str, generation: int) -> Any:
        return self._database[views.collection(read_model, generation)]

    @_guarded
    def job(self, generation: int, tenant: str, job: str) -> Document | None:
        """A job's document without its timeline and spec (they are not part of a job as read)."""
        found: Document | None = self._of("jobs", generation).find_one(
            {"_id": job, "tenant": tenant}, {"timeline": 0, "spec": 0, "history": 0}
        )
        return found

    @_guarded
    def statuses(self, generation: int, tenant: str, jobs: Sequence[str]) -> dict[str, str]:
        """The status of each of these jobs that there is."""
        found = self._of("jobs", generation).find({"_id": {"$in": list(jobs)}, "tenant": tenant}, {"status": 1})
        return {str(j["_id"]): str(j["status"]) for j in found}

    @_guarded
    def jobs(self, generation: int, query: Document, limit: int) -> list[Document]:
        """Summaries (no results, no provenance), newest first by (created_at, _id)."""
        found = self._of("jobs", generation).find(
            query, _SUMMARY, sort=[("created_at", DESCENDING), ("_id", DESCENDING)], limit=limit
        )
        return list(found)

    @_guarded
    def runs(self, generation: int, tenant: str, job: str, limit: int) -> list[Document]:
        """A job's runs, oldest first, without results."""
        found = self._of("runs", generation).find(
            {"job": job, "tenant": tenant},
            {"results": 0, "provenance": 0},
            sort=[("run", ASCENDING)],
            limit=limit,
        )
        return list(found)

    @_guarded
    def run(self, generation: int, tenant: str, job: str, run: int) -> Document | None:
        found: Document | None = self._of("runs", generation).find_one({"job": job, "run": run, "tenant": tenant})
        return found

    @_guarded
    def history_of(self, generation: int, tenant: str, job: str, start: int, chunks_max: int) -> list[Document]:
        """Entries of one job from offset `start` on, in the order of the log, of at most `chunks_max` chunks."""
        chunks = self._of("history", generation).find(
            {"job": job, "tenant": tenant, "last": {"$gte": start}},
            {"partition": 1, "entries": 1},
            sort=[("chunk", ASCENDING)],
            limit=chunks_max,
        )
        return [
            e | {"partition": c["partition"], "job": job}
            for c in chunks
            for e in c["entries"]
            if e["offset"] >= start
        ]

    @_guarded
    def history_window(self, generation: int, tenant: str, partition: int, start: int, stop: int) -> list[Document]:
        """All entries of one partition with start <= offset < stop, in the order of the log."""
        inside = {
            "$filter": {
                "input": "$entries",
                "cond": {
                    "$and": [{"$gte": ["$$this.offset", start]}, {"$lt": ["$$this.offset", stop]}],
                },
            }
        }
        found = self._of("history", generation).aggregate(
            [
                {
                    "$match": {
                        "partition": partition,
                        "last": {"$gte": start},
                        "first": {"$lt": stop},
                        "tenant": tenant,
                    }
                },
                {"$project": {"_id": 0, "job": 1, "entries": inside}},
            ]
        )
        entries = [e | {"partition": partition, "job": c["job"]} for c in found for e in c["entries"]]
        return sorted(entries, key=lambda e: int(e["offset"]))

    @_guarded
    def models(self, generation: int, tenant: str, limit: int) -> list[Document]:
        """The catalogue, by name."""
        return list(self._of("models", generation).find({"tenant": tenant}, sort=[("_id", ASCENDING)], limit=limit))

    @_guarded
    def model(self, generation: int, tenant: str, name: str) -> Document | None:
        found: Document | None = self._of("models", generation).find_one({"_id": name, "tenant": tenant})
        return found

    @_guarded
    def count_by_status(self, generation: int, tenant: str, statuses: Sequence[str]) -> dict[str, int]:
        """How many jobs stand at each status; each count is an index scan."""
        jobs = self._of("jobs", generation)
        return {s: int(jobs.count_documents({"tenant": tenant, "status": s})) for s in statuses}

    @_guarded
    def stats_by_model(
        self, generation: int, tenant: str, since: datetime | None, event_types: Sequence[str]
    ) -> list[Document]:
        """The statistics summed over partitions and hours: one document per model and version."""
        match: Document = {"tenant": tenant} | ({"hour": {"$gte": since}} if since else {})
        sums: Document = {
            name: {"$sum": f"${name}"} for name in ("void", "finished", "queued_ms", "running_ms", "inference_ms")
        }
        sums |= {f"events_{i}": {"$sum": f"$events.{name}"} for i, name in enumerate(event_types)}
        grouped = self._of("stats", generation).aggregate(
            [
                {"$match": match},
                {"$group": {"_id": {"model": "$model", "version": "$model_version"}, **sums}},
                {"$sort": {"_id.model": 1, "_id.version": 1}},
            ]
        )
        return [g | {"events": {name: g[f"events_{i}"] for i, name in enumerate(event_types)}} for g in grouped]


def _mark(checkpoint: Mapping[str, Any]) -> Mark:
    return Mark(
        partition=checkpoint["partition"],
        topic=checkpoint["topic"],
        topic_id=checkpoint["topic_id"],
        next=checkpoint["next"],
        end_seen=checkpoint["end_seen"],
        end_seen_at=checkpoint["end_seen_at"],
    )
