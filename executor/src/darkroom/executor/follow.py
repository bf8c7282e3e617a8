"""The executor's loop: owns partitions, takes queued runs, watches leases, commits what is finished.

What there is to do is never remembered here: it is asked of the heads, which are folded from the log. So nothing
is lost with the process, and a partition that changes hands needs no hand-over. The loop itself never waits for a
model: runs go on in threads of their own, each with a child process.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Protocol

from prometheus_client import Gauge

from darkroom.executor.heartbeat import Heartbeats
from darkroom.executor.leases import AttemptKey, Leases
from darkroom.executor.runner import Claim, Runner
from darkroom.runtime.eventlog.port import EventLog
from darkroom.runtime.heads import Folded, HeadStore
from darkroom.runtime.tail import Tail
from darkroom.schemas.errors import DarkroomError, Unavailable
from darkroom.schemas.job import Head, Status

_log = logging.getLogger("darkroom.executor")
_running = Gauge("darkroom_executor_runs", "Runs under way in this executor")
_owned = Gauge("darkroom_executor_partitions", "Partitions that this executor owns")

_WATCH_EVERY_S = 0.5
_WATCHED_MAX = 1_000
_PUT_BACK_S = 0.5


class Membership(Protocol):
    """Which partitions this process owns; see runtime/eventlog/kafka.py."""

    def poll(self, timeout_s: float) -> object: ...
    def commit(self, offsets: dict[int, int]) -> None: ...
    def close(self) -> None: ...


@dataclass(slots=True)
class _Run:
    """A run that this process is busy with."""

    head: Head
    claim: Claim
    done: Future[None] = field(default_factory=Future)


class Follower:
    """Call `assigned`/`revoked` from the group's callbacks, `folded` from the tail, and `turn` in a loop."""

    def __init__(
        self,
        log: EventLog,
        tail: Tail,
        heads: HeadStore,
        runner: Runner,
        heartbeats: Heartbeats,
        *,
        workers: int,
        lease_s: float,
    ) -> None:
        self._eventlog = log
        self._tail = tail
        self._heads = heads
        self._runner = runner
        self._heartbeats = heartbeats
        self._workers = workers
        self._lease_s = lease_s
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="run")
        self._janitor = ThreadPoolExecutor(1, thread_name_prefix="expire")  # long runs may not hold up leases
        self._expiring: dict[AttemptKey, Future[None]] = {}
        self._leases = Leases(lease_s)
        self._ends: dict[int, int | None] = {}  # owned partitions; the end to reach before taking work
        self._runs: dict[str, _Run] = {}
        self._not_before_s: dict[str, float] = {}
        self._first = 0
        self._wake = threading.Event()
        self._last_watch_s = self._last_heartbeat_s = 0.0
        self._lock = threading.Lock()

    # ------------------------------------------------------------------ told by others

    def assigned(self, partitions: set[int]) -> None:
        """These partitions are ours now; work is taken once the own tail has reached their present end."""
        for partition in partitions:
            self._ends[partition] = None
        _owned.set(len(self._ends))
        _log.info("owns partitions %s", sorted(self._ends))

    def revoked(self, partitions: set[int]) -> None:
        """No longer ours: runs under way go on (their results are judged by the log), none is begun."""
        for partition in partitions:
            self._ends.pop(partition, None)
        _owned.set(len(self._ends))
        _log.info("owns partitions %s", sorted(self._ends))

    def folded(self, events: Sequence[Folded]) -> None:
        """New accepted events (called by the tail's thread): stops runs that were cancelled, and wakes the
        loop if there may be work."""
        for event in events:
            if event.head.request_offset == event.record.offset:
                self._runner.remember(event.record)
            run = self._runs.get(event.guard.key)
            if run and _ends_elsewhere(event, run.head):
                run.claim.stop.set()
                self._runner.stop(event.guard.key)
        self._wake.set()

    def wait(self, timeout_s: float) -> None:
        """Waits until something may have changed."""
        self._wake.wait(timeout_s)
        self._wake.clear()

    # ------------------------------------------------------------------ the loop

    def turn(self, commit: Callable[[dict[int, int]], None]) -> None:
        """One turn: signs of life, leases, new work, commits. Nothing in it waits for a model."""
        now_s = monotonic()
        self._runs = {job: run for job, run in self._runs.items() if not run.done.done()}
        _running.set(len(self._runs))
        self._heartbeat(now_s)
        ready = self._ready_partitions()
        self._take_work(ready, now_s)
        if now_s - self._last_watch_s >= _WATCH_EVERY_S:
            self._last_watch_s = now_s
            self._watch_leases(ready, now_s)
            commit({p: self._finished_up_to(p) for p in ready})

    def close(self, grace_s: float) -> None:
        """Lets runs under way finish for `grace_s`, then stops them; their attempts go back to the queue."""
        self._ends.clear()
        until = monotonic() + grace_s
        for run in list(self._runs.values()):
            with suppress(TimeoutError):
                run.done.result(max(0.0, until - monotonic()))
        self._runner.close()
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._janitor.shutdown(wait=True, cancel_futures=True)
        self._heartbeats.close()

    def _ready_partitions(self) -> list[int]:
        ready = []
        for partition, end in list(self._ends.items()):
            try:
                if end is None:
                    end = self._ends[partition] = self._eventlog.end_offset(partition, 1.0)
                if self._tail.position(partition) >= end:
                    ready.append(partition)
            except Unavailable as error:
                _log.info("partition %d waits: %s", partition, error)
        return ready

    def _heartbeat(self, now_s: float) -> None:
        if now_s - self._last_heartbeat_s >= self._lease_s / 4:
            self._last_heartbeat_s = now_s
            self._heartbeats.send(
                AttemptKey(job_id, run.head.run, run.claim.attempt)
                for job_id, run in self._runs.items()
                if run.claim.attempt
            )
        for key, lease_s in self._heartbeats.heard():
            self._leases.sign_of_life(key, lease_s, now_s)

    def _take_work(self, partitions: list[int], now_s: float) -> None:
        with self._lock:
            self._not_before_s = {j: t for j, t in self._not_before_s.items() if t > now_s}
            put_back = set(self._not_before_s)
        self._first = (self._first + 1) % max(1, len(partitions))  # in turn, so that none starves another
        for partition in partitions[self._first :] + partitions[: self._first]:
            free = self._workers - len(self._runs)
            if free <= 0:
                return
            passed_over = self._runs.keys() | put_back
            for job_id, head in self._heads.queued(partition, free + len(passed_over)):
                if job_id not in passed_over and len(self._runs) < self._workers:
                    self._begin(job_id, head, partition)

    def _watch_leases(self, partitions: list[int], now_s: float) -> None:
        watched: list[AttemptKey] = []
        for partition in partitions:
            for job_id, head in self._heads.running(partition, _WATCHED_MAX):
                if job_id in self._runs:
                    continue
                key = AttemptKey(job_id, head.run, head.attempt)
                self._leases.watch(key, head.last_offset, now_s)
                watched.append(key)
        self._leases.keep_only(watched)
        self._expire(now_s)

    def _expire(self, now_s: float) -> None:
        self._expiring = {key: done for key, done in self._expiring.items() if not done.done()}
        for key in self._leases.expired(now_s):
            head = self._heads.get(key.job_id)
            if (
                key not in self._expiring
                and head is not None
                and (head.run, head.attempt) == (key.run, key.attempt)
            ):
                work = partial(self._runner.expire, key, head)
                self._expiring[key] = self._janitor.submit(self._guarded, key.job_id, work)

    def _begin(self, job_id: str, head: Head, partition: int) -> None:
        claim = Claim()
        work = partial(self._runner.run, job_id, head, partition, claim)
        # Entered under its name before it begins, so that a cancel that arrives at once finds it.
        run = self._runs[job_id] = _Run(head, claim)
        run.done = self._threads.submit(self._guarded, job_id, work)

    def _guarded(self, job_id: str, work: Callable[[], None]) -> None:
        try:
            work()
        except DarkroomError as error:
            # The run stays as the log has it: queued, or running until its lease is over.
            _log.warning("job %s is put back: %s", job_id, error)
            self._put_back(job_id, _PUT_BACK_S)
        except Exception:
            _log.exception("job %s: a bug in the executor", job_id)
            self._put_back(job_id, 10 * _PUT_BACK_S)
        finally:
            self._wake.set()

    def _put_back(self, job_id: str, wait_s: float) -> None:
        with self._lock:
            self._not_before_s[job_id] = monotonic() + wait_s

    def _finished_up_to(self, partition: int) -> int:
        """The lowest offset that is not finished: the first request still queued or running, or else the
        tail's position. Committed for those who watch the group's lag; nothing is resumed from it."""
        unfinished = [*self._heads.queued(partition, 1), *self._heads.running(partition, 1)]
        return min([head.request_offset for _, head in unfinished] + [self._tail.position(partition)])


def _ends_elsewhere(event: Folded, began: Head) -> bool:
    """Whether an event of a job that is being run here means that its result would come too late."""
    head = event.head
    expired = head.status is Status.QUEUED and head.attempt > began.attempt
    return head.run != began.run or expired or head.status not in (Status.QUEUED, Status.RUNNING)
