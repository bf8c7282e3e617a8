"""Traffic for tests and benchmarks: records as the services would append them, from a seed.

Jobs are created, run, retried, executed again, cancelled and deleted; some events lose a race (void), and some
records are poison. The same seed gives the same records.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from time import monotonic
from uuid import UUID

from darkroom.runtime.eventlog.port import Record
from darkroom.schemas import eventdata, job, model
from darkroom.schemas.chain import Guard, partition_of
from darkroom.schemas.wire import Context, encode

START = datetime(2026, 11, 1, 9, 0, 0, 123456, tzinfo=UTC)
MODEL = job.ModelRef("shapes-classifier", "1", "sha256:" + "a" * 64)
PICTURE = job.Media("sha256:" + "b" * 64, "image/jpeg", 81_234, 640, 480)
SPEC = job.RunSpec(MODEL, (PICTURE, PICTURE), {"top_k": 5}, 60.0, 3)
LOST = job.Problem("urn:darkroom:problem:executor-lost", "The executor was lost", "no sign of life for 15 s")


@dataclass
class Chain:
    """One aggregate's past: appends its events as records, each continuing the last one."""

    key: str
    partitions: int
    time: datetime = START
    version: int = 0
    last_event_id: str = ""
    events: list[job.Event] = field(default_factory=list)

    def record(
        self, event: job.Event | model.ModelEvent, event_id: str, *, void: bool = False, prev_id: str | None = None
    ) -> Record:
        """The next record of this aggregate; a void one states a version that is already taken. Its offset is 0:
        whoever appends it knows better."""
        run, attempt = (0, 0) if isinstance(event, model.ModelEvent) else job.run_and_attempt(event)
        guard = Guard(
            key=self.key,
            event_id=event_id,
            type=eventdata.type_of(event),
            version=self.version if void else self.version + 1,
            prev_id=self.last_event_id if prev_id is None else prev_id,
            command_id=f"c-{event_id}",
            request_hash="h",
            tenant="default",
            run=run,
            attempt=attempt,
        )
        self.time += timedelta(milliseconds=137.5)
        context = Context("urn:darkroom:test", self.time, "test", "corr", "cause")
        key, value, headers = encode(guard, event, context)
        if not void:
            self.version, self.last_event_id = guard.version, event_id
            if not isinstance(event, model.ModelEvent):
                self.events.append(event)
        partition = partition_of(self.key, self.partitions)
        return Record(partition, 0, key, value, headers, int(self.time.timestamp() * 1000))


def wait_until(true: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    """Looks again and again, until a deadline."""
    until = monotonic() + timeout_s
    while not true():
        assert monotonic() < until, f"not within {timeout_s:g} s: {what}"
        threading.Event().wait(0.02)


def results(random: Random) -> tuple[dict[str, object], ...]:
    """Results of a run over two inputs."""
    classes = [{"index": i, "label": f"class-{i}", "score": round(random.random(), 6)} for i in range(3)]
    failed = {"type": "urn:darkroom:problem:picture-broken", "title": "Broken", "detail": "truncated"}
    return {"input": 0, "kind": "classification", "classes": classes}, {"input": 1, "error": failed}


def traffic(seed: int, jobs: int, partitions: int, poison: bool = True) -> list[Record]:
    """The records of `jobs` jobs, interleaved, each with the offset that it gets in an empty topic."""
    random = Random(seed)
    stories = [
        _story(random, UUID(int=random.getrandbits(128), version=4), partitions, poison) for _ in range(jobs)
    ]
    open_stories = list(stories)
    ends = dict.fromkeys(range(partitions), 0)
    records: list[Record] = []
    while open_stories:
        story = random.choice(open_stories[:20])
        record = next(story, None)
        if record is None:
            open_stories.remove(story)
            continue
        partition = record.partition
        offset = ends[partition]
        ends[partition] += 1
        records.append(Record(partition, offset, record.key, record.value, record.headers, record.timestamp_ms))
    return records


def _story(random: Random, id: UUID, partitions: int, poison: bool) -> Iterator[Record]:
    chain = Chain(str(id), partitions, START + timedelta(minutes=random.randrange(300)))
    serial = iter(range(10_000))

    def append(event: job.Event, **more: object) -> Record:
        return chain.record(event, f"{id.hex[:8]}-{next(serial)}", **more)  # type: ignore[arg-type]

    execute = random.random() < 0.9
    yield append(job.Created(SPEC, {"batch": str(random.randrange(3)), "a.b$": "x"}, execute))
    run = 1
    if not execute:
        yield append(job.ExecutionRequested(1, SPEC))
    while True:
        if random.random() < 0.1:
            yield append(job.Cancelled(run), void=True)
        if random.random() < 0.1:
            yield append(job.Cancelled(run))
        else:
            yield from _attempts(random, append, run)
        if poison and random.random() < 0.1:
            yield from _poison(random, append, run)
        if random.random() < 0.7 or chain.version > 60:
            break
        run += 1
        yield append(job.ExecutionRequested(run, SPEC))
    if random.random() < 0.1:
        yield append(job.Deleted(run))


def _attempts(random: Random, append: "object", run: int) -> Iterator[Record]:
    assert callable(append)
    for attempt in range(1, 4):
        yield append(job.ExecutionStarted(run, attempt, f"executor-{attempt}", 15.0))
        if random.random() < 0.2:
            yield append(job.ExecutionProgressed(run, attempt, f"executor-{attempt}", 15.0, 1, 2))
        if random.random() < 0.8:
            timing = {"decode_ms": round(random.random() * 9, 3), "inference_ms": round(random.random() * 30, 3)}
            provenance = {"runtime": {"name": "litert", "version": "2.3.0"}, "host.name$": "x"}
            yield append(job.ExecutionSucceeded(run, attempt, results(random), None, timing, provenance))
            return
        if attempt < 3:
            yield append(job.AttemptExpired(run, attempt, LOST))
    yield append(job.ExecutionFailed(run, 3, LOST))


def _poison(random: Random, append: "object", run: int) -> Iterator[Record]:
    assert callable(append)
    match random.randrange(4):
        case 0:  # an event whose body nobody can read; the chain goes on
            record = append(job.ExecutionProgressed(run, 1, "x", 1.0, 1, 2))
            yield Record(record.partition, 0, record.key, b"{not json", record.headers, 0)
        case 1:  # no guard
            record = append(job.Cancelled(run), void=True)
            yield Record(record.partition, 0, record.key, record.value, [], 0)
        case 2:  # a body that its fold cannot use
            yield append(job.ExecutionProgressed(run + 7, 1, "x", 1.0, 1, 2))
        case _:  # of a job that does not exist
            record = append(job.Cancelled(run), void=True)
            yield Record(record.partition, 0, b"\xff", record.value, record.headers, 0)
