"""Every query that the query API makes stands on an index, and every index is there for one: asked of MongoDB.

Each public method of the store is called with each kind of filter, while the driver tells which commands it sends;
each of them is then explained.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from darkroom.query_api.arguments import STATUSES
from darkroom.query_api.listing import cursor_after, query_of
from darkroom.query_api.routes.overview import _EVENT_TYPES
from darkroom.query_api.store import Store
from darkroom.runtime.ids import new_id
from darkroom.schemas import views
from darkroom.schemas.job import Status

START = datetime(2026, 11, 1, tzinfo=UTC)
PARTITIONS = 8
HOURS = 24
LIMIT = 51
EXAMINED_PER_RETURNED_MAX = 2
"""Documents looked at for each one given, where one filter is asked for: by the index alone, but for what it cannot
hold (deleted jobs, versions)."""
EXAMINED_PER_RETURNED_MIXED_MAX = 20
"""The same for several filters at once: one is found by an index, the others are looked up. It depends on how
rare they are; here, one job in twelve failed, and one in nine is of the rarest model. (Seen: 10.)"""
EXAMINED_SLACK = 24
"""Documents that may be looked at beside, for the first of a range."""


def test_statuses_are_all_but_deleted() -> None:
    assert set(STATUSES) == {str(s) for s in Status} - {"deleted"}


def listings(filled: Any) -> Iterator[dict[str, Any]]:
    """Filters of the list of jobs."""
    few, several = ["failed"], ["created", "failed", "queued"]
    yield {}
    for status in (few, several, list(STATUSES)):
        yield {"status": status}
    for model in ("model-2", "model-1@1"):
        yield {"model": model}
    for labels in (["batch:7"], ["batch:7", "camera:1"]):
        yield {"label": labels}
    for status in (few, several):
        yield {"status": status, "model": "model-2"}
        yield {"status": status, "label": ["camera:1"]}
    yield {"model": "model-1", "label": ["camera:1"]}
    yield {"status": few, "model": "model-0", "label": ["camera:1"]}
    yield {"id": filled.ids[17]}
    yield {"id": filled.ids[17][:6]}
    yield {"id": filled.ids[17][:1], "status": few}  # begun so by more than are sorted by the service


def ask_jobs(filled: Any) -> Iterator[tuple[str, int]]:
    """Lists of jobs by each filter, of all time and of some of it, the first page and the next one."""
    for filters in listings(filled):
        mixed = len(filters) + len(filters.get("label", [0])) > 2
        for created in (
            {},
            {"created_from": START + timedelta(hours=4), "created_to": START + timedelta(hours=20)},
        ):
            asked, cursor = filters | created, None
            for _ in range(2):
                found = filled.store.jobs(3, query_of("default", asked, cursor), LIMIT)
                yield (
                    f"jobs {asked} after {cursor}",
                    EXAMINED_PER_RETURNED_MIXED_MAX if mixed else EXAMINED_PER_RETURNED_MAX,
                )
                if len(found) < LIMIT:
                    break
                cursor = cursor_after(found[-2], asked)


def ask(filled: Any) -> Iterator[tuple[str, int]]:
    """Calls every public method of the store in every way that the routes do: (what was asked, how many documents
    may be looked at for each one given)."""
    store, ids = filled.store, filled.ids
    summed = {"stats_by_model": HOURS * PARTITIONS}  # a document per hour and partition makes one sum
    single: dict[str, Sequence[Mapping[str, Any]]] = {
        "generation": [{"family": "jobs", "fresh": True}],
        "marks": [{"family": "jobs", "generation": 3}],
        "topic_id": [{"family": "jobs", "generation": 3, "partition": 1}],
        "projections": [{}],
        "checkpoints_now": [{}],
        "job": [{"job": ids[5]}, {"job": new_id()}],
        "statuses": [{"jobs": ids[:200]}],
        "runs": [{"job": ids[5], "last": 3, "limit": 1000}],
        "run": [{"job": ids[5], "run": 1}],
        "chunk_at": [{"job": filled.long_job, "start": 3_977}],
        "history_of": [
            {"job": ids[5], "start": 0, "chunk": 0, "chunks_max": 4},
            {"job": filled.long_job, "start": 3_977, "chunk": 198, "chunks_max": 4},
            {"job": filled.long_job, "start": 10**9, "chunk": 299, "chunks_max": 4},
        ],
        "history_window": [{"partition": p, "start": s, "stop": s + 200} for p in (0, 3) for s in (0, 600, 10**9)],
        "models": [{"limit": 1000}],
        "model": [{"name": "model-1"}],
        "count_by_status": [{"statuses": STATUSES}],
        "stats_by_model": [
            {"since": since, "event_types": _EVENT_TYPES} for since in (None, START + timedelta(hours=HOURS - 1))
        ],
    }
    no_queries = {"close", "ping", "moved_checkpoints"}  # the last follows MongoDB's own log of changes
    public = {n for n, _ in inspect.getmembers(Store, inspect.isfunction) if not n.startswith("_")}
    assert public == set(single) | {"jobs"} | no_queries, "a method of the store is not asked here"
    yield from ask_jobs(filled)
    for name, ways in single.items():
        method = getattr(store, name)
        usual = {"generation": 3, "tenant": "default"}
        taken = {n: v for n, v in usual.items() if n in inspect.signature(method).parameters}
        for way in ways:
            method(**(taken | way))
            yield f"{name} {way}"[:300], summed.get(name, 1)


def nodes(plan: Any) -> Iterator[dict[str, Any]]:
    """Every dict in an explanation."""
    if isinstance(plan, dict):
        yield plan
    for value in plan.values() if isinstance(plan, dict) else plan if isinstance(plan, list) else ():
        yield from nodes(value)


def explain(database: Any, command: Mapping[str, Any]) -> tuple[set[str], set[str], int, int]:
    """Of the plan that won: its stages, the indexes it uses, documents looked at, documents given."""
    beside = ("lsid", "$db", "$clusterTime", "readConcern", "$readPreference", "maxTimeMS")
    bare = {k: v for k, v in command.items() if k not in beside}
    told = database.command({"explain": bare, "verbosity": "executionStats"})
    if "stages" in told:
        told = told["stages"][0]["$cursor"]
    won, run = told["queryPlanner"]["winningPlan"], told["executionStats"]
    stages = {n["stage"] for n in nodes(won) if "stage" in n}
    return (
        stages,
        {n["indexName"] for n in nodes(won) if "indexName" in n},
        run["totalDocsExamined"],
        run["nReturned"],
    )


def test_every_query_stands_on_an_index_and_every_index_is_used(filled: Any) -> None:
    used: set[tuple[str, str]] = set()
    wrong: list[str] = []
    asked = 0
    for what, bound in ask(filled):
        for command in filled.taken():
            asked += 1
            name = str(next(iter(command.values())))
            stages, indexes, examined, returned = explain(filled.database, command)
            used |= {(name, index) for index in indexes}
            if stages & {"COLLSCAN", "SORT"} or not (indexes or "IDHACK" in stages):
                wrong.append(f"{what}: {name} by {sorted(stages)}")
            if examined > bound * returned + EXAMINED_SLACK:
                wrong.append(f"{what}: {examined} documents looked at for {returned}, by {sorted(indexes)}")
    assert asked > 80
    assert not wrong, "\n".join(wrong)
    made = {
        (views.collection(read_model, 3), "_".join(f"{field}_{way}" for field, way in keys))
        for read_model, indexes in views.INDEXES.items()
        for keys in indexes
    }
    assert made - used == set(), "indexes that no query uses"
