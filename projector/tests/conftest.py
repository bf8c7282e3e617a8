"""A projector under test: its own topics and database on the run's real Kafka and MongoDB."""

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic

import bson
import pytest
from bson.raw_bson import RawBSONDocument

from darkroom.projector.__main__ import _join, prepare
from darkroom.projector.batches import by_partition
from darkroom.projector.checksum import Checksum, checksum
from darkroom.projector.live import Live
from darkroom.projector.projections.families import JOBS
from darkroom.projector.shelf import Shelf
from darkroom.projector.store import Store
from darkroom.projector.store_generations import live_generation
from darkroom.runtime.eventlog.kafka import TRUTH, KafkaLog, TopicSpec, ensure_topics
from darkroom.runtime.eventlog.port import Record
from darkroom.schemas.views import collection

PARTITIONS = 3
DEADLINE_S = 30.0


def at_the_end_of(before: Sequence[Record], after: Sequence[Record]) -> list[Record]:
    """`after` with the offsets that its records get behind those of `before`."""
    ends = Counter(r.partition for r in before)
    return [replace(r, offset=r.offset + ends[r.partition]) for r in after]


def clean_fold_of(records: Sequence[Record], partitions: int = PARTITIONS) -> dict[str, Checksum]:
    """The checksum of each read model of jobs, of a fold of the records in one go."""
    shelves = {p: Shelf() for p in range(partitions)}
    for partition, batch in by_partition(records):
        shelves[partition].take(JOBS.fold("t", partitions, batch, shelves[partition].load))
    return {m: checksum(d for s in shelves.values() for _, d in s.encoded(m)) for m in JOBS.read_models}


@dataclass
class Bench:
    """One topic for jobs, one for models, one database."""

    kafka: str
    mongodb: str
    name: str
    log: KafkaLog
    models: KafkaLog
    store: Store
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    at_the_end_of = staticmethod(at_the_end_of)

    def append(self, records: Sequence[Record]) -> None:
        """Appends the records, all acknowledged on return."""
        acks = [self.log.append(r.partition, r.key, r.value, r.headers) for r in records]  # type: ignore[arg-type]
        for ack in acks:
            ack.result(DEADLINE_S)

    def checksums(self, generation: int | None = None) -> dict[str, Checksum]:
        """The checksum of each read model of jobs, as it stands in MongoDB."""
        g = generation or live_generation(self.store, JOBS)
        raw = bson.CodecOptions(document_class=RawBSONDocument)
        return {
            m: checksum(d.raw for d in self.store.database.get_collection(collection(m, g), raw).find())
            for m in JOBS.read_models
        }

    def projected(self, generation: int | None = None) -> int:
        """How many records of the jobs topic one generation has folded, by its checkpoints."""
        found = self.store.checkpoints.find(
            {"read_model": "jobs", "generation": generation or live_generation(self.store, JOBS)}
        )
        return sum(c["next"] for c in found)

    def wait_projected(self, count: int, generation: int | None = None) -> None:
        """Until the checkpoints have passed `count` records."""
        wait_until(lambda: self._ready() and self.projected(generation) >= count, f"{count} records projected")

    def _ready(self) -> bool:
        return self.store.checkpoints.find_one() is not None

    @contextmanager
    def live(self, group: str = "group") -> Iterator[Live]:
        """A live loop for jobs in a thread of this process."""
        stopping, failures = threading.Event(), []
        live = Live(JOBS, self.log.topic, self.log, self.store, partial(prepare, self.store, JOBS, self.log))

        def run() -> None:
            try:
                live.run(_join(self.kafka, self.log.topic, f"{self.name}-{group}"), stopping)
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield live
        finally:
            stopping.set()
            thread.join(DEADLINE_S)
            assert not thread.is_alive()
            assert not failures, failures

    def process(self, group: str = "group", **environment: str) -> subprocess.Popen[bytes]:
        """A projector process of its own."""
        settings = {
            "DARKROOM_KAFKA": self.kafka,
            "DARKROOM_MONGODB": self.mongodb,
            "DARKROOM_MONGODB_DATABASE": self.name,
            "DARKROOM_TOPIC_JOBS": self.log.topic,
            "DARKROOM_TOPIC_MODELS": self.models.topic,
            "DARKROOM_PARTITIONS": str(PARTITIONS),
        }
        argv = [sys.executable, "-m", "darkroom.projector", "--group", f"{self.name}-{group}"]
        process = subprocess.Popen(argv, env={**os.environ, **settings, **environment}, stderr=subprocess.PIPE)
        self.processes.append(process)
        return process


def wait_until(true: Callable[[], bool], what: str, timeout_s: float = DEADLINE_S) -> None:
    """Looks again and again, until a deadline."""
    until = monotonic() + timeout_s
    while not true():
        assert monotonic() < until, f"not within {timeout_s:g} s: {what}"
        threading.Event().wait(0.02)


@pytest.fixture
def bench(kafka: str, mongodb: str, unique_name: str) -> Iterator[Bench]:
    topics = [f"{unique_name}-jobs", f"{unique_name}-models"]
    ensure_topics(kafka, [TopicSpec(t, PARTITIONS, 1, TRUTH) for t in topics], DEADLINE_S)
    store = Store(mongodb, unique_name)
    made = Bench(kafka, mongodb, unique_name, KafkaLog(kafka, topics[0]), KafkaLog(kafka, topics[1]), store)
    yield made
    for process in made.processes:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.communicate(timeout=DEADLINE_S)
    store.client.drop_database(unique_name)
    store.close()
    made.log.close(1.0)
    made.models.close(1.0)


@pytest.fixture
def clean_fold() -> Callable[[Sequence[Record]], dict[str, Checksum]]:
    return clean_fold_of
