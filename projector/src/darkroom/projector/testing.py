"""Traffic for tests and benchmarks: records as the services would append them, from a seed.

Jobs are created, run, retried, executed again, cancelled and deleted; some events lose a race (void), and some
records are poison. The same seed gives the same records. `traffic` encodes each event; `bulk_traffic` encodes some
hundred stories once and gives them to ever new jobs, for logs of a million events.
"""

import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random
from time import monotonic
from typing import Any
from uuid import UUID
from zlib import crc32

import bson
from bson.codec_options import CodecOptions

from darkroom.projector.projections.families import Changes
from darkroom.runtime.eventlog.port import Record
from darkroom.schemas import eventdata, job, model
from darkroom.schemas.chain import Guard, partition_of
from darkroom.schemas.wire import Context, Headers, encode

Document = dict[str, Any]
_CODEC: CodecOptions[Document] = CodecOptions(tz_aware=True, tzinfo=UTC)
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


class Kept:
    """The documents of one partition, each passed through BSON whenever it changes, as MongoDB would hold them."""

    def __init__(self) -> None:
        self._documents: dict[str, dict[str, bytes]] = {}

    def load(self, read_model: str, ids: Collection[str]) -> Mapping[str, Document]:
        """The documents that exist."""
        known = self._documents.get(read_model, {})
        return {id: bson.decode(known[id], _CODEC) for id in ids if id in known}

    def take(self, changes: Changes) -> None:
        """Applies what a batch changed. Raises what `bson.encode` does."""
        for read_model, documents in changes.put.items():
            known = self._documents.setdefault(read_model, {})
            known.update((id, bson.encode(document)) for id, document in documents.items())
        for read_model, ids in changes.removed.items():
            for id in ids:
                self._documents.get(read_model, {}).pop(id, None)
        for id, entries in changes.appended.items():
            (chunk,) = self.load("history", [id]).values()
            chunk["entries"] += entries
            chunk["last"] = entries[-1]["offset"]
            self._documents["history"][id] = bson.encode(chunk)

    def documents(self, read_model: str) -> list[Document]:
        """Every document, in the order of its first appearance."""
        return list(self.load(read_model, list(self._documents.get(read_model, {}))).values())

    def encoded(self, read_model: str) -> Iterator[bytes]:
        """Every document as BSON."""
        yield from self._documents.get(read_model, {}).values()


def results(random: Random) -> tuple[dict[str, object], ...]:
    """Results of a run over two inputs."""
    classes = [{"index": i, "label": f"class-{i}", "score": round(random.random(), 6)} for i in range(3)]
    failed = {"type": "urn:darkroom:problem:picture-broken", "title": "Broken", "detail": "truncated"}
    return {"input": 0, "kind": "classification", "classes": classes}, {"input": 1, "error": failed}


@dataclass(frozen=True, slots=True)
class Mix:
    """How often what happens in a story, each from 0 to 1. `succeeded` is per attempt, `again` per run."""

    executed: float = 0.9
    void: float = 0.1
    cancelled: float = 0.1
    progressed: float = 0.2
    succeeded: float = 0.8
    poison: float = 0.1
    again: float = 0.3
    deleted: float = 0.1


ROUGH = Mix()
"""Much of all that can happen: for tests."""
CALM = Mix(0.95, 0.01, 0.02, 0.4, 0.96, 0.0, 0.02, 0.02)
"""What a service in use sees, 3.6 events a job: for benchmarks."""


def traffic(seed: int, jobs: int, partitions: int, poison: bool = True) -> list[Record]:
    """The records of `jobs` jobs, interleaved, each with the offset that it gets in an empty topic."""
    random, mix = Random(seed), ROUGH if poison else replace(ROUGH, poison=0.0)
    stories = [_story(random, UUID(int=random.getrandbits(128), version=4), partitions, mix) for _ in range(jobs)]
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
        records.append(replace(record, offset=offset))
    return records


_STORIES = 500
_OPEN_MAX = 100
_WAITING_MAX = 500
_HOLE = UUID("abababab-abab-4bab-8bab-abababababff")
_HOLE_KEY, _HOLE_IDS, _HOLE_MINUTE = str(_HOLE).encode(), str(_HOLE)[:-2].encode(), b"T09:00:"
_JOBS_PER_MINUTE = 300

Told = tuple[bytes | None, bytes | None, Headers, int]
"""Key, value, headers and timestamp_ms of one record of a story."""


def bulk_traffic(seed: int, events: int, partitions: int, mix: Mix = CALM) -> Iterator[Record]:
    """So many records, interleaved, with the offsets that they get in an empty topic; more than 100,000 a second.
    A job that is executed again waits until 500 others do, so that its past has long come to rest."""
    random = Random(seed)
    stories = [list(_story(random, _HOLE, 1, mix, START)) for _ in range(_STORIES)]
    new = (_retold(random.choice(stories), random.getrandbits(112), number) for number in count())
    open_stories = [next(new) for _ in range(_OPEN_MAX)]
    waiting: deque[tuple[int, Iterator[Told | None]]] = deque()
    ends = [0] * partitions
    while events:
        at = int(random.random() * _OPEN_MAX)
        hash, story = open_stories[at]
        for told in story:
            if told is not None:
                partition = hash % partitions
                yield Record(partition, ends[partition], *told)
                ends[partition] += 1
                events -= 1
                break
            waiting.append((hash, story))
            open_stories[at] = next(new)
            break
        else:
            open_stories[at] = waiting.popleft() if len(waiting) > _WAITING_MAX else next(new)


def _retold(story: Sequence[Record], bits: int, number: int) -> tuple[int, Iterator[Told | None]]:
    """The CRC-32 of the key of another job, and its events as in the story; None where it stops for a while."""
    hex = f"{bits:028x}"
    ids = f"{hex[:8]}-{hex[8:12]}-4{hex[12:15]}-8{hex[15:18]}-{hex[18:]}".encode()
    minute, key = number // _JOBS_PER_MINUTE % 1440, ids + _HOLE_KEY[-2:]
    moment, later_ms = b"T%02d:%02d:" % divmod(minute, 60), (minute - 540) * 60_000

    def told() -> Iterator[Told | None]:
        paused = False
        for record in story:
            value = record.value
            if not paused and ("run", b"2") in record.headers:
                paused = True
                yield None
            yield (
                key if record.key == _HOLE_KEY else record.key,
                value.replace(_HOLE_IDS, ids).replace(_HOLE_MINUTE, moment) if value else value,
                [(name, text.replace(_HOLE_IDS, ids)) for name, text in record.headers],
                record.timestamp_ms + later_ms,
            )

    return crc32(key), told()


def _story(random: Random, id: UUID, partitions: int, mix: Mix, start: datetime | None = None) -> Iterator[Record]:
    chain = Chain(str(id), partitions, start or START + timedelta(minutes=random.randrange(300)))
    serial = iter(range(255))

    def append(event: job.Event, **more: object) -> Record:
        return chain.record(event, f"{str(id)[:-2]}{next(serial):02x}", **more)  # type: ignore[arg-type]

    execute = random.random() < mix.executed
    yield append(job.Created(SPEC, {"batch": str(random.randrange(3)), "a.b$": "x"}, execute))
    run = 1
    if not execute:
        yield append(job.ExecutionRequested(1, SPEC))
    while True:
        if random.random() < mix.void:
            yield append(job.Cancelled(run), void=True)
        if random.random() < mix.cancelled:
            yield append(job.Cancelled(run))
        else:
            yield from _attempts(random, append, run, mix)
        if mix.poison and random.random() < mix.poison:
            yield from _poison(random, append, run)
        if random.random() >= mix.again or chain.version > 60:
            break
        run += 1
        yield append(job.ExecutionRequested(run, SPEC))
    if random.random() < mix.deleted:
        yield append(job.Deleted(run))


def _attempts(random: Random, append: "object", run: int, mix: Mix) -> Iterator[Record]:
    assert callable(append)
    for attempt in range(1, 4):
        yield append(job.ExecutionStarted(run, attempt, f"executor-{attempt}", 15.0))
        if random.random() < mix.progressed:
            yield append(job.ExecutionProgressed(run, attempt, f"executor-{attempt}", 15.0, 1, 2))
        if random.random() < mix.succeeded:
            timing = {"decode_ms": round(random.random() * 9, 3), "inference_ms": round(random.random() * 30, 3)}
            provenance: dict[str, object] = {
                "model": {"name": MODEL.name, "version": MODEL.version, "digest": MODEL.digest},
                "runtime": {"name": "litert", "version": "2.3.0"},
                "inputs": [PICTURE.digest, PICTURE.digest],
            }
            if random.random() < 0.1:
                provenance["host.name$"] = "x"  # a key that MongoDB would read as a path
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
