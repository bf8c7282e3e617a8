"""The rule for records that cannot be used (projections/step.py), row by row."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest

from darkroom.projector.projections import run
from darkroom.projector.projections.families import JOBS
from darkroom.projector.testing import SPEC, Chain, Kept
from darkroom.runtime.eventlog.port import Record
from darkroom.schemas import job

ID = "0b7c2b9e-7a0f-4c35-9d80-3d5f0a6f5e11"
AT = 2
"""The offset of the record in question, between a start and a success."""


def header(name: str, value: bytes | None) -> Callable[[Record], Record]:
    def edit(record: Record) -> Record:
        return replace(record, headers=[(n, value if n == name else v) for n, v in record.headers])  # type: ignore[misc]

    return edit


def body(old: bytes, new: bytes) -> Callable[[Record], Record]:
    def edit(record: Record) -> Record:
        assert old in (record.value or b"")
        return replace(record, value=(record.value or b"").replace(old, new))

    return edit


def typed(event_type: bytes) -> Callable[[Record], Record]:
    """The record as another event type, in header and body."""

    def edit(record: Record) -> Record:
        return header("type", event_type)(body(b"darkroom.job.execution-progressed.v1", event_type)(record))

    return edit


class Row(NamedTuple):
    """`chain`: whether the chain of the job goes on, with the status `status`. If it does not, the events that were
    written after it continue what no fold has seen, and are void."""

    edit: Callable[[Record], Record]
    reason: str
    chain: bool
    status: str = "running"
    job: bool = True


ROWS = {
    "undecodable": Row(lambda r: replace(r, value=b"{"), "the value cannot be read", True),
    "empty": Row(lambda r: replace(r, value=None), "the record has no value", True),
    "of an unknown type": Row(
        typed(b"darkroom.job.teleported.v1"), "unknown event type 'darkroom.job.teleported.v1'", True
    ),
    "of a version to come": Row(
        typed(b"darkroom.job.execution-succeeded.v9"), "unknown event type", True, "succeeded"
    ),
    "what a fold raises at": Row(body(b'"done": 1', b'"undone": 1'), "KeyError: 'done'", True),
    "of another run": Row(body(b'"data": {"run": 1', b'"data": {"run": 4'), "another run or attempt", True),
    "contradicting its headers": Row(
        body(b'"streamversion": 3', b'"streamversion": 4'), "attribute streamversion is 4, its header says 3", True
    ),
    "in a foreign partition": Row(lambda r: replace(r, partition=1), "the key belongs into partition 0", False),
    "without headers": Row(lambda r: replace(r, headers=[]), "no key or no headers", False, job=False),
    "without a guard field": Row(header("previd", None), "cannot be read", False, job=False),
    "of no known job": Row(lambda r: replace(r, key=b"nobody"), "a chain that does not exist", False),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
def test_what_is_kept_of_it_and_what_becomes_of_its_job(row: Row) -> None:
    chain = Chain(ID, 1)
    events = [
        job.Created(SPEC, {}, True),
        job.ExecutionStarted(1, 1, "x", 15.0),
        job.ExecutionProgressed(1, 1, "x", 15.0, 1, 2),
        job.ExecutionSucceeded(1, 1, ({"input": 0, "classes": []},), None, {}, {}),
    ]
    log = [replace(chain.record(event, f"e{n}"), offset=n) for n, event in enumerate(events)]
    log[AT] = row.edit(log[AT])
    kept, before, at = Kept(), {}, {}
    for record in log:
        before = at if record.offset == AT else before
        kept.take(JOBS.fold("topic", 1, [record], kept.load))
        if record.offset <= AT:
            at = kept.documents("jobs")[0]

    (poison,) = kept.documents("jobs_quarantine")
    expected = {
        "_id": f"topic:p{log[AT].partition}:{AT}",
        "topic": "topic",
        "partition": log[AT].partition,
        "offset": AT,
        "key": log[AT].key,
        "headers": [list(pair) for pair in log[AT].headers],
        "value": log[AT].value,
        "reason": poison["reason"],
    } | ({"job": (log[AT].key or b"").decode()} if row.job else {})
    assert poison == expected
    assert row.reason in poison["reason"]

    moved = {"position": AT, "version": 3, "last_event_id": "e2", "status": row.status} if row.chain else {}
    assert at == before | moved
    (found,) = kept.documents("jobs")
    later = (found["version"], found["status"], found["run"]["status"], found["void_count"])
    assert later == ((4, "succeeded", "succeeded", 0) if row.chain else (2, "running", "running", 1))
    (history,) = kept.documents("history")
    assert [e["offset"] for e in history["entries"]] == [0, 1, 3]
    assert sum(s["void"] + sum(s["events"].values()) for s in kept.documents("stats")) == 3


def test_events_that_need_what_is_missing_are_quarantined_too() -> None:
    chain, kept = Chain(ID, 1), Kept()
    events = [job.Created(SPEC, {}, True), job.ExecutionStarted(1, 1, "x", 15.0), job.Deleted(1)]
    log = [replace(chain.record(event, f"e{n}"), offset=n) for n, event in enumerate(events)]
    log[0] = replace(log[0], value=b"{")
    kept.take(JOBS.fold("topic", 1, log, kept.load))
    (found,) = kept.documents("jobs")
    assert [p["offset"] for p in kept.documents("jobs_quarantine")] == [0, 1]
    assert (found["version"], found["status"], found["event_count"]) == (3, "deleted", 1)


def test_a_fold_that_raises_half_way_leaves_the_document_as_if_only_the_chain_had_moved() -> None:
    chain, kept = Chain(ID, 1), Kept()
    events = [job.Created(SPEC, {}, True), job.ExecutionStarted(1, 1, "x", 15.0), job.ExecutionRequested(2, SPEC)]
    log = [replace(chain.record(event, f"e{n}"), offset=n) for n, event in enumerate(events)]
    kept.take(JOBS.fold("t", 1, log[:1], kept.load))
    (before,) = kept.documents("jobs")
    for record in log[1:]:
        with (
            patch.object(run, "_started", side_effect=MemoryError),
            patch.object(run, "requested", side_effect=OSError),
        ):
            kept.take(JOBS.fold("t", 1, [record], kept.load))
    (after,) = kept.documents("jobs")
    changed: dict[str, Any] = {k: v for k, v in after.items() if v != before[k]}
    assert changed == {"position": 2, "version": 3, "last_event_id": "e2"}
    assert [p["reason"] for p in kept.documents("jobs_quarantine")] == ["MemoryError: ", "OSError: "]


def test_a_record_that_can_be_read_by_now_leaves_the_quarantine_when_it_is_folded_again() -> None:
    chain = Chain(ID, 1)
    log = [chain.record(job.Created(SPEC, {}, True), "e0")]
    before, after = Kept(), Kept()
    with patch.object(run, "requested", side_effect=KeyError("a bug")):
        before.take(JOBS.fold("t", 1, log, before.load))
    after.take(JOBS.fold("t", 1, log, after.load))
    assert len(before.documents("jobs_quarantine")) == 1
    assert (after.documents("jobs_quarantine"), after.documents("jobs")[0]["run"]["status"]) == ([], "queued")
