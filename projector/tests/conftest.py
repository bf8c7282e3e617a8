"""A projector under test: its own topics and database on the run's real Kafka and MongoDB."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import bson
import pytest
from bson.raw_bson import RawBSONDocument

from darkroom.cli.stack.mongod import Node, ReplicaSet, find_mongod
from darkroom.cli.stack.ports import free_port
from darkroom.cli.stack.process import Child
from darkroom.cli.stack.readiness import wait_ready
from darkroom.projector.__main__ import _join, prepare
from darkroom.projector.batches import by_partition
from darkroom.projector.checksum import Checksum, checksum
from darkroom.projector.live import Live
from darkroom.projector.projections.families import JOBS, Family
from darkroom.projector.shelf import Shelf
from darkroom.projector.store import Store
from darkroom.projector.store_generations import begin, hand_over, live_generation, make_indexes
from darkroom.projector.testing import wait_until
from darkroom.runtime.eventlog.kafka import TRUTH, KafkaLog, TopicSpec, ensure_topics
from darkroom.runtime.eventlog.port import Record
from darkroom.schemas.views import collection

PARTITIONS = 3
DEADLINE_S = 30.0


def at_the_end_of(before: Sequence[Record], after: Sequence[Record]) -> list[Record]:
    """`after` with the offsets that its records get behind those of `before`."""
    ends = Counter(r.partition for r in before)
    return [replace(r, offset=r.offset + ends[r.partition]) for r in after]


def clean_fold_of(
    records: Sequence[Record], partitions: int = PARTITIONS, topic: str = "t", family: Family = JOBS
) -> dict[str, Checksum]:
    """The checksum of each read model of jobs, of a fold of the records in one go."""
    shelves = {p: Shelf() for p in range(partitions)}
    for partition, batch in by_partition(records):
        shelves[partition].take(family.fold(topic, partitions, batch, shelves[partition].load))
    return {m: checksum(d for s in shelves.values() for _, d in s.encoded(m)) for m in family.read_models}


@dataclass
class Bench:
    """One topic for jobs, one for models, one database."""

    kafka: str
    mongodb: str
    name: str
    log: KafkaLog
    models: KafkaLog
    store: Store
    timeout_s: float
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    at_the_end_of = staticmethod(at_the_end_of)

    def append(self, records: Sequence[Record]) -> None:
        """Appends the records, all acknowledged on return."""
        for start in range(0, len(records), 500):  # as many as may be under way
            some = records[start : start + 500]
            acks = [self.log.append(r.partition, r.key, r.value, r.headers) for r in some]  # type: ignore[arg-type]
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
            {"family": "jobs", "generation": generation or live_generation(self.store, JOBS)}
        )
        return sum(c["next"] for c in found)

    def wait_projected(self, count: int, generation: int | None = None) -> None:
        """Until the checkpoints have passed `count` records."""
        wait_until(lambda: self._ready() and self.projected(generation) >= count, f"{count} records projected")

    def vector(self, generation: int | None = None) -> dict[int, int]:
        """The offset of the next record for one generation, by partition."""
        found = self.store.checkpoints.find(
            {"family": "jobs", "generation": generation or live_generation(self.store, JOBS)}
        )
        return {c["partition"]: c["next"] for c in found}

    def all_projected(self, count: int) -> bool:
        """Whether the checkpoints have passed `count` records."""
        return self._ready() and self.projected() >= count

    def projected_of(self, records: Sequence[Record], generation: int | None = None) -> list[Record]:
        """Those of the records that stand before the checkpoints."""
        vector = self.vector(generation)
        return [r for r in records if r.offset < vector[r.partition]]

    def begun(self) -> int:
        """A generation that lacks everything: no documents, and checkpoints at offset 0."""
        generation = begin(self.store, JOBS)
        make_indexes(self.store, JOBS, generation)
        nowhere = dict.fromkeys(range(PARTITIONS), 0)
        hand_over(self.store, JOBS, generation, self.log.topic, self.log.topic_id, nowhere)
        return generation

    @contextmanager
    def traffic_on(
        self, records: Sequence[Record], step: int = 5, pause_s: float = 0.01, rest: bool = True
    ) -> Iterator[list[Record]]:
        """Appends the records little by little while the block runs, and what is left (if `rest`) at its end.
        Gives those that were appended."""
        appended: list[Record] = []
        stop = threading.Event()

        def go_on() -> None:
            while not stop.wait(pause_s) and len(appended) < len(records):
                some = records[len(appended) : len(appended) + step]
                self.append(some)
                appended.extend(some)

        thread = threading.Thread(target=go_on)
        thread.start()
        try:
            yield appended
        finally:
            stop.set()
            thread.join(DEADLINE_S)
        if rest:
            self.append(records[len(appended) :])

    def feed(self, records: Sequence[Record], fed: int, until: Callable[[], bool], what: str) -> int:
        """Appends records from the `fed`th one on, each few when those before are projected; returns how far."""
        while not until():
            assert fed < len(records), f"not within {fed} records: {what}"
            self.append(records[fed : fed + 10])
            fed = min(len(records), fed + 10)
            wait_until(lambda: until() or self.all_projected(fed), what)  # noqa: B023
            threading.Event().wait(0.02)
        return fed

    def _ready(self) -> bool:
        return self.store.checkpoints.find_one({"family": "jobs"}) is not None

    @contextmanager
    def live(self, group: str = "group") -> Iterator[Live]:
        """A live loop for jobs in a thread of this process."""
        stopping, failures = threading.Event(), []
        store = Store(self.mongodb, self.name, timeout_s=self.timeout_s)
        live = Live(JOBS, self.log.topic, self.log, store, partial(prepare, store, JOBS, self.log))

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
            store.close()
            assert not thread.is_alive()
            assert not failures, failures

    @property
    def environment(self) -> dict[str, str]:
        """The settings under which a command or service finds this bench."""
        return {
            **os.environ,
            "DARKROOM_KAFKA": self.kafka,
            "DARKROOM_MONGODB": self.mongodb,
            "DARKROOM_MONGODB_DATABASE": self.name,
            "DARKROOM_TOPIC_JOBS": self.log.topic,
            "DARKROOM_TOPIC_MODELS": self.models.topic,
            "DARKROOM_TOPIC_HEARTBEATS": f"{self.name}-heartbeats",
            "DARKROOM_PARTITIONS": str(PARTITIONS),
        }

    def process(self, group: str = "group", **environment: str) -> subprocess.Popen[bytes]:
        """A projector process of its own."""
        argv = [sys.executable, "-m", "darkroom.projector", "--group", f"{self.name}-{group}"]
        return self.start(argv, **environment)

    @staticmethod
    def said(process: subprocess.Popen[bytes]) -> bytes:
        """All that it has said so far."""
        process.stderr.seek(0)  # type: ignore[union-attr]
        return process.stderr.read()  # type: ignore[union-attr]

    def start(self, argv: Sequence[str], **environment: str) -> subprocess.Popen[bytes]:
        """A process on this bench. What it says is read from its `stderr`, at any time and as often as wanted."""
        with tempfile.NamedTemporaryFile("ab", prefix="darkroom-test-") as log:  # a pipe would be full some time
            process = subprocess.Popen(argv, env={**self.environment, **environment}, stderr=log)
            process.stderr = open(log.name, "rb")  # noqa: SIM115 - closed with the bench
        self.processes.append(process)
        return process


@contextmanager
def bench_on(kafka: str, mongodb: str, name: str, timeout_s: float = 5.0) -> Iterator[Bench]:
    topics = [f"{name}-jobs", f"{name}-models"]
    specs = [TopicSpec(topics[0], PARTITIONS, 1, TRUTH), TopicSpec(topics[1], 1, 1, TRUTH)]
    ensure_topics(kafka, specs, DEADLINE_S)
    store = Store(mongodb, name, timeout_s=timeout_s)
    made = Bench(kafka, mongodb, name, KafkaLog(kafka, topics[0]), KafkaLog(kafka, topics[1]), store, timeout_s)
    yield made
    for process in made.processes:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.wait(DEADLINE_S)
        process.stderr.close()  # type: ignore[union-attr]
    store.client.drop_database(name)
    store.close()
    made.log.close(1.0)
    made.models.close(1.0)


@pytest.fixture
def bench(kafka: str, mongodb: str, unique_name: str) -> Iterator[Bench]:
    """On the run's shared MongoDB."""
    with bench_on(kafka, mongodb, unique_name) as made:
        yield made


@dataclass
class Fragile:
    """A bench on a MongoDB of its own, which may be frozen and killed."""

    bench: Bench
    start: Callable[[], Child]
    mongod: Child


@pytest.fixture
def fragile(kafka: str, unique_name: str, tmp_path: Path) -> Iterator[Fragile]:
    node = Node(free_port(), tmp_path / "mongodb")
    replica_set = ReplicaSet([node], find_mongod())

    def start() -> Child:
        child = Child("mongodb", replica_set.argv(node), tmp_path / "mongodb.log")
        wait_ready(child, replica_set.probe, DEADLINE_S)
        return child

    mongod = start()
    try:
        with bench_on(kafka, replica_set.uri, unique_name, timeout_s=0.5) as made:
            fragile = Fragile(made, start, mongod)
            yield fragile
            mongod = fragile.mongod
    finally:
        mongod.kill()


@dataclass
class Trio:
    """A bench on a replica set of three mongods."""

    bench: Bench
    replica_set: ReplicaSet
    children: dict[Node, Child]
    folder: Path

    def primary(self) -> Node:
        """Waits for one."""
        address = None

        def found() -> bool:
            nonlocal address
            address = self.bench.store.client.primary
            return address is not None

        wait_until(found, "there is a primary")
        return next(node for node in self.children if (address or ())[1] == node.port)

    def start(self, node: Node) -> None:
        name, log = f"mongodb-{node.port}", self.folder / "mongodb.log"
        self.children[node] = Child(name, self.replica_set.argv(node), log)


@pytest.fixture
def trio(kafka: str, unique_name: str, tmp_path: Path) -> Iterator[Trio]:
    nodes = [Node(free_port(), tmp_path / f"mongodb-{n}") for n in range(3)]
    replica_set = ReplicaSet(nodes, find_mongod())
    children = {n: Child(f"mongodb-{n.port}", replica_set.argv(n), tmp_path / "mongodb.log") for n in nodes}
    try:
        wait_ready(children[nodes[0]], replica_set.probe, DEADLINE_S)
        with bench_on(kafka, replica_set.uri, unique_name, timeout_s=1.0) as made:
            yield Trio(made, replica_set, children, tmp_path)
    finally:
        for child in children.values():
            child.kill()


@pytest.fixture
def clean_fold(unique_name: str) -> Callable[[Sequence[Record]], dict[str, Checksum]]:
    """Of the records as the topic of `bench` holds them."""
    return partial(clean_fold_of, topic=f"{unique_name}-jobs")
