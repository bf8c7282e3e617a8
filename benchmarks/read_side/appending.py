"""Append to readable: events appended at a fixed rate, each looked for in the read model until it is there.

    DARKROOM_…=… python -m read_side.appending RATE SECONDS SEED

Readable: the checkpoint of its partition has passed the event, and the job's document shows it, both read with
majority read concern. Latency counts from when the event was due, whatever the events before it did. While
something is outstanding, the checkpoints of its partitions are asked for by their ids, with a pause of a
millisecond between two questions; when one has moved, the documents of all events that it has passed are read in
one go. So watching adds, on average, half a pause and two questions' time to each figure; `question_ms` says how
long that is.
"""

import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, Message, Producer
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.read_concern import ReadConcern

from darkroom.projector.testing import bulk_traffic
from darkroom.runtime.eventlog.port import Record
from darkroom.runtime.settings import read_settings
from darkroom.schemas.views import checkpoint_id
from read_side.consuming import offsets
from read_side.figures import Share, own_cpu_s

_STALL_S = 30.0
_PAUSE_S = 0.001
_QUESTIONS = 200
_Documents = Collection[dict[str, Any]]


class Due(NamedTuple):
    """An event on its way: where it will stand in the log, and when it was due."""

    offset: int
    job: str
    due_s: float


class Appender(threading.Thread):
    """Appends records at a rate with the product's producer settings, and says which ones are on their way. Nobody
    else writes to the topic, so their offsets are known beforehand."""

    def __init__(
        self, kafka: str, topic: str, records: Sequence[Record], rate: float, ends: dict[int, int]
    ) -> None:
        super().__init__(daemon=True)
        self._topic, self._records, self._rate, self._next = topic, records, rate, dict(ends)
        self._producer = Producer(
            {"bootstrap.servers": kafka, "enable.idempotence": True, "acks": "all", "linger.ms": 0}
        )
        self.due: dict[int, deque[Due]] = {p: deque() for p in ends}
        self.appended = threading.Semaphore(0)
        self.errors: list[KafkaError] = []

    def run(self) -> None:
        def delivered(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                self.errors.append(error)

        begun = time.monotonic() + 0.1
        for number, record in enumerate(self._records):
            due_s = begun + number / self._rate
            while (left_s := due_s - time.monotonic()) > 0:
                self._producer.poll(0)
                time.sleep(min(left_s, 0.05))
            p, key = record.partition, record.key
            headers: list[tuple[str, str | bytes | None]] = list(record.headers)
            assert key is not None
            self._producer.produce(self._topic, record.value, key, p, on_delivery=delivered, headers=headers)
            self.due[p].append(Due(self._next[p], key.decode(), due_s))
            self._next[p] += 1
            self.appended.release()
        self._producer.flush(_STALL_S)


def watch(appender: Appender, checkpoints: _Documents, jobs: _Documents, count: int) -> list[float]:
    """The latency of each event in seconds, in the order in which they became readable."""
    latencies_s: list[float] = []
    taken = 0  # of those that the appender has announced
    while len(latencies_s) < count:
        assert not appender.errors, appender.errors[:3]
        while appender.appended.acquire(timeout=_STALL_S if taken == len(latencies_s) else 0):
            taken += 1
        outstanding = [p for p, due in appender.due.items() if due]
        oldest = min(appender.due[p][0].due_s for p in outstanding)
        assert time.monotonic() - oldest < _STALL_S, "an event does not become readable"
        passed: list[tuple[int, Due]] = []
        for c in checkpoints.find(
            {"_id": {"$in": [checkpoint_id("jobs", 1, p) for p in outstanding]}}, {"next": 1}
        ):
            p = int(c["_id"].rpartition(":p")[2])
            due = appender.due[p]
            while due and due[0].offset < c["next"]:
                passed.append((p, due.popleft()))
        if not passed:
            time.sleep(_PAUSE_S)
            continue
        shown = {
            (d["partition"], entry["offset"])
            for d in jobs.find({"_id": {"$in": [e.job for _, e in passed]}}, {"partition": 1, "timeline.offset": 1})
            for entry in d["timeline"]
        }
        now = time.monotonic()
        for p, event in passed:
            assert (p, event.offset) in shown, f"offset {event.offset} of {p} was passed, and is not to be seen"
            latencies_s.append(now - event.due_s)
    return latencies_s


def question_ms(checkpoints: _Documents, jobs: _Documents) -> float:
    """How long the two questions take together when nothing else goes on (median)."""
    some = [d["_id"] for d in jobs.find({}, {"_id": 1}).limit(1)]
    took = []
    for _ in range(_QUESTIONS):
        begun = time.perf_counter()
        list(checkpoints.find({"_id": {"$in": [checkpoint_id("jobs", 1, 0)]}}, {"next": 1}))
        list(jobs.find({"_id": {"$in": some}}, {"partition": 1, "timeline.offset": 1}))
        took.append(time.perf_counter() - begun)
    return sorted(took)[_QUESTIONS // 2] * 1000


def main() -> None:
    settings, rate, seconds, seed = read_settings(), float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    ends = offsets(settings.kafka, settings.topic_jobs, settings.partitions)
    count = int(rate * seconds)
    records = list(islice(bulk_traffic(seed, count, settings.partitions), count))
    sys.setswitchinterval(0.0005)  # two threads that hardly do anything: neither is to wait for the other
    with MongoClient[dict[str, Any]](settings.mongodb) as client:
        database = client.get_database(settings.mongodb_database, read_concern=ReadConcern("majority"))
        checkpoints, jobs = database["checkpoints"], database["jobs_g1"]
        appender = Appender(settings.kafka, settings.topic_jobs, records, rate, ends)
        begun, cpu_s = time.monotonic(), own_cpu_s()
        appender.start()
        ms = sorted(s * 1000 for s in watch(appender, checkpoints, jobs, count))
        ended, cpu_s = time.monotonic(), own_cpu_s() - cpu_s
        appender.join(_STALL_S)
        more = {
            "p50_ms": ms[count // 2],
            "p99_ms": ms[min(count - 1, int(count * 0.99))],
            "question_ms": question_ms(checkpoints, jobs),
        }
    Share(begun, ended, cpu_s, count, more).tell()


if __name__ == "__main__":
    main()
