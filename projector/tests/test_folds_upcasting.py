"""A log with several versions of an event folds like the same log lifted beforehand."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from darkroom.projector.checksum import Checksum, checksum
from darkroom.projector.projections.families import JOBS
from darkroom.projector.testing import Kept, traffic
from darkroom.runtime.eventlog.port import Record
from darkroom.schemas.chain import accepts
from darkroom.schemas.errors import Undecodable
from darkroom.schemas.eventdata import SCHEMAS
from darkroom.schemas.job import Head, evolve
from darkroom.schemas.upcasting import Versions
from darkroom.schemas.wire import read_guard

STARTED = "darkroom.job.execution-started"
FAILED = "darkroom.job.execution-failed"
SIZE_BYTES = 4096
"""Every body is made as long as this, for the documents say how long the raw events are."""

Data = dict[str, Any]


def started_v2(data: Data) -> tuple[str, Data]:
    """v2 knew the executor's host."""
    return f"{STARTED}.v2", data | {"executor": {"name": data["executor"], "host": "unknown"}}


def started_v3(data: Data) -> tuple[str, Data]:
    """v3 writes both in one."""
    return f"{STARTED}.v3", data | {"executor": f"{data['executor']['name']}@{data['executor']['host']}"}


def failed_v2(data: Data) -> tuple[str, Data]:
    return f"{FAILED}.v2", data | {"error": data["error"] | {"title": data["error"]["title"].upper()}}


UPCASTERS = {f"{STARTED}.v1": started_v2, f"{STARTED}.v2": started_v3, f"{FAILED}.v1": failed_v2}
GOLDEN = {
    f"{STARTED}.v1": {"run": 1, "attempt": 1, "executor": "executor-1", "lease_s": 15.0},
    f"{STARTED}.v2": {"run": 1, "attempt": 1, "executor": {"name": "executor-1", "host": "a"}, "lease_s": 15.0},
    f"{FAILED}.v1": {"run": 1, "attempt": 1, "error": {"type": "t", "title": "Lost", "detail": ""}},
}
CURRENT = {t: s for t, s in SCHEMAS.items() if t not in UPCASTERS} | {f"{STARTED}.v3": None, f"{FAILED}.v2": None}
LATER = JOBS.only(*JOBS.read_models, versions=Versions(CURRENT, UPCASTERS))
"""The jobs' fold of a later day, when `execution-started` is at v3 and `execution-failed` at v2."""


def lifted(record: Record, steps: int) -> Record:
    """The record with its event written in a version that is at most so many steps newer."""
    try:
        body = json.loads(record.value or b"")
        guard = read_guard(record.key, record.headers)
    except (Undecodable, ValueError):
        return record
    for _ in range(steps):
        if body["type"] in UPCASTERS:
            body["type"], body["data"] = UPCASTERS[body["type"]](body["data"])
    assert guard.type.rsplit(".", 1)[0] in body["type"]
    headers = [(n, body["type"].encode() if n == "type" else v) for n, v in record.headers]
    return replace(record, value=json.dumps(body).encode().ljust(SIZE_BYTES), headers=headers)


def folded(records: list[Record]) -> tuple[dict[str, Checksum], Kept]:
    kept = Kept()
    kept.take(LATER.fold("t", 1, records, kept.load))
    return {m: checksum(kept.encoded(m)) for m in ("jobs", "runs", "stats")}, kept


def heads(records: list[Record]) -> tuple[list[bool], dict[str, Head]]:
    """What the write side makes of it: the verdicts and heads, from the headers alone."""
    found: dict[str, Head] = {}
    verdicts = []
    for record in records:
        try:
            guard = read_guard(record.key, record.headers)
        except Undecodable:
            continue
        head = found.get(guard.key)
        verdicts.append(accepts(head.version if head else 0, head.last_event_id if head else "", guard))
        if verdicts[-1]:
            found[guard.key] = evolve(head, guard, record.offset)
    return verdicts, found


def test_a_mixed_log_folds_like_the_log_lifted_beforehand() -> None:
    log = traffic(3, 100, 1)
    old, mixed = [lifted(r, 0) for r in log], [lifted(r, r.offset % 3) for r in log]
    new = [lifted(r, 2) for r in log]
    (expected, documents), (found, others), (first, _) = folded(new), folded(mixed), folded(old)
    assert found == expected == first
    executors = {a["executor"] for d in others.documents("runs") for a in d["attempts"]}
    assert executors == {f"executor-{n}@unknown" for n in (1, 2, 3)}
    assert {r["error"]["title"] for r in others.documents("runs") if r["error"]} == {"THE EXECUTOR WAS LOST"}
    for a, b in zip(others.documents("history"), documents.documents("history"), strict=True):
        assert [e | {"event": ""} for e in a["entries"]] == [e | {"event": ""} for e in b["entries"]]
    raw = [json.loads(e["event"])["type"] for d in others.documents("history") for e in d["entries"]]
    assert {t for t in raw if t.startswith(STARTED)} == {f"{STARTED}.v{n}" for n in (1, 2, 3)}, "raw, as in the log"
    assert heads(mixed) == heads(new) == heads(old)


def test_the_upcasters_of_this_test_are_in_order() -> None:
    assert Versions(CURRENT, UPCASTERS).faults(GOLDEN) == []


def failing(_: Data) -> tuple[str, Data]:
    raise RuntimeError("a bug")


WRONG: dict[str, tuple[Callable[[Data], tuple[str, Data]], str]] = {
    "raises": (failing, "cannot be lifted: RuntimeError('a bug')"),
    "is a circle": (lambda d: (f"{STARTED}.v1", d), "run in a circle"),
}


@pytest.mark.parametrize(("upcaster", "why"), WRONG.values(), ids=WRONG.keys())
def test_what_an_upcaster_cannot_lift_is_quarantined_and_the_chain_goes_on(
    upcaster: Callable[[Data], tuple[str, Data]], why: str
) -> None:
    log, kept = traffic(4, 1, 1, poison=False), Kept()
    family = JOBS.only(*JOBS.read_models, versions=Versions(CURRENT, {**UPCASTERS, f"{STARTED}.v1": upcaster}))
    kept.take(family.fold("t", 1, log, kept.load))
    (found,) = kept.documents("jobs")
    head = heads(log)[1][found["_id"]]
    assert (found["version"], found["last_event_id"], found["status"]) == (
        head.version,
        head.last_event_id,
        str(head.status),
    )
    assert {why in p["reason"] for p in kept.documents("jobs_quarantine") if b"started" in p["value"]} == {True}
