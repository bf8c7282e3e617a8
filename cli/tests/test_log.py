"""`darkroom log` on a real broker: into files, into new topics, and what is made from either is the same."""

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from darkroom.cli.main import app
from darkroom.projector.catchup import catch_up
from darkroom.projector.checksum import Checksum, checksum
from darkroom.projector.projections.families import JOBS
from darkroom.projector.reading import stretch
from darkroom.projector.replay import Mode, replay
from darkroom.projector.shelf import Shelf
from darkroom.projector.store import Store
from darkroom.projector.store_generations import FIRST, ensure
from darkroom.projector.testing import Chain, traffic
from darkroom.runtime.archive.reading import records_of
from darkroom.runtime.blobs import digest_of, open_blobs
from darkroom.runtime.eventlog.kafka import TRUTH, KafkaLog, TopicSpec, ensure_topics
from darkroom.runtime.eventlog.port import Record
from darkroom.runtime.settings import read_settings
from darkroom.schemas import job, model

PARTITIONS = 3
TIMEOUT_S = 30.0

Run = Callable[..., Result]


@pytest.fixture
def darkroom(kafka: str, unique_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Calls `darkroom …` with the topics of `on` (whose end is a name of ours), and expects that exit code."""

    def run(*arguments: str, on: str, code: int = 0) -> Result:
        monkeypatch.setenv("DARKROOM_KAFKA", kafka)
        monkeypatch.setenv("DARKROOM_BLOBS", f"file://{tmp_path}/blobs")
        monkeypatch.setenv("DARKROOM_TOPIC_JOBS", f"{unique_name}-jobs-{on}")
        monkeypatch.setenv("DARKROOM_TOPIC_MODELS", f"{unique_name}-models-{on}")
        result = CliRunner().invoke(app, ["log", *arguments])
        assert result.exit_code == code, result.output
        return result

    return run


@pytest.fixture
def logs(kafka: str, unique_name: str) -> Iterator[Callable[[str], dict[str, KafkaLog]]]:
    """The two logs of a name, whose topics are made if they are missing."""
    opened: list[KafkaLog] = []

    def open_both(on: str) -> dict[str, KafkaLog]:
        found = {}
        for name, partitions in (("jobs", PARTITIONS), ("models", 1)):
            topic = f"{unique_name}-{name}-{on}"
            ensure_topics(kafka, [TopicSpec(topic, partitions, 1, TRUTH)], TIMEOUT_S)
            found[name] = KafkaLog(kafka, topic)
            opened.append(found[name])
        return found

    yield open_both
    for log in opened:
        log.close(1.0)


def append(log: KafkaLog, records: list[Record]) -> None:
    acks = [log.append(r.partition, r.key, r.value, r.headers, r.timestamp_ms) for r in records]
    for ack in acks:
        ack.result(TIMEOUT_S)


def everything(log: KafkaLog) -> list[tuple[object, ...]]:
    """All that stands in a log."""
    return [
        (r.partition, r.offset, r.key, r.value, r.headers, r.timestamp_ms)
        for partition in range(log.partitions)
        for r in records_of(log, partition, 0, log.end_offset(partition, TIMEOUT_S))
    ]


def folded(log: KafkaLog) -> dict[str, Checksum]:
    """The checksum of each read model of jobs, folded from a log."""
    shelves = []
    for partition in range(log.partitions):
        shelf = Shelf()
        for batch in stretch(log, partition, 0, log.end_offset(partition, TIMEOUT_S)):
            shelf.take(JOBS.fold("t", log.partitions, batch, shelf.load))
        shelves.append(shelf)
    return {m: checksum(d for s in shelves for _, d in s.encoded(m)) for m in JOBS.read_models}


def replayed(mongodb: str, database: str, log: KafkaLog) -> dict[str, Checksum]:
    """The checksum of each read model of jobs after a replay over a log, in a database of its own."""
    store = Store(mongodb, database)
    try:
        ensure(store, JOBS, log.topic, log.topic_id, log.partitions)
        with store.session() as session:
            for partition, progress in store.progress(JOBS, log.topic, range(log.partitions)).items():
                end = log.end_offset(partition, TIMEOUT_S)
                catch_up(store, session, log, JOBS, log.topic, FIRST, partition, progress, end)
        report = replay(store, log, log.topic, JOBS, Mode.SWITCH, lambda _: None, print)
        assert (report.equal, report.switched) == (True, True)
        return {comparison.read_model: comparison.rebuilt for comparison in report.comparisons}
    finally:
        store.client.drop_database(database)
        store.close()


def test_a_restored_log_is_the_same_log(
    darkroom: Run, logs, tmp_path: Path, mongodb: str, unique_name: str
) -> None:
    old = logs("old")
    records = traffic(1, 40, PARTITIONS)
    half = len(records) // 2
    append(old["jobs"], records[:half])
    append(old["jobs"], [Record(1, 0, None, None, [("x", b"\xff"), ("x", b"")], 5), Record(1, 0, b"", b"", [], 1)])
    folder = str(tmp_path / "archive")
    assert f"{half + 2} events written" in darkroom("export", folder, on="old").output
    append(old["jobs"], records[half:])
    assert f"{len(records) - half} events written" in darkroom("export", folder, on="old").output
    assert "every record stands in the log" in darkroom("verify", folder, "--against-log", on="old").output
    own = darkroom("restore", folder, on="old", code=2)
    assert "this is the log that was archived: nothing to restore" in own.output
    result = darkroom("restore", folder, on="new")
    assert f"{len(records) + 2} events restored, each compared" in result.output
    assert "-jobs-new and " in result.output
    assert "drop the database" in result.output
    new = logs("new")
    assert everything(new["jobs"]) == everything(old["jobs"])
    assert folded(new["jobs"]) == folded(old["jobs"])
    before, after = (replayed(mongodb, unique_name, log["jobs"]) for log in (old, new))
    quarantined = (before.pop("jobs_quarantine"), after.pop("jobs_quarantine"))  # its documents name their topic
    assert quarantined[0].count == quarantined[1].count > 0
    assert before == after
    assert "0 events restored" in darkroom("restore", folder, on="new").output
    assert "another log needs an archive of its own" in darkroom("export", folder, on="new", code=2).output
    append(new["jobs"], [Record(0, 0, b"k", b"v", [], 5)])
    assert "not empty" in darkroom("restore", folder, on="new", code=2).output


def test_files_can_be_read_without_darkroom_and_checked_without_a_broker(darkroom, logs, tmp_path) -> None:
    append(logs("old")["jobs"], [Record(2, 0, b"key", '{"text": "ä"}'.encode(), [("a", b"\xff")], 77)])
    darkroom("export", str(tmp_path / "archive"), on="old")
    (file,) = (tmp_path / "archive").rglob("*.jsonl.gz")
    assert file.relative_to(tmp_path / "archive").parts[:2] == ("jobs", "p2")
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        assert [json.loads(line) for line in lines] == [
            {
                "offset": 0,
                "timestamp_ms": 77,
                "key": "key",
                "headers": [["a", {"base64": "/w=="}]],
                "value": '{"text": "ä"}',
            }
        ]
    assert "1 of jobs, 0 of models" in darkroom("verify", str(tmp_path / "archive"), on="nothing").output
    file.write_bytes(file.read_bytes()[:-1])
    damaged = darkroom("verify", str(tmp_path / "archive"), on="nothing", code=1).output
    assert f"{file} has" in damaged


def digest(name: str) -> str:
    return digest_of(name.encode())


def story(chain: Chain, *pictures: str, execute: bool = True, **more: bool) -> Record:
    """The record of a job over pictures of these names."""
    media = tuple(job.Media(digest(p), "image/png", 9, 3, 3) for p in pictures)
    spec = job.RunSpec(job.ModelRef("m", "1", digest("model")), media, {}, 9.0, 1)
    return chain.record(job.Created(spec, {}, execute), f"e-{chain.key}", **more)


def test_blobs_are_listed_by_digest_with_what_is_missing(
    darkroom: Run, logs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deleted jobs have released theirs, void events never named any, and what nobody can read is counted."""
    old = logs("old")
    kept, deleted, torn = (Chain(f"0000000{n}-0000-4000-8000-000000000000", PARTITIONS) for n in range(3))
    blob = job.BlobRef(digest("results"), 7)
    records = [
        story(kept, "one", "two"),
        story(kept, "of a void event", void=True),
        kept.record(job.ExecutionStarted(1, 1, "x", 9.0), "e-s"),
        kept.record(job.ExecutionSucceeded(1, 1, (), blob, {}, {}), "e-r"),
        story(deleted, "two", "released"),
        deleted.record(job.Deleted(1), "e-d"),
        replace(story(torn, "nobody knows"), value=b"{"),
    ]
    append(old["jobs"], records)
    description = model.Description("m", "1", "classification", "litert", {}, {}, {}, {}, {})
    described = replace(description, artifact={"digest": digest("model")}, labels={"digest": digest("labels")})
    append(old["models"], [Chain("m", 1).record(model.Registered(described), "e-m")])
    blobs = open_blobs(replace(read_settings(), blobs=f"file://{tmp_path}/blobs"))
    for name in ("one", "two", "model", "labels"):
        blobs.put(name.encode())
    expected = {
        digest("one"): ("present", ["input"], 1),
        digest("two"): ("present", ["input"], 1),
        digest("results"): ("missing", ["results"], 1),
        digest("released"): ("released", ["input"], 0),
        digest("model"): ("present", ["model"], 2),
        digest("labels"): ("present", ["labels"], 1),
    }
    folder = str(tmp_path / "archive")
    summary = darkroom("export", folder, on="old").output
    assert (
        "names 5 blobs, which are not in it (and 1 of deleted jobs); 1 unreadable events may name more" in summary
    )
    listed = [json.loads(line) for line in (tmp_path / "archive/blobs.jsonl").read_text().splitlines()]
    assert {b["digest"]: (b["kinds"], b["named_by"]) for b in listed} == {d: e[1:] for d, e in expected.items()}
    for source, on in (((), "old"), ((folder,), "nothing")):
        monkeypatch.setattr("darkroom.runtime.archive.blobs._HELD_MAX", 2)  # the same, through the disk
        result = darkroom("blobs", *source, "--json", on=on, code=1)
        found = [json.loads(line) for line in result.stdout.splitlines()]
        assert {b["digest"]: (b["state"], b["kinds"], b["named_by"]) for b in found} == expected
        assert result.stderr.splitlines() == [
            "4 present, 1 missing, 1 released",
            "1 unreadable events may name more",
        ]
    only = darkroom("blobs", folder, "--missing", on="nothing", code=1).stdout
    assert only.split() == [digest("results"), "missing", "results", "named", "by", "1"]
    blobs.put(b"results")
    assert darkroom("blobs", folder, "--missing", on="nothing").stdout == ""


def test_a_topic_with_other_partitions_is_refused(darkroom: Run, logs, kafka: str, unique_name, tmp_path) -> None:
    logs("old")
    darkroom("export", str(tmp_path / "archive"), on="old")
    ensure_topics(kafka, [TopicSpec(f"{unique_name}-jobs-few", 2, 1, TRUTH)], TIMEOUT_S)
    result = darkroom("restore", str(tmp_path / "archive"), on="few", code=2)
    assert "has 2 partitions" in result.output
