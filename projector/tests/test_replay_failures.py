"""A replay that cannot go on: it says so, and the live read models are as they were."""

import pytest
from bson import ObjectId, encode

from darkroom.projector.projections.families import JOBS
from darkroom.projector.replay import Address, Effort, Mode, replay
from darkroom.projector.replaying import develop as developing
from darkroom.projector.replaying.crew import Crew
from darkroom.projector.replaying.pace import FLOOR_PER_S, LAG_GROWTH_EVENTS_MAX
from darkroom.projector.store_bulk import Inserter
from darkroom.projector.store_generations import alias_of
from darkroom.projector.store_lease import Lease
from darkroom.projector.store_snapshot import Snapshot, SnapshotTooOld
from darkroom.projector.testing import traffic
from darkroom.runtime.eventlog.memory import MemoryLog
from darkroom.schemas.errors import LogUnavailable, StoreUnavailable


@pytest.fixture
def projected(bench):
    bench.append(records := traffic(41, 40, 3))
    with bench.live():
        bench.wait_projected(len(records))
    return records


def run(bench, mode, tell=lambda _: None, effort=Effort(), store=None):  # noqa: B008 - it cannot change
    return replay(store or bench.store, bench.log, bench.log.topic, JOBS, mode, tell, lambda _: None, effort)


def raising(error: BaseException):
    def call(*_: object, **__: object) -> None:
        raise error

    return call


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ("darkroom.projector.store_bulk.Inserter.add", StoreUnavailable("away")),
        ("darkroom.projector.replaying.partitions.stretch", LogUnavailable("silent")),
        ("darkroom.projector.store_snapshot.Snapshot.documents", SnapshotTooOld("too old")),
        ("darkroom.projector.shelf.Spill", OSError(28, "no room")),
        ("darkroom.projector.replay.make_indexes", StoreUnavailable("away")),
        ("darkroom.projector.replay.switch_to", KeyboardInterrupt()),
    ],
)
def test_whatever_goes_wrong_leaves_nothing_behind(bench, projected, monkeypatch, where, error):
    before = bench.checksums()
    with monkeypatch.context() as patched:
        patched.setattr(where, raising(error))
        with pytest.raises(type(error)) as raised:
            run(bench, Mode.SWITCH, effort=Effort(memory_size_bytes=0))
    assert raised.value is error
    alias = alias_of(bench.store, JOBS)
    assert (alias["live"], alias["kept"], alias["building"]) == (1, [], None)
    assert not [n for n in bench.store.database.list_collection_names() if n.endswith("_g2")]
    assert bench.store.database["replays"].find_one() is None
    assert bench.checksums() == before
    assert run(bench, Mode.SWITCH).switched


@pytest.mark.parametrize("workers", [None, 2])
def test_an_interruption_ends_everybody(bench, projected, workers):
    def interrupt(_):
        raise KeyboardInterrupt

    effort = Effort(workers, per_s_max=50.0, address=Address(bench.kafka, bench.mongodb, bench.name))
    with pytest.raises(KeyboardInterrupt):
        run(bench, Mode.SWITCH, interrupt, effort)
    assert alias_of(bench.store, JOBS)["building"] is None
    assert run(bench, Mode.CHECK).equal


def test_a_lost_lease_ends_it(bench, projected, monkeypatch):
    monkeypatch.setattr(Lease, "check", raising(StoreUnavailable("MongoDB was away for too long")))
    with pytest.raises(StoreUnavailable, match="too long"):
        run(bench, Mode.SWITCH, effort=Effort(per_s_max=50.0))
    assert alias_of(bench.store, JOBS)["live"] == 1


def test_examples_of_a_moment_that_is_gone_say_so(bench, projected, monkeypatch):
    bench.store.database["jobs_g1"].update_one({}, {"$set": {"status": "?"}})
    monkeypatch.setattr(Snapshot, "document", raising(SnapshotTooOld("it is gone")))
    (found,) = [c for c in run(bench, Mode.CHECK).comparisons if not c.equal]
    assert found.changed == 1
    assert [e.what for e in found.examples] == ["differs (how, can no longer be told: it is gone)"]


def test_documents_that_nobody_folds_are_too_many(bench, projected):
    for read_model, id in (("jobs", ObjectId()), ("stats", "no partition"), ("history", "none"), ("runs", 7)):
        bench.store.database[f"{read_model}_g1"].insert_one({"_id": id})
    report = run(bench, Mode.DRY_RUN)
    assert {c.read_model: (c.extra, c.missing, c.changed) for c in report.comparisons} == {
        m: (0 if m == "jobs_quarantine" else 1, 0, 0) for m in JOBS.read_models
    }
    assert run(bench, Mode.REPAIR).switched
    assert run(bench, Mode.CHECK).equal


def test_leftovers_of_the_dead_are_dropped(bench, projected):
    bench.store.database["jobs_g9"].insert_one({"_id": "left over"})
    bench.store.database["jobs_gone"].insert_one({"_id": "another thing"})
    assert run(bench, Mode.SWITCH).switched
    names = bench.store.database.list_collection_names()
    assert "jobs_g9" not in names
    assert {"jobs_g1", "jobs_g2", "jobs_gone"} <= set(names)


def test_goes_slower_while_the_live_projector_falls_behind():
    log = MemoryLog(2)
    for record in traffic(42, 200, 2):
        log.append(record.partition, record.key, record.value, record.headers)
    vector = {p: log.end_offset(p, 1.0) for p in (0, 1)}
    lags = iter([0, *[LAG_GROWTH_EVENTS_MAX + 1] * 1000])
    told = []

    class Watch:
        due = True

        def look(self) -> int:
            return next(lags)

    with Crew(log, "t", JOBS, vector, Effort()) as crew:
        developing.develop(crew, None, 2 * FLOOR_PER_S, Watch(), lambda: None, told.append)
        assert crew.folded_events == sum(vector.values())
    held = [m for m in told if m.why == "the live projector is behind"]
    assert held[-1].held_to_per_s == FLOOR_PER_S
    assert told[-1].done == told[-1].total == sum(vector.values())


def test_only_part_of_a_family_can_be_rebuilt(bench, projected):
    alone = JOBS.only("jobs")
    report = replay(
        bench.store,
        bench.log,
        bench.log.topic,
        alone,
        Mode.CHECK,
        lambda _: None,
        lambda _: None,
        Effort(2, address=Address(bench.kafka, bench.mongodb, bench.name)),
    )
    assert [(c.read_model, c.equal) for c in report.comparisons] == [("jobs", True)]


def test_what_cannot_be_inserted_is_raised(bench):
    inserter = Inserter(bench.store)
    inserter.__enter__()
    for _ in range(2):
        inserter.add("twice", encode({"_id": 1}))
    with pytest.raises(StoreUnavailable, match="E11000"):
        inserter.__exit__(None)
