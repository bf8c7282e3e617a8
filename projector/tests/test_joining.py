"""What happens to a partition beside its projection, while the loop joins a generation or is in trouble."""

import signal
import subprocess
import sys
import threading
from random import Random
from uuid import UUID

import pytest

from darkroom.projector import live as live_module
from darkroom.projector import switching
from darkroom.projector.projections.families import JOBS
from darkroom.projector.rebuild_job import rebuild_job
from darkroom.projector.store import Fenced, Store
from darkroom.projector.store_generations import live_generation
from darkroom.projector.testing import SPEC, Chain, traffic, wait_until
from darkroom.schemas import job
from darkroom.schemas.chain import partition_of
from darkroom.schemas.errors import StoreUnavailable


def chain_in(partition: int, seed: int) -> Chain:
    random = Random(seed)
    while True:
        key = str(UUID(int=random.getrandbits(128), version=4))
        if partition_of(key, 3) == partition:
            return Chain(key, 3)


def test_a_job_rebuilt_during_a_catch_up_is_not_overwritten_with_what_was_remembered(bench, monkeypatch):
    chain, real = chain_in(0, 1), live_module.catch_up
    waiting, go, done = threading.Event(), threading.Event(), threading.Event()

    def catch_up(*arguments):
        waiting.set()
        if not go.is_set():
            raise Fenced("a little later")
        if not done.is_set():
            rebuild_job(bench.store, bench.log, bench.log.topic, chain.key)
            done.set()
        return real(*arguments)

    monkeypatch.setattr(live_module, "catch_up", catch_up)
    jobs = bench.store.database["jobs_g1"]
    bench.append([chain.record(job.Created(SPEC, {}, True), "a")])
    with bench.live():
        bench.wait_projected(1)
        bench.begun()
        wait_until(waiting.is_set, "it is about to catch up")
        jobs.update_one({"_id": chain.key}, {"$set": {"event_count": 98}})  # the damage that is mended
        bench.append([chain.record(job.ExecutionStarted(1, 1, "x", 15.0), "b")])
        bench.wait_projected(2)
        go.set()
        wait_until(done.is_set, "rebuilt while it catches up")
        bench.append([chain.record(job.ExecutionProgressed(1, 1, "x", 15.0, 1, 2), "c")])
        bench.wait_projected(3)
        assert jobs.find_one({"_id": chain.key})["event_count"] == 3


def test_a_hold_that_begins_during_a_catch_up_holds(bench, monkeypatch):
    records, real, held = traffic(5, 30, 3), live_module.catch_up, threading.Event()

    def catch_up(*arguments):
        if not held.is_set():
            switching.hold(bench.store, JOBS, 2.0)
            held.set()
        return real(*arguments)

    monkeypatch.setattr(live_module, "catch_up", catch_up)
    bench.append(records[:60])
    with bench.live():
        bench.wait_projected(60)
        bench.begun()
        wait_until(held.is_set, "held")
        bench.append(records[60:90])
        threading.Event().wait(0.5)
        assert bench.projected() == 60
        bench.wait_projected(90)


def test_a_batch_that_is_too_much_is_cut_while_other_partitions_go_on(bench, monkeypatch):
    project, stop = Store.project, threading.Event()

    def refuse(self, session, family, work, fold, remembered=None):
        if work.partition == 0 and work.stop - work.start > 40:
            raise StoreUnavailable("too much")
        return project(self, session, family, work, fold, remembered)

    def go_on() -> None:
        for seed in range(3_000):
            if stop.wait(0.01):
                return
            bench.append([chain_in(1, seed).record(job.Created(SPEC, {}, True), f"b{seed}")])

    monkeypatch.setattr(Store, "project", refuse)
    bench.append([chain_in(0, seed).record(job.Created(SPEC, {}, True), f"a{seed}") for seed in range(150)])
    others = threading.Thread(target=go_on)
    others.start()
    try:
        with bench.live():
            wait_until(lambda: bench._ready() and bench.vector().get(0, 0) >= 150, "partition 0 goes on")
    finally:
        stop.set()
        others.join()


DYING = """
import sys
from darkroom.projector.projections.families import JOBS
from darkroom.projector.store import Store
from darkroom.projector.store_lease import Lease
from darkroom.projector.switching import switch_to
from darkroom.runtime.eventlog.kafka import KafkaLog
kafka, topic, mongodb, database, generation = sys.argv[1:]
store = Store(mongodb, database)
with Lease(store, JOBS, print) as lease:
    switch_to(store, KafkaLog(kafka, topic), topic, JOBS, int(generation), lease)
"""


@pytest.mark.long  # the lease of the dead one has to run out
@pytest.mark.parametrize("failpoint", ["switch-held", "switch-before-alias"])
def test_a_replay_that_dies_while_it_switches_does_not_stop_the_projection(bench, clean_fold, failpoint):
    records = traffic(5, 30, 3)
    bench.append(records[:60])
    with bench.live():
        bench.wait_projected(60)
        generation = bench.begun()
        argv = [sys.executable, "-c", DYING, bench.kafka, bench.log.topic, bench.mongodb, bench.name]
        died = subprocess.run([*argv, str(generation)], env={"DARKROOM_FAILPOINT": failpoint}, timeout=60)
        assert died.returncode == -signal.SIGKILL
        bench.append(records[60:])
        wait_until(lambda: bench.projected() >= len(records), "it goes on", 25)  # MongoDB alone would take 60 s
    assert live_generation(bench.store, JOBS) == 1
    assert bench.checksums() == clean_fold(records)
