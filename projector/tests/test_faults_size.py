"""Events and jobs as large as they can be: transactions stay within MongoDB's bounds, and the partition goes on."""

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random
from uuid import UUID

import pytest

from darkroom.projector.projections.families import Changes
from darkroom.projector.remembered import Remembered
from darkroom.projector.store import Store
from darkroom.projector.testing import PICTURE, SPEC, Chain, bulk_traffic, traffic, wait_until
from darkroom.runtime.eventlog.port import Record
from darkroom.schemas import job
from darkroom.schemas.chain import partition_of
from darkroom.schemas.errors import StoreUnavailable

RECORD_SIZE_BYTES_MAX = 1_000_000
"""As the log takes them, headers and all."""


def chains(seed: int, partition: int = 0) -> Iterator[Chain]:
    """Jobs of one partition."""
    random = Random(seed)
    while True:
        key = str(UUID(int=random.getrandbits(128), version=4))
        if partition_of(key, 3) == partition:
            yield Chain(key, 3)


class Log:
    """Records with the offsets that they get in an empty topic."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self._ends = [0, 0, 0]

    def add(self, record: Record) -> None:
        self.records.append(replace(record, offset=self._ends[record.partition]))
        self._ends[record.partition] += 1


def results(size_bytes: int) -> tuple[dict[str, object], ...]:
    """About so many bytes of them."""
    one = {"index": 1, "label": "a label of some length, with ümlauts", "score": 0.123456}
    return ({"input": 0, "kind": "classification", "classes": [one] * (size_bytes // 85)},)


def executed(log: Log, chain: Chain, size_bytes: int, run: int = 1) -> None:
    """A whole run, with results of about so many bytes."""
    event = job.Created(SPEC, {}, True) if run == 1 else job.ExecutionRequested(run, SPEC)
    log.add(chain.record(event, f"{chain.key}-{run}-a"))
    log.add(chain.record(job.ExecutionStarted(run, 1, "executor", 15.0), f"{chain.key}-{run}-b"))
    timing = {"inference_ms": 1.5}
    succeeded = job.ExecutionSucceeded(run, 1, results(size_bytes), None, timing, {})
    log.add(chain.record(succeeded, f"{chain.key}-{run}-c"))


def test_large_events_and_jobs_of_many_events(bench, clean_fold):
    log, new = Log(), chains(51)
    for record in traffic(52, 20, 3):
        log.add(record)
    busy = next(new)  # 2,000 events of one job in one batch, and another one far longer than a timeline
    log.add(busy.record(job.Created(SPEC, {}, True), "e"))
    log.add(busy.record(job.ExecutionStarted(1, 1, "executor", 15.0), "f"))
    for done in range(2_000):
        log.add(busy.record(job.ExecutionProgressed(1, 1, "executor", 15.0, done, 2_000), f"g{done}"))
    large = next(new)  # each event near the broker's limit, more of them than fit into one document
    for run in range(1, 7):
        executed(log, large, 970_000, run)
    assert RECORD_SIZE_BYTES_MAX * 0.9 < max(len(r.value or b"") for r in log.records) < RECORD_SIZE_BYTES_MAX
    wide = next(new)  # as many pictures as there may be
    pictures = replace(SPEC, inputs=(PICTURE,) * 100)
    log.add(wide.record(job.Created(pictures, {str(n): "v" * 256 for n in range(32)}, False), "h"))
    with bench.live():
        bench.append(log.records)
        bench.wait_projected(len(log.records))
    assert bench.checksums() == clean_fold(log.records)
    assert bench.store.database["history_g1"].count_documents({"job": large.key}) == 2


def test_a_batch_that_is_too_much_for_mongodb_is_taken_in_pieces(bench, clean_fold, monkeypatch):
    project, tried = Store.project, []

    def refuse(self, session, family, work, fold, remembered=None):
        tried.append(work.stop - work.start)
        if tried[-1] > 40:
            raise StoreUnavailable("too large for the cache")
        return project(self, session, family, work, fold, remembered)

    monkeypatch.setattr(Store, "project", refuse)
    records = traffic(54, 40, 3)
    bench.append(records)
    with bench.live():
        bench.wait_projected(len(records))
    assert max(tried) > 40
    assert bench.checksums() == clean_fold(records)


def test_what_is_remembered_is_bounded_in_documents_and_bytes():
    remembered = Remembered()
    for number in range(3_000):
        document = {"history": {"size_bytes": 3_000}}
        remembered.take(1, Changes(put={"jobs": {f"small-{number}": document}}))
    small = remembered.of(1, "jobs", [f"small-{n}" for n in range(3_000)])
    assert [*small] == [f"small-{n}" for n in range(1_000, 3_000)]
    for number in range(100):
        document = {"history": {"size_bytes": 2**20}}
        remembered.take(1, Changes(put={"jobs": {f"large-{number}": document}}))
    assert remembered.of(1, "jobs", small) == {}
    assert [*remembered.of(1, "jobs", [f"large-{n}" for n in range(100)])] == [f"large-{n}" for n in range(89, 100)]


def rss_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


class Peak:
    """The most memory that a process was seen to use, in bytes."""

    def __init__(self, pid: int) -> None:
        self.pid, self.bytes = pid, 0

    def watch(self, true: Callable[[], bool], what: str, timeout_s: float) -> None:
        def look() -> bool:
            self.bytes = max(self.bytes, rss_bytes(self.pid))
            return true()

        wait_until(look, what, timeout_s)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_batch_that_touches_two_thousand_large_jobs(bench, clean_fold):
    log, jobs = Log(), list(islice(chains(53), 2_000))
    for chain in jobs:
        executed(log, chain, 64_000)
    for chain in jobs:
        log.add(chain.record(job.ExecutionRequested(2, SPEC), f"{chain.key}-again"))
    bench.append(log.records[: 3 * len(jobs)])
    process = bench.process()
    peak = Peak(process.pid)
    peak.watch(lambda: bench.all_projected(3 * len(jobs)), "they have run", 300)
    bench.append(log.records[3 * len(jobs) :])
    peak.watch(lambda: bench.all_projected(len(log.records)), "all of them are asked for again", 120)
    assert bench.checksums() == clean_fold(log.records)
    # 2,000 jobs with 64 kB of results each are one batch, and some 250 kB each in memory.
    assert peak.bytes < 1_100 * 2**20, f"{peak.bytes / 2**20:.0f} MiB"


@pytest.mark.long
@pytest.mark.timeout(900)
def test_memory_is_bounded_while_mongodb_is_away_and_the_log_grows(fragile, clean_fold):
    bench, records = fragile.bench, list(bulk_traffic(55, 200_000, 3))
    bench.append(records[:5_000])
    process = bench.process()
    wait_until(lambda: bench.all_projected(5_000), "it works")
    before, away, back, later = rss_bytes(process.pid), Peak(process.pid), Peak(process.pid), Peak(process.pid)
    os.kill(fragile.mongod.pid, signal.SIGSTOP)
    for start in range(5_000, len(records), 1_000):
        bench.append(records[start : start + 1_000])
        away.watch(lambda: True, "", 1)
    os.kill(fragile.mongod.pid, signal.SIGCONT)
    back.watch(lambda: bench.all_projected(len(records) // 3), "a third of the backlog is worked off", 300)
    later.watch(lambda: bench.all_projected(len(records)), "all of it", 300)
    told = [f"{b / 2**20:.0f} MiB" for b in (before, away.bytes, back.bytes, later.bytes)]
    assert away.bytes < before + 130 * 2**20, told  # what a consumer fetches ahead, and a batch
    assert back.bytes < before + 400 * 2**20, told
    assert later.bytes < 1.15 * back.bytes, told
    process.terminate()
    assert process.wait(10) == 0
    assert bench.checksums() == clean_fold(records)
