"""The folds by themselves: what a record does to the documents, wherever batches begin and end."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import bson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.projector.batches import by_partition
from darkroom.projector.checksum import Checksum, checksum, digest
from darkroom.projector.projections.families import JOBS, MODELS, family_of
from darkroom.projector.projections.plain import plain
from darkroom.projector.testing import LOST, MODEL, PICTURE, SPEC, Chain, Kept, results, traffic
from darkroom.runtime.eventlog.port import Record
from darkroom.schemas import job, model
from darkroom.schemas.errors import Undecodable
from darkroom.schemas.views import HISTORY_CHUNK_EVENTS, TIMELINE_ENTRIES_MAX

ID = "0b7c2b9e-7a0f-4c35-9d80-3d5f0a6f5e11"
TIMING = {"decode_ms": 4.5, "inference_ms": 12.25}
RESULTS = results(Random(1))


class Story:
    """One job in a partition of its own, folded event by event."""

    def __init__(self, family: Any = JOBS, key: str = ID) -> None:
        self.chain = Chain(key, 1)
        self.kept, self.family, self.offset = Kept(), family, 0
        self.quarantined: list[dict[str, Any]] = []

    def add(self, event: Any, *, edit: Any = None, **more: Any) -> "Story":
        record = self.chain.record(event, f"e{self.offset}", **more)
        return self.put(edit(record) if edit else record)

    def put(self, record: Record) -> "Story":
        changes = self.family.fold("topic", 1, [replace(record, offset=self.offset)], self.kept.load)
        self.kept.take(changes)
        self.quarantined += changes.quarantined
        self.offset += 1
        return self

    @property
    def job(self) -> dict[str, Any]:
        (found,) = self.kept.documents("jobs")
        return found

    def documents(self, read_model: str) -> list[dict[str, Any]]:
        return self.kept.documents(read_model)


def started() -> Story:
    return Story().add(job.Created(SPEC, {"b": "2", "a": "1"}, True)).add(job.ExecutionStarted(1, 1, "x", 15.0))


def fold(records: Sequence[Record], partitions: int, sizes: list[int]) -> dict[str, Checksum]:
    kept = {p: Kept() for p in range(partitions)}
    start = 0
    while start < len(records):
        size = sizes.pop(0) if sizes else 100
        for partition, batch in by_partition(records[start : start + size]):
            changes = JOBS.fold("t", partitions, batch, kept[partition].load)
            kept[partition].take(changes)
            put, removed = changes.put, changes.removed  # the store writes in no order: one operation a document
            assert not put.get("runs", {}).keys() & removed.get("runs", {}).keys()
            assert not put.get("history", {}).keys() & changes.appended.keys()
        start += size
    return {m: checksum(d for k in kept.values() for d in k.encoded(m)) for m in JOBS.read_models}


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    sizes=st.lists(st.integers(1, 60), max_size=30),
    order=st.randoms(use_true_random=False),
)
def test_neither_batches_nor_the_order_of_partitions_change_a_byte(seed, sizes, order):
    records = traffic(seed, 12, 3)
    by_itself = {p: [r for r in records if r.partition == p] for p in range(3)}
    shuffled: list[Record] = []
    while any(by_itself.values()):
        partition = order.choice([p for p, left in by_itself.items() if left])
        shuffled.append(by_itself[partition].pop(0))
    assert fold(shuffled, 3, list(sizes)) == fold(records, 3, [len(records)])


def test_a_run_from_request_to_success():
    story = started().add(job.ExecutionProgressed(1, 1, "x", 15.0, 1, 2))
    story.add(job.ExecutionSucceeded(1, 1, RESULTS, None, TIMING, {"runtime": {"name": "litert"}}))
    found, run = story.job, story.job["run"]
    assert (found["status"], found["version"], found["position"], found["event_count"]) == ("succeeded", 4, 3, 4)
    assert found["labels"] == ["a:1", "b:2"]
    assert (run["status"], run["attempt"], run["progress"]) == ("succeeded", 1, {"done": 1, "total": 2})
    assert run["results"] == list(RESULTS)
    assert run["timing"] == {**TIMING, "queued_ms": 138.0, "running_ms": 275.0}
    assert [a["outcome"] for a in run["attempts"]] == ["succeeded"]
    (kept,) = story.documents("runs")
    assert {k: v for k, v in kept.items() if k in run} == run
    assert (kept["_id"], kept["position"]) == (f"{ID}:1", 3)
    (stats,) = story.documents("stats")
    assert stats["events"] == {
        "created": 1,
        "execution-started": 1,
        "execution-progressed": 1,
        "execution-succeeded": 1,
    }
    assert (stats["finished"], stats["inference_ms"], stats["running_ms"]) == (1, 12.25, 275.0)
    assert stats["hour"] == datetime(2026, 11, 1, 9, tzinfo=UTC)


def test_a_lost_attempt_is_tried_again_and_a_run_can_fail():
    story = started().add(job.AttemptExpired(1, 1, LOST)).add(job.ExecutionStarted(1, 2, "y", 15.0))
    assert (story.job["status"], story.job["run"]["attempt"]) == ("running", 2)
    story.add(job.ExecutionFailed(1, 2, LOST))
    run = story.job["run"]
    assert (run["status"], run["error"]["type"]) == ("failed", LOST.type)
    assert [(a["outcome"], a["executor"]) for a in run["attempts"]] == [("expired", "x"), ("failed", "y")]
    assert all(a["ended_at"] for a in run["attempts"])
    (stats,) = story.documents("stats")
    assert stats["events"]["execution-failed"] == 1
    assert [stats[k] for k in ("finished", "queued_ms", "running_ms", "inference_ms")] == [0, 0.0, 0.0, 0.0]


def test_a_job_executed_again_keeps_its_earlier_run():
    other = replace(SPEC, model=replace(MODEL, version="2"), inputs=(PICTURE,))
    story = started().add(job.Cancelled(1)).add(job.ExecutionRequested(2, other))
    assert (story.job["status"], story.job["model"]["version"], len(story.job["inputs"])) == ("queued", "2", 1)
    runs = {d["run"]: d for d in story.documents("runs")}
    assert (runs[1]["status"], runs[1]["attempts"][0]["outcome"], runs[2]["status"]) == (
        "cancelled",
        "cancelled",
        "queued",
    )


def test_a_deleted_job_leaves_a_tombstone_and_its_history():
    story = started().add(job.Cancelled(1)).add(job.ExecutionRequested(2, SPEC)).add(job.Deleted(2))
    found = story.job
    assert (found["status"], found["inputs"], found["labels"], found["spec"], found["run"]) == (
        "deleted",
        [],
        [],
        {},
        None,
    )
    assert found["deleted_at"] == found["updated_at"]
    assert story.documents("runs") == []
    assert len(story.documents("history")[0]["entries"]) == 5
    story.add(job.ExecutionRequested(3, SPEC))  # nobody decides this; the fold stays with the tombstone
    assert (story.job["status"], story.job["run"], story.documents("runs")) == ("deleted", None, [])


def test_a_void_event_is_shown_and_counted_and_changes_nothing():
    story = started()
    before = story.job
    story.add(job.Cancelled(1), void=True)
    after = story.job
    assert {k for k in after if after[k] != before[k]} == {"void_count", "history", "timeline"}
    assert (after["timeline"][-1]["void"], after["timeline"][-1]["status"]) == (True, "running")
    assert [e["void"] for e in story.documents("history")[0]["entries"]] == [False, False, True]
    assert story.documents("stats")[0]["void"] == 1


BROKEN = {
    "not JSON": lambda r: replace(r, value=b"{"),
    "no value": lambda r: replace(r, value=None),
    "contradicts its headers": lambda r: replace(r, value=(r.value or b"").replace(b'"e2"', b'"other"')),
    "of no known shape": lambda r: replace(r, value=(r.value or b"").replace(b'"results"', b'"result"')),
    "too large a number": lambda r: replace(r, value=(r.value or b"").replace(b"12.25", b"9" * 18)),
    "too deep": lambda r: replace(r, value=(r.value or b"").replace(b"12.25", b"[" * 60 + b"]" * 60)),
}


@pytest.mark.parametrize("edit", BROKEN.values(), ids=BROKEN.keys())
def test_a_body_that_cannot_be_used_is_quarantined_and_the_chain_goes_on(edit):
    story = started()
    before = story.job
    story.add(job.ExecutionSucceeded(1, 1, RESULTS, None, TIMING, {}), edit=edit)
    after = story.job
    assert {k for k in after if after[k] != before[k]} == {"version", "last_event_id", "position", "status"}
    assert after["status"] == "succeeded"
    (poison,) = story.quarantined
    assert (poison["_id"], poison["job"]) == ("topic:p0:2", ID)
    assert poison["reason"]
    assert bson.encode(poison)
    assert len(story.documents("history")[0]["entries"]) == 2
    story.add(job.ExecutionRequested(2, SPEC))
    assert (story.job["status"], story.job["version"], story.job["run"]["run"]) == ("queued", 4, 2)


def test_a_job_whose_first_event_cannot_be_read_goes_on_without_content():
    story = Story().add(job.Created(SPEC, {}, True), edit=lambda r: replace(r, value=b"{"))
    assert (story.job["status"], story.job["version"], story.job["inputs"]) == ("queued", 1, [])
    story.add(job.ExecutionStarted(1, 1, "x", 15.0))  # cannot be folded either: there is no run
    assert (story.job["status"], story.job["version"], len(story.quarantined)) == ("running", 2, 2)
    story.add(job.Deleted(1))
    assert story.job["status"] == "deleted"


UNREADABLE = {
    "no headers": lambda r: replace(r, headers=[]),
    "no key": lambda r: replace(r, key=None),
    "a foreign partition": lambda r: replace(r, partition=1),
    "no such job": lambda r: replace(r, key=b"nobody"),
    "a broken version": lambda r: replace(
        r, headers=[(n, b"\xff" if n == "streamversion" else v) for n, v in r.headers]
    ),
}


@pytest.mark.parametrize("edit", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_record_that_names_no_job_of_its_partition_touches_none(edit):
    story = started()
    before = story.job
    story.add(job.Cancelled(1), edit=edit)
    assert story.job == before
    assert len(story.quarantined) == 1
    assert bson.encode(story.quarantined[0])


def test_history_goes_on_in_chunks_and_the_timeline_is_bounded():
    story = started()
    for done in range(230):
        story.add(job.ExecutionProgressed(1, 1, "x", 15.0, done, 1000))
    chunks = sorted(story.documents("history"), key=lambda d: d["chunk"])
    assert [len(c["entries"]) for c in chunks] == [HISTORY_CHUNK_EVENTS] * 4 + [32]
    assert [e["offset"] for c in chunks for e in c["entries"]] == list(range(232))
    assert all((c["first"], c["last"]) == (c["entries"][0]["offset"], c["entries"][-1]["offset"]) for c in chunks)
    assert [e["offset"] for e in story.job["timeline"]] == list(range(232 - TIMELINE_ENTRIES_MAX, 232))


def test_history_chunks_are_bounded_in_bytes_too():
    story = started()
    for _ in range(12):
        story.add(job.ExecutionProgressed(1, 1, "x" * 900_000, 15.0, 1, 2))
    assert max(len(bson.encode(c)) for c in story.documents("history")) < 5 * 2**20


def test_the_catalogue_of_models():
    def description(version: str) -> model.Description:
        artifact = {"digest": "sha256:" + version * 64, "size_bytes": 1, "format": "tflite"}
        return model.Description(
            "m", version, "detection", "litert", {"type": "upload"}, artifact, {"width_px": None}, {}, {"count": 3}
        )

    story = Story(MODELS, "m").add(model.Registered(description("1"))).add(model.Registered(description("2")))
    story.add(model.Retired("m", "1")).add(model.Retired("m", "2"), void=True)
    (found,) = story.documents("models")
    assert [(v["version"], v["status"]) for v in found["versions"]] == [("1", "retired"), ("2", "active")]
    assert (found["version"], found["position"]) == (3, 2)
    assert found["versions"][0]["retired_at"] - found["versions"][0]["registered_at"] == timedelta(milliseconds=275)


def test_values_are_made_safe_for_the_database():
    assert plain({"a.b": 1, "$c": {"x": [1.5, None, True]}}) == {"a．b": 1, "＄c": {"x": [1.5, None, True]}}
    deep: Any = 1
    for _ in range(40):
        deep = [deep]
    assert plain(deep) == deep
    for bad in (
        float("nan"),
        2**60,
        {"a\0": 1},
        object(),
        [deep],
        {"a": [2**53 + 1]},
        [{"a": {"b\0": ""}}],
        (1, {2}),
    ):
        with pytest.raises(Undecodable):
            plain(bad)


def test_the_checksum_sees_every_change_and_no_order():
    documents = [bson.encode({"_id": str(i), "n": i}) for i in range(5)]
    assert checksum(documents) == checksum(reversed(documents))
    assert checksum(documents) != checksum(documents[1:])
    assert checksum(documents) != checksum([*documents[1:], bson.encode({"_id": "0", "n": 7})])
    assert Checksum() + checksum(documents[:2]) + checksum(documents[2:]) == checksum(documents)
    assert digest(documents[0]) < 2**128


def test_an_unknown_read_model_is_named():
    with pytest.raises(ValueError, match="no read model 'nope'; the read models are jobs, runs"):
        family_of("nope")
