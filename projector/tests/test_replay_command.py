"""`darkroom replay` as a user runs it, on a projector's database."""

import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from darkroom.cli.main import app
from darkroom.projector.past import Past
from darkroom.projector.projections.families import JOBS, MODELS
from darkroom.projector.store import Store
from darkroom.projector.store_generations import alias_of, begin, ensure, live_generation
from darkroom.projector.store_lease import Lease
from darkroom.projector.store_past import pasts_of
from darkroom.projector.testing import traffic, wait_until
from darkroom.runtime.eventlog.kafka import TopicSpec, ensure_topics
from darkroom.runtime.ids import Position, Vector


@pytest.fixture
def darkroom(bench, monkeypatch):
    """Runs the command in this process."""
    for name, value in (bench.environment | {"COLUMNS": "200"}).items():
        monkeypatch.setenv(name, value)
    return lambda *arguments: CliRunner().invoke(app, ["replay", *arguments])


@pytest.fixture
def projected(bench):
    """A bench with records, projected, and a catalogue that is empty."""
    bench.append(records := traffic(20, 30, 3))
    ensure(bench.store, MODELS, bench.models.topic, bench.models.topic_id, 1)
    with bench.live():
        bench.wait_projected(len(records))
    return records


def ends_of(bench) -> dict[int, int]:
    return {p: bench.log.end_offset(p, 5.0) for p in range(bench.log.partitions)}


def test_replays_piped_with_a_projector_beside_it(bench):
    bench.append(records := traffic(20, 30, 3))
    process = bench.process()
    bench.wait_projected(len(records))
    wait_until(lambda: bench.store.checkpoints.find_one({"family": "models"}) is not None, "the catalogue, too")
    argv = [sys.executable, "-m", "darkroom.cli", "replay", "--workers", "2"]
    ran = subprocess.run(
        argv, env=bench.environment | {"COLUMNS": "200"}, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    assert f"{len(records)} events in" in ran.stdout
    assert "by 2 processes" in ran.stdout
    assert ran.stdout.count("switched to generation 2") == 2
    assert "\x1b" not in ran.stdout
    process.terminate()
    assert process.wait(10) == 0


def test_checks_shows_repairs_and_rebuilds(bench, darkroom, projected):
    checked = darkroom("--check")
    assert (checked.exit_code, checked.stdout.count("equal the log")) == (0, 2), checked.output

    altered = bench.store.database["jobs_g1"].find_one({})["_id"]
    bench.store.database["jobs_g1"].update_one({"_id": altered}, {"$set": {"status": "?"}})
    wrong = darkroom("jobs", "--check")
    assert wrong.exit_code == 1
    assert altered in wrong.stdout
    assert "status: '?' is " in wrong.stdout
    assert "a replay would change this; nothing was written" in darkroom("jobs", "--dry-run").stdout
    assert "not switched" in darkroom("jobs").stdout
    assert live_generation(bench.store, JOBS) == 1

    one = darkroom("--job", altered)
    assert (one.exit_code, "statistics" in one.stdout) == (0, True), one.output
    assert darkroom("jobs", "--check").exit_code == 0


def test_goes_back_and_forth_and_prunes(bench, darkroom, projected):
    nowhere = darkroom("jobs", "--rollback")
    assert (nowhere.exit_code, "no generation of jobs" in nowhere.stderr) == (2, True), nowhere.output
    assert darkroom("jobs").exit_code == 0
    for generation in (1, 2):
        back = darkroom("jobs", "--rollback")
        assert back.exit_code == 0, back.output
        assert f"went back to generation {generation}" in back.stdout
        assert live_generation(bench.store, JOBS) == generation
    assert begin(bench.store, JOBS) == 3  # as one that was killed leaves it
    pruned = darkroom("--prune")
    assert "jobs: dropped generation 3, which nobody builds any more" in pruned.stdout
    assert "jobs: dropped generation 1" in pruned.stdout
    assert "models: nothing to drop" in pruned.stdout
    assert not [n for n in bench.store.database.list_collection_names() if n.endswith("_g3")]
    assert not [n for n in bench.store.database.list_collection_names() if n.endswith("_g1") and "models" not in n]
    assert darkroom("jobs", "--rollback").exit_code == 2
    assert darkroom("jobs", "--check").exit_code == 0


@pytest.mark.parametrize("arguments", [["--check"], ["--rollback"], ["--prune"], ["--job", "x"]])
def test_a_database_without_read_models_is_refused(bench, darkroom, arguments):
    refused = darkroom(*arguments)
    assert (refused.exit_code, "has a projector run?" in refused.stderr) == (2, True), refused.output
    assert bench.store.database.list_collection_names() == []


def test_a_replay_that_is_stopped_leaves_nothing(bench, darkroom, projected, monkeypatch):
    """SIGTERM, as from a supervisor: what is half built goes."""
    terminate = signal.raise_signal
    monkeypatch.setattr("darkroom.projector.replay.make_indexes", lambda *_: terminate(signal.SIGTERM))
    stopped = darkroom("jobs")
    assert (stopped.exit_code, "stopped; nothing was changed" in stopped.stdout) == (130, True), stopped.output
    alias = alias_of(bench.store, JOBS)
    assert (alias["live"], alias["kept"], alias["building"]) == (1, [], None)
    assert not [n for n in bench.store.database.list_collection_names() if n.endswith("_g2")]


def test_builds_the_past_beside_the_present(bench, darkroom, projected, clean_fold):
    last_ms = max(bench.log.read_one(p, n - 1, 5.0).timestamp_ms for p, n in ends_of(bench).items() if n)
    moment = datetime.fromtimestamp((last_ms + 1) / 1000, UTC)
    wait_until(lambda: datetime.now(UTC) > moment + timedelta(milliseconds=1), "a moment later")
    before = ends_of(bench)
    bench.append(bench.at_the_end_of(projected, traffic(21, 10, 3)))
    with bench.live("again"):
        bench.wait_projected(sum(ends_of(bench).values()))
    present = bench.checksums()
    partition = next(p for p, n in before.items() if n)
    tokens = {
        moment.isoformat(): projected,
        Vector(bench.log.topic_id, tuple(before.values())).token(): projected,
        Position(bench.log.topic_id, partition, before[partition] - 1).token(): None,
    }
    for text, records in tokens.items():
        for _ in range(2):  # built again, it is built anew
            built = darkroom("--as-of", text)
            assert built.exit_code == 0, built.output
        (name,) = pasts_of(bench.store)
        assert f"database {name}: " in built.stdout
        assert f"DARKROOM_MONGODB_DATABASE={name} " in built.stdout
        past = Store(bench.mongodb, name)
        try:
            if records is not None:
                assert replace(bench, store=past).checksums(1) == clean_fold(records)
                assert f"jobs: {', '.join(f'{n} {s}' for s, n in by_status(past))}" in built.stdout
            (alias,) = past.generations.find({"_id": "jobs"})
            assert (alias["live"], alias["building"]) == (1, None)
            stands = {c["partition"]: c["next"] for c in past.checkpoints.find({"family": "jobs"})}
            assert stands[partition] == before[partition]
            assert stands == before or records is None
        finally:
            past.close()
        assert f"database {name} holds a moment of the past" in darkroom("--prune").stdout
        assert f"dropped database {name}" in darkroom("--as-of", text, "--drop").stdout
        assert pasts_of(bench.store) == []
    assert bench.checksums() == present
    none = darkroom("--as-of", text, "--drop")
    assert (none.exit_code, "there is no database" in none.stderr) == (2, True)


def by_status(past: Store) -> list[tuple[str, int]]:
    found = past.database["jobs_g1"].aggregate([{"$group": {"_id": "$status", "n": {"$sum": 1}}}])
    return sorted((d["_id"], d["n"]) for d in found)


def test_a_past_that_was_not_finished_is_never_seen(bench, darkroom, projected, monkeypatch):
    def dies(*_: object) -> Past:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("darkroom.projector.past.finish_past", dies)
        darkroom("--as-of", (text := datetime.now(UTC).isoformat()))
    (name,) = pasts_of(bench.store)
    past = Store(bench.mongodb, name)
    assert past.generations.find_one() is None
    past.close()
    assert darkroom("--as-of", text).exit_code == 0
    assert darkroom("--as-of", text, "--drop").exit_code == 0


def test_what_cannot_be_is_refused_and_nothing_is_touched(bench, darkroom, projected):
    before = state_of(bench)
    beyond = Position(bench.log.topic_id, 0, 10**6).token()
    refusals = {
        ("nonsense",): "the read models are jobs, runs",
        ("--job", "nobody"): "holds no job nobody",
        ("--check", "--repair"): "give one of --dry-run",
        ("--as-of", "2026-11-22T12:00:00Z", "--rollback"): "give one of --dry-run",
        ("--drop",): "say which one with --as-of",
        ("jobs", "--job", "x"): "name no read models",
        ("--as-of", "soon"): "neither a time like",
        ("--as-of", "2999-01-01T00:00:00Z"): "is in the future",
        ("--as-of", "1999-01-01T00:00:00Z"): "there is no event before",
        ("--as-of", beyond): "beyond the end",
        ("--as-of", Position("elsewhere", 0, 0).token()): "in another topic",
        ("--workers", "0"): "Invalid value for '--workers'",
        ("--memory", "-1"): "Invalid value for '--memory'",
        ("--max-rate", "0"): "Invalid value for '--max-rate'",
    }
    for arguments, said in refusals.items():
        refused = darkroom(*arguments)
        assert refused.exit_code == 2, (arguments, refused.output)
        assert said in refused.stderr.replace("\n", " "), (arguments, refused.stderr)
    with Lease(bench.store, JOBS, print):
        for arguments in (("jobs",), ("jobs", "--prune")):
            refused = darkroom(*arguments)
            assert (refused.exit_code, "another replay of jobs is under way" in refused.stderr) == (2, True)
    assert state_of(bench) == before


def test_a_log_that_is_another_one_is_refused(bench, darkroom, projected, monkeypatch):
    before = state_of(bench)
    for partitions, said in ((2, "has the id"), (3, "has the id")):
        other = f"{bench.name}-{uuid4().hex[:6]}"
        ensure_topics(bench.kafka, [TopicSpec(other, partitions, 1)], 30.0)
        monkeypatch.setenv("DARKROOM_TOPIC_JOBS", other)
        for arguments in (("jobs",), ("jobs", "--check")):
            refused = darkroom(*arguments)
            assert (refused.exit_code, said in refused.stderr) == (2, True), refused.output
    monkeypatch.setenv("DARKROOM_TOPIC_JOBS", bench.log.topic)
    end = ends_of(bench)[0]
    jobs = {"family": "jobs", "partition": 0}
    for changed, said in (
        ({"next": end + 1}, "the log has lost events or is another one"),
        ({"partition": 7}, "checkpoint for partition 7"),
    ):
        (kept,) = bench.store.checkpoints.find(jobs)
        bench.store.checkpoints.update_one(jobs, {"$set": changed})
        refused = darkroom("jobs")
        assert (refused.exit_code, said in refused.stderr) == (2, True), refused.output
        bench.store.checkpoints.replace_one({"_id": kept["_id"]}, kept)
    assert state_of(bench) == before


def state_of(bench) -> tuple[object, ...]:
    """All that a refused command might have touched."""
    database = bench.store.database
    return (
        sorted(set(database.list_collection_names()) - {"replays"}),
        bench.checksums(),
        list(bench.store.generations.find()),
        [c["next"] for c in bench.store.checkpoints.find().sort("_id")],
        pasts_of(bench.store),
        list(database["replays"].find()),
    )
