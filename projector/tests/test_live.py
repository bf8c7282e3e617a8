"""The live projector on real Kafka and MongoDB: whatever happens, the read models equal a clean fold of the log."""

import threading
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from time import monotonic

import pytest

from darkroom.projector.__main__ import _Loops
from darkroom.projector.ends import Seen
from darkroom.projector.projections.families import JOBS
from darkroom.projector.store import Fenced, Work
from darkroom.projector.store_generations import check, outdated
from darkroom.projector.testing import Chain, traffic, wait_until
from darkroom.schemas import model


def test_follows_the_log(bench, clean_fold):
    records = traffic(1, 60, 3)
    bench.append(records[:100])
    with bench.live() as live:
        bench.wait_projected(100)
        assert live.why_not_ready is None
        bench.append(records[100:])
        bench.wait_projected(len(records))
    assert bench.checksums() == clean_fold(records)
    with bench.live("again"):
        pass
    assert bench.checksums() == clean_fold(records)


def test_two_projectors_share_the_partitions_and_take_over(bench, clean_fold):
    records = traffic(12, 60, 3)
    with bench.live() as first, bench.live() as second:
        wait_until(lambda: first.why_not_ready is None and second.why_not_ready is None, "both are ready")
        wait_until(lambda: len(first.partitions) + len(second.partitions) == 3, "each partition has one projector")
        wait_until(lambda: bool(first.partitions and second.partitions), "both have some")
        bench.append(records[:150])
        bench.wait_projected(150)
    with bench.live():
        bench.append(records[150:])
        bench.wait_projected(len(records))
    assert bench.checksums() == clean_fold(records)


def test_a_stale_batch_is_fenced_and_writes_nothing(bench, clean_fold):
    records = traffic(13, 20, 3)
    bench.append(records)
    with bench.live():
        bench.wait_projected(len(records))
    before = bench.checksums()
    again = [r for r in records if r.partition == 0]
    stale = Work(bench.log.topic, 0, {1: 0}, 0, len(again), Seen(len(again), datetime.now(UTC)))
    with bench.store.session() as session, pytest.raises(Fenced):
        bench.store.project(session, JOBS, stale, partial(JOBS.fold, bench.log.topic, 3, again))
    assert bench.checksums() == before == clean_fold(records)


def test_checkpoints_tell_the_end_that_was_seen_also_when_idle(bench):
    records = traffic(14, 5, 3)
    bench.append(records)
    with bench.live():
        bench.wait_projected(len(records))

        def seen() -> list[dict[str, object]]:
            return list(bench.store.checkpoints.find({"family": "jobs"}))

        wait_until(lambda: all(c["end_seen_at"].year > 2000 for c in seen()), "idle partitions are looked at too")
        first = {c["_id"]: c["end_seen_at"] for c in seen()}
        wait_until(lambda: all(c["end_seen_at"] > first[c["_id"]] for c in seen()), "and again")
    assert sum(c["end_seen"] for c in seen()) == len(records) == sum(c["next"] for c in seen())


def test_poison_is_kept_raw(bench):
    key, value, headers = b"k", b"\xff\x00 poison", [("h", b"\xfe")]
    bench.log.append(1, key, value, headers).result(10)
    with bench.live():
        bench.wait_projected(1)
    (kept,) = bench.store.database["jobs_quarantine_g1"].find()
    assert kept == {
        "_id": f"{bench.log.topic}:p1:0",
        "topic": bench.log.topic,
        "partition": 1,
        "offset": 0,
        "key": key,
        "headers": [["h", b"\xfe"]],
        "value": value,
        "reason": kept["reason"],
    }


def test_projects_the_catalogue_in_the_same_process(bench):
    artifact = {"digest": "sha256:" + "a" * 64, "size_bytes": 1, "format": "tflite"}
    description = model.Description(
        "m", "1", "detection", "litert", {"type": "upload"}, artifact, {}, {}, {"count": 3}
    )
    record = Chain("m", 1).record(model.Registered(description), "e")
    bench.models.append(record.partition, record.key, record.value, record.headers).result(10)
    process = bench.process()
    wait_until(lambda: bench.store.database["models_g1"].find_one({"_id": "m"}) is not None, "the model is there")
    process.terminate()
    assert process.wait(10) == 0


def test_refuses_a_log_that_is_not_its_own(bench):
    bench.append(records := traffic(15, 5, 3))
    full = max(r.partition for r in records)
    with bench.live():
        bench.wait_projected(len(records))
    of_jobs = {"family": "jobs"}
    before = list(bench.store.checkpoints.find(of_jobs))
    ends = {p: bench.log.end_offset(p, 5.0) for p in range(3)}
    topic, topic_id = bench.log.topic, bench.log.topic_id
    for told, other_id, other_ends in [
        ("has the id other", "other", ends),
        ("has lost events or is another one", topic_id, ends | {full: 0}),
        ("which .* lacks", topic_id, {0: ends[0], 1: ends[1]}),
        ("their number has changed", topic_id, ends | {3: 0}),
    ]:
        with pytest.raises(ValueError, match=told):
            check(bench.store, JOBS, topic, other_id, lambda ends=other_ends: ends)
    bench.store.checkpoints.update_many(of_jobs, {"$set": {"topic_id": "another"}})
    refusing = bench.process()
    assert refusing.wait(30) == 1
    assert b"were folded from topic" in refusing.stderr.read()
    bench.store.checkpoints.update_many(of_jobs, {"$set": {"topic_id": topic_id}})
    assert list(bench.store.checkpoints.find(of_jobs)) == before


def test_a_log_that_grows_while_its_ends_are_asked_for_is_its_own(bench):
    records = traffic(18, 10, 3)
    bench.append(records[:30])
    with bench.live():
        bench.wait_projected(30)

        def ends() -> dict[int, int]:
            told = {p: bench.log.end_offset(p, 5.0) for p in range(3)}
            bench.append(records[30:])
            bench.wait_projected(len(records))  # the checkpoints now stand beyond what was told
            return told

        check(bench.store, JOBS, bench.log.topic, bench.log.topic_id, ends)


def test_all_loops_share_one_deadline():
    release, stopping = threading.Event(), threading.Event()

    class Stuck:
        def run(self, group, stopping) -> None:
            release.wait(30)

    closed = threading.Semaphore(0)
    loops = _Loops(stopping)
    for name in ("one", "two", "three"):
        opened = ExitStack()
        opened.callback(closed.release)
        loops.start(name, Stuck(), lambda: None, opened)
    begun = monotonic()
    assert not loops.join(0.5)
    assert 0.5 <= monotonic() - begun < 0.9
    release.set()
    assert loops.join(10)
    assert all(closed.acquire(timeout=0) for _ in range(3))
    assert (loops.failures, stopping.is_set()) == ([], False)


def test_says_that_a_changed_fold_asks_for_a_replay(bench):
    bench.append(traffic(16, 5, 3))
    with bench.live():
        bench.wait_projected(1)
    assert outdated(bench.store, JOBS) == []
    bench.store.generations.update_one({"_id": "jobs"}, {"$set": {"fold_versions.1.runs": 0}})
    assert outdated(bench.store, JOBS) == ["runs"]
