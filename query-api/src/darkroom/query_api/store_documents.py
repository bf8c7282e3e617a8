"""The read documents of one generation, as the query API asks for them.

Each query stands on an index of `views.INDEXES` or on `_id`, and each of those indexes is there for a query below;
a test asks MongoDB itself about both.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from darkroom.query_api.store_errors import guarded
from darkroom.schemas import views

Document = dict[str, Any]

ID_MATCHES_MAX = 500
"""Jobs whose ids begin alike, and that are sorted here; of more, the newest are looked for in the order of time."""
_NEWEST_FIRST = [("created_at", -1), ("_id", -1)]
_SUMMARY = {"run.results": 0, "run.provenance": 0, "run.inputs": 0, "timeline": 0, "spec": 0, "history": 0}
_STRIDES = [2**n for n in range(24)]


class Documents:
    """Reads of one database. Each raises StoreUnavailable or GenerationGone.

    `snapshot`: the same database, each query of one moment. A scan of an index that projections change meanwhile
    otherwise misses a document that moves in it (a job that changes its status), or finds it twice.
    """

    def __init__(self, database: Any, snapshot: Any) -> None:
        self._database, self._snapshot = database, snapshot

    def _of(self, read_model: str, generation: int) -> Any:
        return self._database[views.collection(read_model, generation)]

    def _at_once(self, read_model: str, generation: int) -> Any:
        return self._snapshot[views.collection(read_model, generation)]

    @guarded
    def job(self, generation: int, tenant: str, job: str) -> Document | None:
        """A job's document without its timeline and spec (they are not part of a job as read)."""
        found: Document | None = self._of("jobs", generation).find_one(
            {"_id": job, "tenant": tenant}, {"timeline": 0, "spec": 0, "history": 0}
        )
        return found

    @guarded
    def statuses(self, generation: int, tenant: str, jobs: Sequence[str]) -> dict[str, str]:
        """The status of each of these jobs that there is."""
        found = self._of("jobs", generation).find({"_id": {"$in": list(jobs)}, "tenant": tenant}, {"status": 1})
        return {str(j["_id"]): str(j["status"]) for j in found}

    @guarded
    def jobs(self, generation: int, query: Mapping[str, Any], limit: int) -> list[Document]:
        """Summaries (no results, no provenance), newest first by (created_at, _id), at most `limit`. `query`: see
        `listing.query_of`."""
        jobs, hint = self._at_once("jobs", generation), None
        if "_id" in query:
            some = jobs.find({"_id": query["_id"]}, {"_id": 1}, hint="_id_", limit=ID_MATCHES_MAX + 1)
            ids = [j["_id"] for j in some]
            if len(ids) <= ID_MATCHES_MAX:
                found = jobs.find({**query, "_id": {"$in": ids}}, _SUMMARY, hint="_id_")
                return sorted(found, key=lambda j: (j["created_at"], j["_id"]), reverse=True)[:limit]
            hint = views.INDEXES["jobs"][0]
        return list(jobs.find(query, _SUMMARY, sort=_NEWEST_FIRST, limit=limit, hint=hint))

    @guarded
    def runs(self, generation: int, tenant: str, job: str, last: int, limit: int) -> list[Document]:
        """A job's runs from the first to number `last`, oldest first, without results; at most `limit`."""
        ids = [f"{job}:{run}" for run in range(1, min(last, limit) + 1)]
        found = self._of("runs", generation).find(
            {"_id": {"$in": ids}, "tenant": tenant}, {"results": 0, "provenance": 0}
        )
        return sorted(found, key=lambda r: int(r["run"]))

    @guarded
    def run(self, generation: int, tenant: str, job: str, run: int) -> Document | None:
        found: Document | None = self._of("runs", generation).find_one({"_id": f"{job}:{run}", "tenant": tenant})
        return found

    @guarded
    def chunk_at(self, generation: int, tenant: str, job: str, start: int) -> int:
        """The number of the chunk of a job's history that holds offset `start`, or the next one after it."""
        history, before = self._of("history", generation), -1
        while True:  # each turn halves, at least, what is left between `before` and the answer
            asked = [f"{job}:{before + stride}" for stride in _STRIDES]
            ended = history.find({"_id": {"$in": asked}, "tenant": tenant, "last": {"$lt": start}}, {"chunk": 1})
            numbers = [int(c["chunk"]) for c in ended]
            if not numbers:
                return before + 1
            before = max(numbers)

    @guarded
    def history_of(
        self, generation: int, tenant: str, job: str, start: int, chunk: int, chunks_max: int
    ) -> list[Document]:
        """Entries of one job from offset `start` on, in the order of the log, of at most `chunks_max` chunks, of
        which `chunk` is the first. Each entry names its `chunk`."""
        ids = [f"{job}:{number}" for number in range(chunk, chunk + chunks_max)]
        chunks = self._of("history", generation).find(
            {"_id": {"$in": ids}, "tenant": tenant, "last": {"$gte": start}},
            {"partition": 1, "chunk": 1, "entries": 1},
        )
        return [
            e | {"partition": c["partition"], "job": job, "chunk": c["chunk"]}
            for c in sorted(chunks, key=lambda c: int(c["chunk"]))
            for e in c["entries"]
            if e["offset"] >= start
        ]

    @guarded
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
        found = self._at_once("history", generation).find(
            {
                "partition": partition,
                "last": {"$gte": start},
                "first": {"$lt": stop},
                "tenant": tenant,
            },
            {"_id": 0, "job": 1, "entries": inside},
        )
        entries = [e | {"partition": partition, "job": c["job"]} for c in found for e in c["entries"]]
        return sorted(entries, key=lambda e: int(e["offset"]))

    @guarded
    def models(self, generation: int, tenant: str, limit: int) -> list[Document]:
        """The catalogue, by name."""
        return list(self._of("models", generation).find({"tenant": tenant}, sort=[("_id", 1)], limit=limit))

    @guarded
    def model(self, generation: int, tenant: str, name: str) -> Document | None:
        found: Document | None = self._of("models", generation).find_one({"_id": name, "tenant": tenant})
        return found

    @guarded
    def count_by_status(self, generation: int, tenant: str, statuses: Sequence[str]) -> dict[str, int]:
        """How many jobs stand at each status, all at one moment; each count is an index scan."""
        jobs = self._of("jobs", generation)
        with self._database.client.start_session(snapshot=True) as moment:
            return {s: int(jobs.count_documents({"tenant": tenant, "status": s}, session=moment)) for s in statuses}

    @guarded
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
            ]
        )
        found = [g | {"events": {name: g[f"events_{i}"] for i, name in enumerate(event_types)}} for g in grouped]
        return sorted(found, key=lambda g: (str(g["_id"]["model"]), str(g["_id"]["version"])))
