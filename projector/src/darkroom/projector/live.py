"""The live loop: follows the partitions that the group gives it, and projects each batch in one transaction.

1. serve the group: partitions come and go;
2. read: what is there, or wait for the first record;
3. project: one transaction per partition and batch (store.project), whose checkpoint is the fence;
4. tell the group the new positions (for those who watch its lag; we never start from them).
Whatever goes wrong between 2 and 3 ends in the same place: forget what was read, ask the checkpoints, go on there.

It carries the generations that this code's own folds made, and leaves those of other versions alone: during a
rolling deployment old and new code work side by side, each in a group of its own.
"""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from threading import Event
from time import monotonic
from typing import Protocol

from darkroom.projector import metrics
from darkroom.projector.batches import EVENTS_MAX, by_partition
from darkroom.projector.catchup import catch_up
from darkroom.projector.ends import Ends, Seen
from darkroom.projector.projections.families import Family
from darkroom.projector.remembered import Remembered
from darkroom.projector.store import Fenced, Progress, Session, Store, Work, folds_of
from darkroom.projector.store_lease import end_dead_replay
from darkroom.runtime import failpoints
from darkroom.runtime.eventlog.port import EventLog, Reader, Record
from darkroom.schemas.errors import LogUnavailable, StoreUnavailable

_log = logging.getLogger("darkroom.projector")

CATCH_UP_EVENTS_MAX = 10_000
"""A generation behind by more than this is left to the replay that builds it."""
LANES = 2
"""Transactions side by side, each of partitions of its own: one folds while MongoDB works for the other."""
_POLL_S = 0.1
_GATHER_S = 0.15
_GATHER_POLL_S = 0.005
_GATHER_SIZE_BYTES_MAX = 32 * 2**20
_BACKLOG_EVENTS = EVENTS_MAX // 4
_HOUSEKEEPING_S = 1.0
_BACK_OFF_S = (0.1, 0.1, 0.2, 0.5, 1.0, 2.0)


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


class _Held(Fenced):
    """Somebody switches generations just now: it will not take long."""


@dataclass(slots=True)
class _Piece:
    """How many events of a partition go into one transaction, and how often it has failed in a row."""

    events_max: int = EVENTS_MAX
    failures: int = 0

    def failed(self) -> None:
        """What is too much for MongoDB would fail for ever: after two failures it is taken in pieces."""
        self.failures += 1
        if self.failures > 1:
            self.events_max = max(1, self.events_max // 4)

    def succeeded(self) -> None:
        self.failures = 0
        self.events_max = min(EVENTS_MAX, self.events_max + 1 + self.events_max // 8)


_HELD = "generations are being switched just now"
Prepare = Callable[[], None]
"""Makes what is missing in MongoDB, and refuses a log that does not fit (ValueError). Called before each start."""


class Live:
    """One family of read models, projected in the thread that calls `run`; where there is a backlog, also in one
    more, while a third one reads ahead."""

    def __init__(self, family: Family, topic: str, log: EventLog, store: Store, prepare: Prepare) -> None:
        self._family, self._topic, self._log, self._store, self._prepare = family, topic, log, store, prepare
        self._progress: dict[int, Progress] = {}
        self._next: dict[int, int] = {}
        self._told: dict[int, int] = {}
        self._remembered: dict[int, Remembered] = {}
        self._quarantined: dict[int, int] = {}
        self._failures = 0
        self._pieces: dict[int, _Piece] = {}
        self._open = ExitStack()
        self._reader: Reader | None = None
        self._lanes: list[Session] = []
        self._threads: ThreadPoolExecutor | None = None
        self._ahead: Future[list[Record]] | None = None
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
                    if not self._lanes or group.assigned != self._progress.keys():
                        self._start(group.assigned)
                    self._step(group)
                    if monotonic() - housekeeping >= _HOUSEKEEPING_S:
                        housekeeping = monotonic()
                        self._keep_house(group)
                except (Fenced, StoreUnavailable) as error:
                    self._give_up(error)
                    stopping.wait(_BACK_OFF_S[min(self._failures, len(_BACK_OFF_S) - 1)])
        finally:
            self._ends.stop()
            self._close()
            group.commit(self._untold())
            group.close()

    def _start(self, assigned: frozenset[int]) -> None:
        self._close()
        end_dead_replay(self._store, self._family)
        self._prepare()
        lanes = [self._open.enter_context(self._store.session()) for _ in range(LANES)]
        for number, lane in enumerate(lanes):
            partitions = [p for p in assigned if p % LANES == number]
            self._store.take_over(lane, self._family, self._topic, partitions)
        self._progress = self._store.progress(self._family, self._topic, assigned)
        if any(progress.held for progress in self._progress.values()):
            raise _Held(_HELD)
        self._remembered = {p: Remembered() for p in assigned}
        self._pieces = {p: self._pieces.get(p, _Piece()) for p in assigned}
        leads = {p: progress.lead for p, progress in self._progress.items()}
        self._next = {p: self._progress[p].next[lead] for p, lead in leads.items() if lead is not None}
        if self._next:
            self._reader = self._log.follow(self._next)
        for partition, offset in self._next.items():
            live = self._progress[partition].live
            self._quarantined[partition] = self._store.quarantined(self._family, live, self._topic, partition)
            metrics.show_checkpoint(self._topic, partition, offset)
            metrics.show_quarantined(self._topic, partition, self._quarantined[partition])
        self._threads = self._open.enter_context(ThreadPoolExecutor(LANES + 1, thread_name_prefix="lane"))
        self._lanes, self._why_not_ready = lanes, None
        if len(self._next) < len(assigned):
            self._why_not_ready = (
                f"no generation of {self._family.name} was made by the folds of this version "
                f"({folds_of(self._family)}): run `darkroom replay`"
            )
        _log.info("projecting %s, partitions %s", self._topic, _listed(frozenset(self._next)))

    def _step(self, group: Group) -> None:
        if self._reader is None:
            group.poll(_POLL_S)
            return
        records = self._ahead.result() if self._ahead is not None else self._read(self._reader)
        self._ahead = None
        if not records:
            return
        assert self._threads is not None
        if len(records) >= _BACKLOG_EVENTS:  # the next ones are read while MongoDB works for these
            self._ahead = self._threads.submit(self._read, self._reader)
        failpoints.reach("projector-after-read")
        lanes: list[list[tuple[int, list[Record]]]] = [[] for _ in range(LANES)]
        for partition, batch in by_partition(records):
            lanes[partition % LANES].append((partition, batch))
        busy = [partial(self._project_all, n, batches) for n, batches in enumerate(lanes) if batches]
        if len(busy) < 2:  # nothing to do side by side: no other thread has to wake up
            for work in busy:
                work()
            return
        done = [self._threads.submit(work) for work in busy]
        wait(done)  # for all of them, also where one has failed
        for one in done:
            one.result()

    def _read(self, reader: Reader) -> list[Record]:
        """What is there. With a backlog, as much as makes full batches, for a larger batch costs less an event."""
        records = list(reader.poll(_POLL_S, EVENTS_MAX))
        until, enough = monotonic() + _GATHER_S, EVENTS_MAX * len(self._next)
        more, size_bytes = records, 0
        while len(more) >= _BACKLOG_EVENTS and len(records) < enough and monotonic() < until:
            size_bytes += sum(len(record.value or b"") for record in more)
            if size_bytes > _GATHER_SIZE_BYTES_MAX:
                break
            more = list(reader.poll(_GATHER_POLL_S, EVENTS_MAX))
            records += more
        return records

    def _project_all(self, lane: int, batches: Sequence[tuple[int, list[Record]]]) -> None:
        for partition, records in batches:
            pieces, done = self._pieces[partition], 0
            while done < len(records):
                piece = records[done : done + pieces.events_max]
                try:
                    self._project(self._lanes[lane], partition, piece)
                except (Fenced, StoreUnavailable):
                    pieces.failed()
                    raise
                pieces.succeeded()
                done += len(piece)

    def _project(self, session: Session, partition: int, records: Sequence[Record]) -> None:
        progress, stop = self._progress[partition], records[-1].offset + 1
        work = Work(
            topic=self._topic,
            partition=partition,
            generations=progress.carried,
            start=self._next[partition],
            stop=stop,
            seen=self._seen(partition, stop),
        )
        with metrics.TRANSACTION_S.labels(self._topic).time():
            fold = partial(self._family.fold, self._topic, self._log.partitions, records)
            changes = self._store.project(session, self._family, work, fold, self._remembered[partition])
        self._next[partition] = stop
        metrics.EVENTS.labels(self._topic).inc(changes.events)
        metrics.VOID.labels(self._topic).inc(changes.void)
        metrics.QUARANTINED.labels(self._topic).inc(len(changes.quarantined))
        metrics.show_checkpoint(self._topic, partition, stop)
        self._quarantined[partition] += len(changes.quarantined)
        metrics.show_quarantined(self._topic, partition, self._quarantined[partition])
        for poison in changes.quarantined:
            _log.warning("quarantined %s: %s", poison["_id"], poison["reason"])

    def _seen(self, partition: int, at_least: int) -> Seen | None:
        """The end of a partition as the broker told it, asked or with what it sent; None if neither is known."""
        asked, sent = self._ends.known(partition), self._reader.ends().get(partition) if self._reader else None
        if sent is not None and sent >= at_least and (asked is None or sent >= asked.end):
            return Seen(sent, datetime.now(UTC))
        return asked if asked is not None and asked.end >= at_least else None

    def _keep_house(self, group: Group) -> None:
        """Once a second: end offsets, the group's positions, and generations that came, went, or lag behind."""
        known = {p: seen for p in self._next if (seen := self._ends.known(p)) is not None}
        ends = {p: (self._next[p], seen) for p, seen in known.items() if seen.end >= self._next[p]}
        self._store.touch(self._family, self._topic, ends)
        for partition, (following, seen) in ends.items():
            metrics.show_end(self._topic, partition, seen.end, following, seen.at.timestamp())
        told = self._untold()
        failpoints.reach("projector-before-kafka-commit")
        group.commit(told)
        self._told |= told
        if not self._progress:
            return
        found = self._store.progress(self._family, self._topic, self._progress)
        for partition, progress in found.items():
            known_as = self._progress[partition]
            lead = progress.lead
            if lead is None or partition not in self._next:
                if lead is not None:
                    raise Fenced(f"generation {lead} of {self._family.name} has come, which is ours")
                continue
            if progress.held:
                raise _Held(_HELD)
            if progress.next[lead] != self._next[partition]:
                raise Fenced(f"partition {partition} of {self._topic} was moved to {progress.next[lead]}")
            if any(known_as.own.get(generation) != era for generation, era in progress.own.items()):
                raise Fenced(f"a new era of partition {partition} of {self._topic} has begun")
            self._progress[partition] = self._joined(partition, progress, lead)
        self._failures = 0

    def _joined(self, partition: int, progress: Progress, lead: int) -> Progress:
        """Takes generations that lag a little to where the leading one stands; the next batch then carries them."""
        lagging = {g: progress.next[lead] - progress.next[g] for g in progress.own}
        for generation, events in lagging.items():
            if 0 < events <= CATCH_UP_EVENTS_MAX:
                try:
                    catch_up(
                        self._store,
                        self._lanes[partition % LANES],
                        self._log,
                        self._family,
                        self._topic,
                        generation,
                        partition,
                        progress,
                        progress.next[lead],
                    )
                except (Fenced, LogUnavailable) as error:
                    _log.info("generation %d of partition %d has to wait: %s", generation, partition, error)
        if not any(lagging.values()):
            return progress
        now = self._store.progress(self._family, self._topic, [partition])[partition]
        if now.held:
            raise _Held(_HELD)
        if now.own != progress.own:  # documents that are remembered may have been changed meanwhile
            raise Fenced(f"a new era of partition {partition} of {self._topic} has begun")
        return now

    def _untold(self) -> dict[int, int]:
        return {p: offset for p, offset in self._next.items() if self._told.get(p) != offset}

    def _give_up(self, error: Exception) -> None:
        self._failures += not isinstance(error, _Held)
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
        self._lanes, self._remembered = [], {}
        if self._ahead is not None:
            wait([self._ahead])  # it reads with the reader that is closed next; what it read is read again
            self._ahead = None
        metrics.forget(self._topic, self._next)
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        opened, self._open = self._open, ExitStack()
        opened.close()


def _listed(partitions: frozenset[int]) -> str:
    return ", ".join(map(str, sorted(partitions))) or "none (others have them)"
