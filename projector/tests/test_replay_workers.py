"""Replay with worker processes: as good as alone, throttled, killed at any moment, gone when they have to be."""

import os
import random
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from time import monotonic

import pytest

from darkroom.projector.projections.families import JOBS
from darkroom.projector.replay import Address, Effort, Mode, replay
from darkroom.projector.replaying.crew import Crew, WorkerLost
from darkroom.projector.replaying.develop import develop
from darkroom.projector.replaying.lag import LagWatch
from darkroom.projector.store_generations import alias_of, live_generation
from darkroom.projector.testing import bulk_traffic, traffic, wait_until
from darkroom.schemas.errors import LogUnavailable

WORKER = "darkroom.projector.replaying"
BESIDE_DOCUMENTS_MIB = 256
"""What a worker needs beside the documents it holds: itself, what Kafka's client reads ahead, a batch in work."""


def run(bench, mode, tell=lambda _: None, **effort):
    given = Effort(**{"address": Address(bench.kafka, bench.mongodb, bench.name)} | effort)
    return replay(bench.store, bench.log, bench.log.topic, JOBS, mode, tell, lambda _: None, given)


def workers_of(parent: int) -> list[int]:
    """The worker processes that a process has started."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            arguments = (folder / "cmdline").read_text().split("\0") if folder.name.isdigit() else []
        except OSError:
            continue  # it has just ended
        if WORKER in arguments and arguments[arguments.index("--parent") + 1] == str(parent):
            found.append(int(folder.name))
    return found


def test_processes_give_what_one_gives(bench, clean_fold):
    bench.append(records := traffic(31, 120, 3))
    with bench.live():
        bench.wait_projected(len(records))
    told = []
    report = run(bench, Mode.SWITCH, told.append, workers=2)
    assert (report.processes, report.equal, report.switched) == (2, True, True)
    assert bench.checksums(2) == clean_fold(records)
    assert [m.done for m in told if m.phase == "folding"][-1] == len(records)
    tiny = run(bench, Mode.CHECK, workers=3, memory_size_bytes=0)
    assert (tiny.processes, tiny.equal) == (3, True)
    assert {c.read_model: c.rebuilt for c in tiny.comparisons} == clean_fold(records)
    assert workers_of(os.getpid()) == []


def test_holds_to_the_rate_and_the_live_loop_keeps_up(bench, clean_fold):
    bench.append(records := traffic(32, 150, 3))
    rate, lags, told = 400.0, [], []
    with bench.live():
        bench.wait_projected(len(records))
        more = bench.at_the_end_of(records, traffic(33, 20, 3))
        watch = LagWatch(bench.store, bench.log, JOBS, 1)

        def tell(moment):
            told.append(moment)
            if more[len(lags) * 5 :]:
                bench.append(more[len(lags) * 5 : len(lags) * 5 + 5])
            lags.append(watch.look())

        report = run(bench, Mode.CHECK, tell, workers=2, per_s_max=rate)
        assert report.equal
        assert report.took_s >= report.events / rate
        assert {(m.held_to_per_s, m.why) for m in told if m.phase == "folding"} >= {(rate, "as asked")}
        assert max(lag for lag in lags if lag is not None) < 200
        wait_until(lambda: watch.look() == 0, "the live loop has caught up")


def test_a_lag_is_told_only_while_a_projector_is_at_work(bench, monkeypatch):
    monkeypatch.setattr("darkroom.projector.replaying.lag._ALIVE_S", 1.5)
    bench.append(records := traffic(34, 10, 3))
    with bench.live():
        bench.wait_projected(len(records))
        watch = LagWatch(bench.store, bench.log, JOBS, 1)
        wait_until(lambda: watch.look() == 0, "it is seen at work")
    bench.append(bench.at_the_end_of(records, traffic(35, 5, 3)))
    wait_until(lambda: watch.look() is None, "it is seen to be gone")


def test_a_dead_worker_is_named_at_once(bench):
    bench.append(records := traffic(36, 100, 3))
    with bench.live():
        bench.wait_projected(len(records))
    killed = []

    def kill_one(moment):
        if moment.done and not killed:
            killed.append((workers_of(os.getpid())[0], monotonic()))
            os.kill(killed[0][0], signal.SIGKILL)

    with pytest.raises(WorkerLost, match="start the replay again") as failure:
        run(bench, Mode.SWITCH, kill_one, workers=2, per_s_max=100.0)
    assert monotonic() - killed[0][1] < 5.0
    assert f"process {killed[0][0]}, was killed by signal 9" in str(failure.value)
    assert workers_of(os.getpid()) == []
    alias = alias_of(bench.store, JOBS)
    assert (alias["live"], alias["kept"], alias["building"]) == (1, [], None)
    assert not [n for n in bench.store.database.list_collection_names() if n.endswith("_g2")]


def test_a_worker_says_what_went_wrong(bench, monkeypatch):
    bench.append(records := traffic(37, 20, 3))
    with bench.live():
        bench.wait_projected(len(records))
    lost = Address("127.0.0.1:1", bench.mongodb, bench.name)
    monkeypatch.setattr("darkroom.projector.replaying.crew._CONNECT_TIMEOUT_S", 0.5)
    with pytest.raises(LogUnavailable, match="could not be looked up"):
        run(bench, Mode.CHECK, workers=2, address=lost)


@contextmanager
def trickle(bench, records):
    """Appends records, some at a time, until the end of the block, and then what is left."""
    stopping, position = threading.Event(), 0

    def append() -> None:
        nonlocal position
        while not stopping.wait(0.05) and position < len(records):
            bench.append(records[position : position + 5])
            position += 5

    thread = threading.Thread(target=append)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()
        bench.append(records[position:])


@pytest.mark.parametrize("kills", [4, pytest.param(40, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
def test_killed_at_any_moment_it_starts_again(bench, clean_fold, kills):
    chance = random.Random(kills)
    records = traffic(38, 300 + 20 * kills, 3)
    bench.append(records[:800])
    argv = [sys.executable, "-m", "darkroom.cli", "replay", "jobs", "--workers", "2"]
    outcomes = []
    with bench.live(), trickle(bench, records[800:]):
        bench.wait_projected(800)
        for number in range(kills):
            process = subprocess.Popen(
                [*argv, "--max-rate", "1000"],
                env=bench.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            wait_until(lambda p=process: workers_of(p.pid) or p.poll() is not None, "its workers")
            threading.Event().wait(chance.random() * 1.5)  # the moment is what is random here
            workers = workers_of(process.pid)
            victim = chance.choice(workers) if number % 2 and workers else process.pid
            os.kill(victim, signal.SIGKILL) if victim in (*workers, process.pid) else None
            said = process.communicate(timeout=30)
            outcomes.append((victim == process.pid, process.returncode))
            assert process.returncode in ((-signal.SIGKILL, 0) if victim == process.pid else (2, 0)), said
            assert process.returncode != 2 or "start the replay again" in said[1], said
            wait_until(lambda p=process: not workers_of(p.pid), "no orphans", 10.0)
            bench.store.database["replays"].update_many({}, {"$unset": {"until": ""}})  # a dead one's runs out
    with bench.live("successor"):
        bench.wait_projected(len(records))
        last = subprocess.run(argv, env=bench.environment, capture_output=True, text=True, timeout=60)
        assert last.returncode == 0, last.stderr
    assert {killed for killed, code in outcomes if code} == {True, False}, outcomes
    live = live_generation(bench.store, JOBS)
    assert bench.checksums(live) == clean_fold(records)
    alias = alias_of(bench.store, JOBS)
    names = [n for n in bench.store.database.list_collection_names() if n.startswith("jobs_g")]
    generations = {int(n.rpartition("_g")[2]) for n in names}
    assert generations == {live, *alias["kept"]}
    assert alias["building"] is None


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_worker_stays_within_its_memory(bench):
    events, memory_mib, peaks = 240_000, 64, []
    records = bulk_traffic(39, events, 3)
    while batch := list(islice(records, 5_000)):
        bench.append(batch)
    vector = {p: bench.log.end_offset(p, 5.0) for p in range(bench.log.partitions)}
    address = Address(bench.kafka, bench.mongodb, bench.name)
    effort = Effort(2, memory_mib * 2**20, address=address)

    def look(_):
        for pid in workers_of(os.getpid()):
            with suppress(OSError):  # it has just ended
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                peaks.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)

    began = monotonic()
    with Crew(bench.log, bench.log.topic, JOBS, vector, effort) as crew:
        develop(crew, None, None, None, lambda: None, look)
        documents = sum(found.count for found in crew.sums.values())
    print(f"{events / (monotonic() - began):,.0f} events/s, {documents} documents, at most {max(peaks):.0f} MiB")
    assert documents > events / 2  # some 2 kB each: without a bound they would not fit
    assert max(peaks) < memory_mib + BESIDE_DOCUMENTS_MIB
