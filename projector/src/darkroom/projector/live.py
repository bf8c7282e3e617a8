"""The live loop: follows the partitions that the group gives it, and projects each batch in one transaction.

1. serve the group: partitions come and go;
2. read: what is there, or wait for the first record;
3. project: one transaction per partition and batch (store.project), whose checkpoint is the fence;
4. tell the group the new positions (for those who watch its lag; we never start from them).
Whatever goes wrong between 2 and 3 ends in the same place: forget what was read, ask the checkpoints, go on there.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from threading import Event
from time import monotonic
from typing import Protocol

from darkroom.projector import metrics
from darkroom.projector.batches import EVENTS_MAX, by_partition
from darkroom.projector.catchup import catch_up
from darkroom.projector.ends import Ends
from darkroom.projector.projections.families import Family
from darkroom.projector.store import Fenced, Progress, Session, Store, Work
from darkroom.runtime.eventlog.port import EventLog, Reader, Record
from darkroom.schemas.errors import LogUnavailable, StoreUnavailable

_log = logging.getLogger("darkroom.projector")

CATCH_UP_EVENTS_MAX = 10_000
"""A generation behind by more than this is left to the replay that builds it."""
_POLL_S = 0.1
_HOUSEKEEPING_S = 1.0
_BACK_OFF_S = (0.1, 0.2, 0.5, 1.0, 2.0)


class Group(Protocol):
    """What the loop needs of `runtime.eventlog.kafka.Membership`."""

    @property
    def assigned(self) -> frozenset[int]:
        """The partitions that are ours."""

    def poll(self, timeout_s: float) -> None:
        """Serves the group."""

    def commit(self, positions: dict[int, int]) -> None:
        """Tells the group where we are."""

    def close(self) -> None:
        """Leaves the group."""


Prepare = Callable[[], None]
"""Makes what is missing in MongoDB, and refuses a log that does not fit (ValueError). Called before each start."""


class Live:
    """One family of read models, projected in the thread that calls `run`."""

    def __init__(self, family: Family, topic: str, log: EventLog, store: Store, prepare: Prepare) -> None:
        self._family, self._topic, self._log, self._store, self._prepare = family, topic, log, store, prepare
        self._progress: dict[int, Progress] = {}
        self._next: dict[int, int] = {}
        self._told: dict[int, int] = {}
        self._failures = 0
        self._open = ExitStack()
        self._reader: Reader | None = None
        self._session: Session | None = None
        self._ends = Ends(log, lambda: list(self._next))
        self._why_not_ready: str | None = "the projector has not started yet"

    @property
    def why_not_ready(self) -> str | None:
        """None while it projects, otherwise what it waits for."""
        return self._why_not_ready or self._ends.failure

    @property
    def partitions(self) -> frozenset[int]:
        """The partitions that it projects."""
        return frozenset(self._next)

    def run(self, group: Group, stopping: Event) -> None:
        """Projects until `stopping` is set. Raises ValueError for a log that does not fit the read models,
        LogUnavailable if a position in the log is lost: both need a person."""
        self._ends.start()
        housekeeping = monotonic()
        try:
            while not stopping.is_set():
                group.poll(0)
                try:
                    if self._session is None or group.assigned != self._next.keys():
                        self._start(group.assigned)
                    self._step(group)
                    if monotonic() - housekeeping >= _HOUSEKEEPING_S:
                        housekeeping = monotonic()
                        self._keep_house(group)
                except (Fenced, StoreUnavailable) as error:
                    self._give_up(error)
                    stopping.wait(_BACK_OFF_S[min(self._failures, len(_BACK_OFF_S)) - 1])
        finally:
            self._ends.stop()
            self._close()
            group.commit(self._untold())
            group.close()

    def _start(self, assigned: frozenset[int]) -> None:
        self._close()
        self._prepare()
        session = self._open.enter_context(self._store.session())
        self._store.take_over(session, self._topic, assigned)
        self._progress = self._store.progress(self._family, self._topic, assigned)
        self._next = {p: progress.start for p, progress in self._progress.items()}
        if assigned:
            self._reader = self._log.follow(self._next)
        self._session, self._why_not_ready = session, None
        _log.info("projecting %s, partitions %s", self._topic, _listed(assigned))

    def _step(self, group: Group) -> None:
        if self._reader is None:
            group.poll(_POLL_S)
            return
        for partition, batch in by_partition(self._reader.poll(_POLL_S, EVENTS_MAX)):
            self._project(partition, batch)

    def _project(self, partition: int, records: Sequence[Record]) -> None:
        assert self._session is not None
        progress, stop = self._progress[partition], records[-1].offset + 1
        work = Work(
            topic=self._topic,
            partition=partition,
            generations=progress.carried,
            start=self._next[partition],
            stop=stop,
            end_seen=self._ends.get(partition, stop),
        )
        with metrics.TRANSACTION_S.labels(self._topic).time():
            fold = partial(self._family.fold, self._topic, self._log.partitions, records)
            changes = self._store.project(self._session, self._family, work, fold)
        self._next[partition], self._failures = stop, 0
        metrics.EVENTS.labels(self._topic).inc(changes.events)
        metrics.VOID.labels(self._topic).inc(changes.void)
        metrics.QUARANTINED.labels(self._topic).inc(len(changes.quarantined))
        for poison in changes.quarantined:
            _log.warning("quarantined %s: %s", poison["_id"], poison["reason"])

    def _keep_house(self, group: Group) -> None:
        """Once a second: end offsets, the group's positions, and generations that came, went, or lag behind."""
        known = {p: end for p in self._next if (end := self._ends.known(p)) is not None}
        ends = {p: (self._next[p], max(end, self._next[p])) for p, end in known.items()}
        self._store.touch(self._family, self._topic, ends)
        for partition, (following, end) in ends.items():
            metrics.LAG_EVENTS.labels(self._topic, partition).set(end - following)
        told = self._untold()
        group.commit(told)
        self._told |= told
        if self._next:
            found = self._store.progress(self._family, self._topic, self._next)
            for partition, progress in found.items():
                if progress.start != self._next[partition]:
                    raise Fenced(f"partition {partition} of {self._topic} was moved to {progress.start}")
                self._join(partition, progress)

    def _join(self, partition: int, progress: Progress) -> None:
        """Takes generations that lag a little to where the live one stands; the next batch then carries them."""
        assert self._session is not None
        for generation, following in progress.next.items():
            if 0 < progress.start - following <= CATCH_UP_EVENTS_MAX:
                try:
                    catch_up(
                        self._store,
                        self._session,
                        self._log,
                        self._family,
                        self._topic,
                        generation,
                        partition,
                        following,
                        progress.start,
                    )
                except (Fenced, LogUnavailable) as error:
                    _log.info("generation %d of partition %d has to wait: %s", generation, partition, error)
        if any(progress.start != following for following in progress.next.values()):
            progress = self._store.progress(self._family, self._topic, [partition])[partition]
        self._progress[partition] = progress

    def _untold(self) -> dict[int, int]:
        return {p: offset for p, offset in self._next.items() if self._told.get(p) != offset}

    def _give_up(self, error: Exception) -> None:
        self._failures += 1
        reason = "fenced" if isinstance(error, Fenced) else "store"
        metrics.RESTARTED.labels(self._topic, reason).inc()
        _log.warning("reading %s again from its checkpoints: %s", self._topic, error)
        if not isinstance(error, Fenced):
            self._why_not_ready = str(error)
        try:
            self._close()
        except StoreUnavailable:
            _log.debug("the session could not be ended in order: MongoDB ends it by itself")

    def _close(self) -> None:
        self._session = None
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        opened, self._open = self._open, ExitStack()
        opened.close()


def _listed(partitions: frozenset[int]) -> str:
    return ", ".join(map(str, sorted(partitions))) or "none (others have them)"
