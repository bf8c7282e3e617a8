"""Replay on real Kafka and MongoDB: equal to the log, able to fail, under traffic, and after a kill."""

import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime

import pytest

from darkroom.projector.projections.families import JOBS
from darkroom.projector.rebuild_job import rebuild_job
from darkroom.projector.replay import Effort, Mode, Report, replay
from darkroom.projector.store_generations import alias_of, live_generation
from darkroom.projector.store_lease import Lease
from darkroom.projector.testing import traffic, wait_until


def run(bench, mode: Mode, effort: Effort = Effort()) -> Report:  # noqa: B008 - it cannot change
    return replay(bench.store, bench.log, bench.log.topic, JOBS, mode, lambda _: None, lambda _: None, effort)


def test_switches_to_an_equal_generation_while_a_projector_works(bench, clean_fold):
    records = traffic(5, 150, 3)
    bench.append(records[:500])
    stop = threading.Event()

    def go_on() -> None:
        for start in range(500, len(records), 5):
            bench.append(records[start : start + 5])
            if stop.wait(0.01):
                break
        bench.append(records[start + 5 :])

    with bench.live():
        bench.wait_projected(500)
        traffic_thread = threading.Thread(target=go_on)
        traffic_thread.start()
        report = run(bench, Mode.SWITCH)
        assert (report.equal, report.switched, live_generation(bench.store, JOBS)) == (True, True, 2)
        again = run(bench, Mode.SWITCH)
        assert (again.switched, live_generation(bench.store, JOBS)) == (True, 3)
        stop.set()
        traffic_thread.join()
        bench.wait_projected(len(records))
        bench.wait_projected(len(records), generation=2)
    assert bench.checksums(3) == clean_fold(records)
    assert bench.checksums(2) == clean_fold(records)  # the one before is carried on
    assert "jobs_g1" not in bench.store.database.list_collection_names()
    alias = alias_of(bench.store, JOBS)
    assert (alias["live"], alias["kept"], alias["building"]) == (3, [2], None)


def test_works_without_a_projector(bench, clean_fold):
    records = traffic(6, 40, 3)
    bench.append(records)
    with bench.live():
        bench.wait_projected(len(records))
    report = run(bench, Mode.SWITCH)
    assert report.equal
    assert report.events == len(records)
    assert bench.checksums(2) == clean_fold(records)
    with bench.live("again"):
        bench.append(more := traffic(7, 10, 3))
        bench.wait_projected(len(records) + len(more))
    assert bench.checksums(1) == bench.checksums(2)


def test_check_and_dry_run_find_what_was_altered_by_hand_and_write_nothing(bench, clean_fold):
    records = traffic(8, 40, 3)
    bench.append(records)
    with bench.live():
        bench.wait_projected(len(records))
    assert run(bench, Mode.CHECK).equal
    jobs, runs = bench.store.database["jobs_g1"], bench.store.database["runs_g1"]
    altered, dropped = (d["_id"] for d in jobs.find({}, {"_id": 1}).limit(2))
    jobs.update_one({"_id": altered}, {"$set": {"status": "created"}})
    jobs.delete_one({"_id": dropped})
    runs.insert_one({"_id": "made-up:1"})
    before = bench.checksums()
    for mode in (Mode.CHECK, Mode.DRY_RUN, Mode.SWITCH):
        report = run(bench, mode)
        found = {c.read_model: c for c in report.comparisons}
        assert (found["jobs"].changed, found["jobs"].missing, found["jobs"].extra) == (1, 1, 0)
        assert (found["runs"].changed, found["runs"].missing, found["runs"].extra) == (0, 0, 1)
        assert {e.id for e in found["jobs"].examples} == {altered, dropped}
        assert [e.fields[0][:2] for e in found["jobs"].examples if e.fields] == [("status", "created")]
        assert found["history"].equal
        assert (report.equal, report.switched) == (False, False)
        assert bench.checksums() == before
        assert live_generation(bench.store, JOBS) == 1
        assert not [n for n in bench.store.database.list_collection_names() if n.endswith("_g2")]
    rebuild_job(bench.store, bench.log, bench.log.topic, altered)
    rebuild_job(bench.store, bench.log, bench.log.topic, dropped)
    bench.store.database["runs_g1"].delete_one({"_id": "made-up:1"})
    assert bench.checksums() == clean_fold(records)
    jobs.delete_one({"_id": dropped})
    assert run(bench, Mode.REPAIR).switched
    assert bench.checksums(2) == clean_fold(records)


def test_only_one_replay_at_a_time(bench, monkeypatch):
    with bench.live():
        wait_until(lambda: bench.store.generations.find_one() is not None, "the read models are there")
    with monkeypatch.context() as patched, Lease(bench.store, JOBS, print):
        patched.setattr("darkroom.projector.store_lease.LEASE_S", 0)  # how long the second one waits
        bench.store.database["replays"].update_one({}, {"$set": {"until": datetime(2999, 1, 1, tzinfo=UTC)}})
        with pytest.raises(ValueError, match="another replay of jobs is under way"):
            run(bench, Mode.SWITCH)
    assert run(bench, Mode.SWITCH).switched


KILLED = """
import sys
from darkroom.projector.projections.families import JOBS
from darkroom.projector.replay import Mode, replay
from darkroom.projector.store import Store
from darkroom.runtime.eventlog.kafka import KafkaLog
kafka, topic, mongodb, database = sys.argv[1:]
replay(Store(mongodb, database), KafkaLog(kafka, topic), topic, JOBS, Mode.SWITCH, lambda m: None, print)
"""


@pytest.mark.parametrize("failpoint", ["replay-partition:2", "replay-handed-over"])
def test_killed_half_way_it_starts_again(bench, clean_fold, failpoint):
    records = traffic(9, 40, 3)
    bench.append(records)
    with bench.live():
        bench.wait_projected(len(records))
        argv = [sys.executable, "-c", KILLED, bench.kafka, bench.log.topic, bench.mongodb, bench.name]
        killed = subprocess.run(argv, env=bench.environment | {"DARKROOM_FAILPOINT": failpoint}, timeout=60)
        assert killed.returncode == -signal.SIGKILL
        assert live_generation(bench.store, JOBS) == 1
        bench.store.database["replays"].update_many({}, {"$unset": {"until": ""}})  # its lease has run out
        bench.append(more := traffic(10, 10, 3))
        report = run(bench, Mode.SWITCH)
        assert report.switched
        bench.wait_projected(len(records) + len(more))
    shifted = clean_fold([*records, *bench.at_the_end_of(records, more)])
    assert bench.checksums() == shifted
