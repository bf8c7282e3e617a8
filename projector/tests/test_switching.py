"""Switching generations: gaps are closed, nobody is left behind, and the way back is open."""

import pytest

from darkroom.projector import switching
from darkroom.projector.projections.families import JOBS
from darkroom.projector.store_generations import alias_of, live_generation, prune
from darkroom.projector.store_lease import Lease
from darkroom.projector.switching import roll_back, switch_to
from darkroom.projector.testing import traffic, wait_until


def switch(bench, generation: int) -> None:
    with Lease(bench.store, JOBS, print) as lease:
        switch_to(bench.store, bench.log, bench.log.topic, JOBS, generation, lease)


def test_closes_the_gap_itself_where_no_projector_does(bench, clean_fold):
    records = traffic(17, 30, 3)
    bench.append(records)
    with bench.live():
        bench.wait_projected(len(records))
    generation = bench.begun()
    switch(bench, generation)
    assert live_generation(bench.store, JOBS) == generation
    assert bench.checksums(generation) == clean_fold(records)
    assert all("held_until" not in c for c in bench.store.checkpoints.find())


def test_switches_and_goes_back_under_traffic(bench, clean_fold, monkeypatch):
    monkeypatch.setattr(switching, "LAST_GAP_EVENTS_MAX", 20)
    records = traffic(30, 120, 3)
    bench.append(records[:200])
    with bench.live() as live:
        bench.wait_projected(200)
        with bench.traffic_on(records[200:], pause_s=0.005):
            generation = bench.begun()
            switch(bench, generation)
            assert alias_of(bench.store, JOBS)["kept"] == [1]
            assert roll_back(bench.store, bench.log, bench.log.topic, JOBS) == 1
            assert alias_of(bench.store, JOBS)["kept"] == [generation]
            assert roll_back(bench.store, bench.log, bench.log.topic, JOBS) == generation
        for carried in (1, generation):
            bench.wait_projected(len(records), carried)
        assert live.why_not_ready is None
        assert bench.checksums(generation) == bench.checksums(1) == clean_fold(records)
        assert prune(bench.store, JOBS) == [1]
        assert "jobs_g1" not in bench.store.database.list_collection_names()
        bench.append(more := traffic(31, 5, 3))
        bench.wait_projected(len(records) + len(more))
    with pytest.raises(ValueError, match=r"no generation of jobs, .* to go back to"):
        roll_back(bench.store, bench.log, bench.log.topic, JOBS)


def test_a_hold_ends_by_itself(bench, clean_fold, monkeypatch):
    records = traffic(32, 20, 3)
    bench.append(records[:40])
    with bench.live():
        bench.wait_projected(40)
        switching.hold(bench.store, JOBS, 1.5)
        bench.append(records[40:])
        wait_until(lambda: bench.projected() == 40, "nobody moves")
        bench.wait_projected(len(records))
    assert bench.checksums() == clean_fold(records)


def test_a_generation_of_other_folds_is_not_carried_and_not_gone_back_to(bench, clean_fold, monkeypatch):
    monkeypatch.setattr(switching, "_HOLD_S", 0.3)
    records = traffic(33, 20, 3)
    bench.append(records[:40])
    with bench.live():
        bench.wait_projected(40)
    generation = bench.begun()
    switch(bench, generation)
    bench.store.checkpoints.update_many({"generation": 1}, {"$set": {"folds": "of another version"}})
    bench.store.generations.update_one({"_id": "jobs"}, {"$set": {"fold_versions.1.jobs": 0}})
    left = bench.checksums(1)
    with bench.live():
        bench.append(records[40:])
        bench.wait_projected(len(records))
    assert bench.checksums() == clean_fold(records)
    assert bench.projected(1) == 40
    assert bench.checksums(1) == left
    with pytest.raises(ValueError, match=r"events behind the live one, .* start a projector of the version"):
        roll_back(bench.store, bench.log, bench.log.topic, JOBS)
    assert live_generation(bench.store, JOBS) == generation
    assert all("held_until" not in c for c in bench.store.checkpoints.find({"generation": generation}))
