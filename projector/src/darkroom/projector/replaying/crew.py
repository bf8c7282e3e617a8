"""Those who fold the partitions of a replay: one thread of this process, or several processes."""

import gc
import os
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

from darkroom.projector.checksum import Checksum
from darkroom.projector.projections.families import Family
from darkroom.projector.replaying.connection import Connection
from darkroom.projector.replaying.pace import Throttle
from darkroom.projector.replaying.partitions import Stopped, fold_partitions
from darkroom.projector.replaying.tally import Place, Spool
from darkroom.projector.store import Store
from darkroom.runtime import failpoints
from darkroom.runtime.child import frames
from darkroom.runtime.child.spawned import Spawned
from darkroom.runtime.eventlog.port import EventLog
from darkroom.schemas.errors import DarkroomError, LogUnavailable, StoreUnavailable

MEMORY_SIZE_BYTES = 512 * 2**20
ALONE_EVENTS_MAX = 20_000
"""So few events are folded in this process: others would take longer to start."""
GARBAGE_MAX = 50_000
"""For the collector: a batch makes much garbage, and hardly any of it in cycles."""
_COMMAND = (sys.executable, "-m", "darkroom.projector.replaying")
_SILENCE_S_MAX = 60.0
"""A worker says something every second or two."""
_CONNECT_TIMEOUT_S = 10.0
_RAISED = {"LogUnavailable": LogUnavailable, "StoreUnavailable": StoreUnavailable, "ValueError": ValueError}


class WorkerLost(DarkroomError):
    """A worker process of a replay has ended, or fallen silent, before its work was done."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a worker process finds the log and the read models."""

    kafka: str
    mongodb: str
    database: str


@dataclass(frozen=True, slots=True)
class Effort:
    """How a replay works. `workers`: processes, None: one per core. `memory_size_bytes`: for the documents that one
    worker holds (those of the batch in work, and what the log's client reads ahead, come on top). `per_s_max`:
    events per second over all workers. `address`: None, if there are to be no other processes."""

    workers: int | None = None
    memory_size_bytes: int = MEMORY_SIZE_BYTES
    per_s_max: float | None = None
    address: Address | None = None

    def processes_for(self, vector: Mapping[int, int]) -> int:
        """How many processes fold up to this vector; 0: this one does."""
        partitions = sum(1 for stop in vector.values() if stop)
        wanted = min(partitions, self.workers or os.cpu_count() or 1)
        alone = wanted <= 1 or self.address is None
        # Somebody who names a number of workers gets it, however small the log.
        return 0 if alone or (self.workers is None and sum(vector.values()) < ALONE_EVENTS_MAX) else wanted


@dataclass(frozen=True, slots=True)
class Target:
    """A generation to build, in `store`. In a worker process: in the database of that name."""

    store: Store
    generation: int


class Crew:
    """Folds all partitions up to a vector. Start it, look at it (`folded`, `wait`) and close it (`with`)."""

    def __init__(
        self, log: EventLog, topic: str, family: Family, vector: Mapping[int, int], effort: Effort
    ) -> None:
        self._log, self._topic, self._family, self._effort = log, topic, family, effort
        # The largest first: the last one to be finished is then a small one.
        self._waiting = sorted(((p, stop) for p, stop in vector.items()), key=lambda work: (work[1], work[0]))
        self._unfinished = set(vector)
        self._lock = threading.Lock()
        self._failures: SimpleQueue[BaseException] = SimpleQueue()
        self._throttle = Throttle()
        self._workers: list[_Worker] = []
        self._threads: list[threading.Thread] = []
        self._per_s: float | None = None
        self.processes = effort.processes_for(vector)
        self.total = sum(vector.values())
        self.folded_events = 0
        self.sums: dict[Place, Checksum] = {}
        self.spool = Spool()

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *_: object) -> None:
        self._throttle.stop()
        for worker in self._workers:
            worker.kill()
        for thread in self._threads:
            thread.join()
        self.spool.close()

    @property
    def pids(self) -> list[int]:
        """The worker processes."""
        return [worker.pid for worker in self._workers]

    def start(self, target: Target | None) -> None:
        """Begins. Raises OSError if a process cannot be started."""
        if self.processes:
            for _ in range(self.processes):
                self._workers.append(
                    _Worker(self, _task(self._topic, self._log, self._family, self._effort, target))
                )
            runs = [worker.run for worker in self._workers]
        else:
            runs = [lambda: self._fold_here(target)]
        for run in runs:
            thread = threading.Thread(target=self._guarded, args=[run], name="replay-worker", daemon=True)
            self._threads.append(thread)
            thread.start()
        self.set_rate(self._per_s)

    def set_rate(self, per_s: float | None) -> None:
        """Events per second over all who are at work; None: as fast as it goes."""
        self._per_s = per_s
        if not self.processes:
            self._throttle.set_rate(per_s)
            return
        busy = [worker for worker in self._workers if not worker.done]
        for worker in busy:
            worker.set_rate(None if per_s is None else per_s / len(busy))

    def wait(self, timeout_s: float) -> bool:
        """Whether all is done, after at most `timeout_s`. Raises what went wrong."""
        until = monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, until - monotonic()))
        done = not any(thread.is_alive() for thread in self._threads)  # first: a thread tells, and then it ends
        with suppress(Empty):
            raise self._failures.get_nowait()
        if done and self._unfinished:
            raise WorkerLost(f"nobody has folded the partitions {sorted(self._unfinished)}: start the replay again")
        return done

    def take(self) -> tuple[int, int] | None:
        """The next partition and its stop, None when all are taken."""
        with self._lock:
            return self._waiting.pop() if self._waiting else None

    def folded(self, events: int) -> None:
        with self._lock:
            self.folded_events += events

    def block(self, place: Place, block: bytes) -> None:
        with self._lock:
            self.spool.take(place, block)

    def finished(self, partition: int, sums: dict[str, Checksum]) -> None:
        with self._lock:
            self._unfinished.discard(partition)
            self.sums.update(((partition, read_model), found) for read_model, found in sums.items())
        failpoints.reach("replay-partition")

    def _fold_here(self, target: Target | None) -> None:
        into = (target.store, target.generation) if target else None
        memory, wanted = self._effort.memory_size_bytes, iter(self.take, None)
        before = gc.get_threshold()
        gc.set_threshold(GARBAGE_MAX)
        try:
            fold_partitions(self._log, self._topic, self._family, wanted, into, memory, self._throttle, self)
        finally:
            gc.set_threshold(*before)

    def _guarded(self, run: Any) -> None:
        try:
            run()
        except Stopped:
            pass
        except BaseException as error:
            self._failures.put(error)


class _Worker:
    """A process that folds partitions; `run` serves it until it is done."""

    def __init__(self, crew: Crew, task: dict[str, Any]) -> None:
        self._crew = crew
        self._child = Spawned(_COMMAND, None)
        self._connection = Connection(self._child.socket)
        self._has: list[int] = []
        self._killed = False
        self._per_s: float | None = None
        self.done = False
        self._say(task)

    @property
    def pid(self) -> int:
        return self._child.pid

    def kill(self) -> None:
        """Ends it, whatever it does; `run` then returns."""
        self._killed = True
        self._child.kill()

    def set_rate(self, per_s: float | None) -> None:
        if per_s != self._per_s:
            self._per_s = per_s
            self._say({"rate": per_s})

    def run(self) -> None:
        """Raises WorkerLost, and what the worker says that it raised."""
        try:
            while not self.done:
                self._serve(*self._connection.hear(_SILENCE_S_MAX))
        except (frames.Closed, frames.FrameError, TimeoutError) as error:
            self._child.kill()
            if not self._killed:
                raise self._lost(error) from None
        finally:
            self.done = True
            self._child.kill()
            self._child.reap()

    def _serve(self, said: dict[str, Any], blobs: list[bytes]) -> None:
        match said:
            case {"folded": events}:
                self._crew.folded(events)
            case {"block": [partition, read_model]}:
                self._crew.block((partition, read_model), blobs[0])
            case {"finished": partition, "sums": sums}:
                self._has.remove(partition)
                self._crew.finished(partition, {m: Checksum(n, int(total, 16)) for m, (n, total) in sums.items()})
            case {"free": True}:
                work = self._crew.take()
                if work:
                    self._has.append(work[0])
                self._say({"fold": work})
            case {"done": True}:
                self.done = True
            case {"failed": kind, "text": text}:
                raise _RAISED.get(kind, WorkerLost)(text)
            case {"alive": True}:
                pass
            case _:
                raise frames.FrameError(f"a worker said {said!r:.200}")

    def _say(self, message: dict[str, Any]) -> None:
        with suppress(frames.Closed, TimeoutError):  # `run` hears that it is gone
            self._connection.say(message)

    def _lost(self, error: Exception) -> WorkerLost:
        code = self._child.reap()
        if isinstance(error, TimeoutError):
            how = f"said nothing for {_SILENCE_S_MAX:g} s, and was ended"
        else:
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit status {code}"
        what = f" (partition {', '.join(map(str, self._has))})" if self._has else ""
        words = self._child.last_words()
        return WorkerLost(
            f"a worker of the replay{what}, process {self.pid}, {how}; the live read models are as they were: "
            "start the replay again" + (f"\n{words}" if words else "")
        )


def _task(topic: str, log: EventLog, family: Family, effort: Effort, target: Target | None) -> dict[str, Any]:
    assert effort.address is not None
    database = target.store.database.name if target else effort.address.database
    return {
        **asdict(effort.address),
        "database": database,
        "topic": topic,
        "topic_id": log.topic_id,
        "family": family.name,
        "read_models": list(family.read_models),
        "memory_size_bytes": effort.memory_size_bytes,
        "generation": target.generation if target else None,
        "connect_timeout_s": _CONNECT_TIMEOUT_S,
    }
