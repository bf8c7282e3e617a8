"""Readers of a real query API, while traffic is projected and generations are switched: no error, no gap, nothing
that was seen is unseen again. Void events are counted, and shown where they are asked for."""

import os
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import httpx_sse
import pytest

from darkroom.cli.stack.ports import free_port
from darkroom.projector.projections.families import JOBS
from darkroom.projector.store import Store
from darkroom.projector.store_generations import alias_of, begin, hand_over, make_indexes
from darkroom.projector.store_lease import Lease
from darkroom.projector.switching import roll_back, switch_to
from darkroom.projector.testing import Kept, traffic, wait_until
from darkroom.query_api.streams import Vector
from darkroom.runtime.eventlog.kafka import TRUTH, KafkaLog, TopicSpec, ensure_topics
from darkroom.runtime.eventlog.port import Record
from darkroom.runtime.ids import Position

API = "/api/v1/inference"
PARTITIONS = 3
JOBS_MAX = 150
DEADLINE_S = 60.0
WAIT_S = 10


@dataclass
class World:
    """A topic, a database, a projector process and a query API process of their own."""

    log: KafkaLog
    store: Store
    url: str

    def switch(self) -> None:
        """To a generation that was folded again from the first record."""
        generation = begin(self.store, JOBS)
        make_indexes(self.store, JOBS, generation)
        vector = dict.fromkeys(range(PARTITIONS), 0)
        hand_over(self.store, JOBS, generation, self.log.topic, self.log.topic_id, vector)
        with Lease(self.store, JOBS, print) as lease:
            switch_to(self.store, self.log, self.log.topic, JOBS, generation, lease)


@dataclass(frozen=True)
class Truth:
    """What a fold of all records in one go says. `entries`: by job, its history as (partition, offset, void)."""

    records: Sequence[Record]
    entries: Mapping[str, Sequence[tuple[int, int, bool]]]

    @classmethod
    def of(cls, records: Sequence[Record]) -> "Truth":
        kept = {p: Kept() for p in range(PARTITIONS)}
        for r in records:
            kept[r.partition].take(JOBS.fold("t", PARTITIONS, [r], kept[r.partition].load))
        entries: dict[str, list[tuple[int, int, bool]]] = defaultdict(list)
        for chunk in (c for k in kept.values() for c in k.documents("history")):
            entries[chunk["job"]] += [(chunk["partition"], e["offset"], e["void"]) for e in chunk["entries"]]
        return cls(records, {job: sorted(found) for job, found in entries.items()})

    @property
    def all_entries(self) -> list[tuple[int, int, bool]]:
        return sorted(entry for entries in self.entries.values() for entry in entries)


@pytest.fixture
def world(kafka: str, mongodb: str, unique_name: str, tmp_path: Path) -> Iterator[World]:
    topics = [f"{unique_name}-jobs", f"{unique_name}-models", f"{unique_name}-heartbeats"]
    ensure_topics(kafka, [TopicSpec(topics[0], PARTITIONS, 1, TRUTH)], DEADLINE_S)
    port = free_port()
    environment = os.environ | {
        "DARKROOM_KAFKA": kafka,
        "DARKROOM_MONGODB": mongodb,
        "DARKROOM_MONGODB_DATABASE": unique_name,
        "DARKROOM_TOPIC_JOBS": topics[0],
        "DARKROOM_TOPIC_MODELS": topics[1],
        "DARKROOM_TOPIC_HEARTBEATS": topics[2],
        "DARKROOM_PARTITIONS": str(PARTITIONS),
        "DARKROOM_QUERY_PORT": str(port),
        "DARKROOM_BLOBS": f"file://{tmp_path}/blobs",
        "DARKROOM_DATA": str(tmp_path),
    }
    services = (["darkroom.projector", "--group", unique_name], ["darkroom.query_api"])
    processes = [
        subprocess.Popen([sys.executable, "-m", *argv], env=environment, stderr=subprocess.DEVNULL)
        for argv in services
    ]
    url = f"http://127.0.0.1:{port}"
    store = Store(mongodb, unique_name)
    log = KafkaLog(kafka, topics[0])
    try:
        wait_until(lambda: is_ready(url), "a query API that is ready")
        yield World(log, store, url)
    finally:
        for process in processes:
            process.kill()
            process.wait(DEADLINE_S)
        log.close(1.0)
        store.client.drop_database(unique_name)
        store.close()


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready", timeout=2.0).status_code == 200
    except httpx.TransportError:
        return False


@dataclass
class Seen:
    """What readers have been shown, and what was wrong with it."""

    appended: dict[str, str] = field(default_factory=dict)
    """By job: the position of its latest record; a job of this map has a readable first event."""
    deleted: set[str] = field(default_factory=set)
    best: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    reads: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def at_least(self, what: str, floor: int, found: int) -> None:
        """`floor` was known before the question was asked."""
        if found < floor:
            self.wrong.append(f"{what} went back from {floor} to {found}")
        with self.lock:
            self.best[what] = max(found, self.best.get(what, -1))

    def get(self, client: httpx.Client, path: str, allowed: Sequence[int] = (200,)) -> Any:
        answer = client.get(API + path)
        self.reads[path.split("?")[0].split("/")[1]] += 1
        if answer.status_code not in allowed:
            self.wrong.append(f"{path}: {answer.status_code} {answer.text[:300]}")
            return None
        return answer.json() if answer.status_code == 200 else None

    def job(self, body: dict[str, Any], floors: dict[str, int]) -> None:
        for name, value in (("version", body["version"]), ("position", Position.parse(body["position"]).offset)):
            what = f"{name} of {body['id']}"
            self.at_least(what, floors.get(what, -1), value)


def read_jobs(seen: Seen, client: httpx.Client) -> None:
    """The jobs of the latest records, with `after` and without."""
    for number, (job, position) in enumerate(list(seen.appended.items())[-20:]):
        floors, known = dict(seen.best), f"version of {job}" in seen.best
        after = f"?after={position}&wait={WAIT_S}" if number % 2 else ""
        if body := seen.get(client, f"/jobs/{job}{after}", (200, 410) if after or known else (200, 410, 404)):
            seen.job(body, floors)


def read_list(seen: Seen, client: httpx.Client) -> None:
    floors, listed = dict(seen.best), set(seen.best)
    body = seen.get(client, "/jobs?limit=200")
    for item in body["items"] if body else ():
        seen.job(item, floors)
    gone = {w.removeprefix("version of ") for w in listed if w.startswith("version of ")}
    gone -= {item["id"] for item in body["items"]} | seen.deleted if body else gone
    seen.wrong.extend(f"job {job} is no longer listed" for job in gone)


def read_counts(seen: Seen, client: httpx.Client) -> None:
    floors = dict(seen.best)
    if body := seen.get(client, f"/stats?wait={WAIT_S}"):
        events = sum(sum(m["events"].values()) + m["void"] for m in body["models"])
        seen.at_least("counted events", floors.get("counted events", -1), events)
    if body := seen.get(client, "/projections"):
        for item in body["items"]:
            for mark in item["partitions"] if item["read_model"] == "jobs" else ():
                what = f"checkpoint of {mark['partition']}"
                seen.at_least(what, floors.get(what, -1), mark["next"])


def stream(url: str, path: str, last: str, entries: int, resume_every: int, until: float) -> list[dict[str, Any]]:
    """So many entries of a stream, which is left and resumed now and then."""
    found: list[dict[str, Any]] = []
    with httpx.Client(timeout=15.0) as client:
        while len(found) < entries and monotonic() < until:
            headers = {"Last-Event-ID": last} if last else {}
            with httpx_sse.connect_sse(client, "GET", f"{url}{API}{path}", headers=headers) as source:
                source.response.raise_for_status()
                for number, message in enumerate(source.iter_sse()):
                    if message.id and message.data:
                        found.append(message.json())
                        last = message.id
                    if len(found) == entries or number == resume_every or monotonic() > until:
                        break
    return found


@contextmanager
def going_on(seen: Seen, url: str) -> Iterator[Callable[[], bool]]:
    """Readers at work while the block runs. Gives whether each of them still lives."""
    stop = threading.Event()

    def run(read: Callable[[Seen, httpx.Client], None]) -> None:
        with httpx.Client(base_url=url, timeout=WAIT_S + 5.0) as client:
            while not stop.is_set():
                try:
                    read(seen, client)
                except Exception as error:  # also a connection that breaks is an error that a reader sees
                    seen.wrong.append(f"{read.__name__}: {error!r}")
                    return

    threads = [threading.Thread(target=run, args=[read]) for read in (read_jobs, read_jobs, read_list, read_counts)]
    for thread in threads:
        thread.start()
    try:
        yield lambda: all(thread.is_alive() for thread in threads)
    finally:
        stop.set()
        for thread in threads:
            thread.join(DEADLINE_S)


def append(world: World, seen: Seen, truth: Truth, records: Sequence[Record]) -> None:
    acks = [world.log.append(r.partition, r.key, r.value, r.headers) for r in records]  # type: ignore[arg-type]
    for record, ack in zip(records, acks, strict=True):
        assert ack.result(DEADLINE_S).offset == record.offset
        job = (record.key or b"").decode(errors="replace")
        if job in truth.entries:
            if (("type", b"darkroom.job.deleted.v1")) in record.headers:
                seen.deleted.add(job)
            seen.appended.pop(job, None)  # the latest one stands last
            seen.appended[job] = Position(world.log.topic_id, record.partition, record.offset).token()


def placed(events: Sequence[Mapping[str, Any]]) -> list[tuple[int, int, bool]]:
    return [(e["partition"], e["offset"], e["void"]) for e in events]


def test_readers_notice_nothing_of_three_switches_and_a_way_back(world: World) -> None:
    truth, seen = Truth.of(traffic(11, JOBS_MAX, PARTITIONS)), Seen()
    longest = max(truth.entries, key=lambda job: len(truth.entries[job]))
    cut = 1 + next(n for n, r in enumerate(truth.records) if r.key == longest.encode())
    append(world, seen, truth, truth.records[:cut])
    until = monotonic() + DEADLINE_S
    wait_until(lambda: httpx.get(f"{world.url}{API}/jobs/{longest}").status_code == 200, "the first records")
    left, stop = iter(range(cut, len(truth.records), 4)), threading.Event()

    def go_on() -> None:
        for start in left:
            append(world, seen, truth, truth.records[start : start + 4])
            if stop.wait(0.01):
                return

    everything, one_job = "/events?include=void", f"/jobs/{longest}/events?include=void"
    start = Vector(world.log.topic_id, (0,) * PARTITIONS).token()
    with ThreadPoolExecutor(3) as threads, going_on(seen, world.url) as alive:
        appending = threads.submit(go_on)
        streamed = threads.submit(stream, world.url, everything, start, len(truth.all_entries), 100, until)
        of_one = threads.submit(stream, world.url, one_job, "", len(truth.entries[longest]), 5, until)
        for _ in range(3):
            world.switch()
        assert roll_back(world.store, world.log, world.log.topic, JOBS) == 3
        stop.set()
        appending.result(DEADLINE_S)
        for rest in left:
            append(world, seen, truth, truth.records[rest : rest + 4])
        assert sorted(placed(streamed.result(DEADLINE_S))) == truth.all_entries
        assert placed(of_one.result(DEADLINE_S)) == truth.entries[longest]
        assert alive(), seen.wrong
    alias = alias_of(world.store, JOBS)
    assert (alias["live"], alias["kept"]) == (3, [4])
    assert not seen.wrong, "\n".join(seen.wrong[:20])
    assert min(seen.reads.values()) > 10, seen.reads
    for partition in range(PARTITIONS):
        offsets = [e["offset"] for e in streamed.result() if e["partition"] == partition]
        assert offsets == sorted(offsets)
    check_void_events(world, truth, start)


def check_void_events(world: World, truth: Truth, start: str) -> None:
    """Counted in the statistics; in histories and streams on request alone."""
    accepted = [entry for entry in truth.all_entries if not entry[2]]
    void = len(truth.all_entries) - len(accepted)
    assert void > 5
    with httpx.Client(base_url=world.url + API, timeout=WAIT_S) as client:
        models = client.get("/stats").json()["models"]
        assert sum(m["void"] for m in models) == void
        assert sum(sum(m["events"].values()) for m in models) == len(accepted)
        with_void = [job for job, entries in truth.entries.items() if any(entry[2] for entry in entries)]
        for job in with_void[:20]:
            shown = client.get(f"/jobs/{job}/events").json()["items"]
            assert placed(shown) == [entry for entry in truth.entries[job] if not entry[2]]
            assert placed(client.get(f"/jobs/{job}/events?include=void").json()["items"]) == truth.entries[job]
    streamed = stream(world.url, "/events", start, len(accepted), 10**6, monotonic() + DEADLINE_S)
    assert sorted(placed(streamed)) == accepted
