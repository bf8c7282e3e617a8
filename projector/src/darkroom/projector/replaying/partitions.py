"""Partitions folded one after the other, each one's documents given out by a second thread meanwhile."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from queue import Queue
from time import monotonic
from typing import Protocol

from darkroom.projector.checksum import Checksum
from darkroom.projector.projections.families import Family
from darkroom.projector.reading import stretch
from darkroom.projector.replaying.pace import Throttle
from darkroom.projector.replaying.tally import Blocks, Place, Tally
from darkroom.projector.shelf import Shelf
from darkroom.projector.store import Store
from darkroom.projector.store_bulk import Inserter
from darkroom.runtime.eventlog.port import EventLog
from darkroom.schemas.views import collection


class Stopped(Exception):
    """It was told to stop."""


class Listener(Protocol):
    """Hears what a worker does. Called by two of its threads."""

    def folded(self, events: int) -> None:
        """So many more events are folded."""

    def block(self, place: Place, block: bytes) -> None:
        """Ids and digests of documents of one place (see tally)."""

    def finished(self, partition: int, sums: dict[str, Checksum]) -> None:
        """All documents of a partition have been given out; their sums by read model."""


def fold_partition(
    log: EventLog,
    topic: str,
    family: Family,
    partition: int,
    stop: int,
    shelf: Shelf,
    throttle: Throttle,
    listener: Listener | None = None,
) -> None:
    """Folds one partition from offset 0 to before `stop` onto the shelf. Raises Stopped, LogUnavailable,
    OSError."""
    begun = monotonic()
    for records in stretch(log, partition, 0, stop):
        shelf.take(family.fold(topic, log.partitions, records, shelf.load))
        if listener is not None:
            listener.folded(len(records))
        throttle.passed(len(records), monotonic() - begun)
        if throttle.stopped:
            raise Stopped
        begun = monotonic()


def fold_partitions(
    log: EventLog,
    topic: str,
    family: Family,
    wanted: Iterator[tuple[int, int]],
    into: tuple[Store, int] | None,
    memory_size_bytes: int,
    throttle: Throttle,
    listener: Listener,
) -> None:
    """Folds partitions, given as (partition, stop), until there are no more, and inserts their documents `into` a
    generation (None: nowhere).

    Half of `memory_size_bytes` is for the documents of the partition that is being folded, half for those of the
    partition before, which a second thread encodes, adds up and inserts. Raises what went wrong in either.
    """
    with ExitStack() as opened:
        inserter = opened.enter_context(Inserter(into[0])) if into else None
        giving = _Giving(family, listener, inserter, into[1] if into else 0, throttle)
        opened.enter_context(giving)
        for partition, stop in wanted:
            shelf = Shelf(memory_size_bytes // 2)
            try:
                fold_partition(log, topic, family, partition, stop, shelf, throttle, listener)
            except BaseException:
                shelf.close()
                raise
            giving.out(partition, shelf)


class _Giving:
    """A thread that gives out the documents of one partition at a time."""

    def __init__(
        self, family: Family, listener: Listener, inserter: Inserter | None, generation: int, throttle: Throttle
    ) -> None:
        self._throttle = throttle
        self._family, self._listener = family, listener
        self._inserter, self._generation = inserter, generation
        self._queue: Queue[tuple[int, Shelf] | None] = Queue()
        self._free = threading.Semaphore(1)
        self._failure: BaseException | None = None
        self._abandoned = False
        self._thread = threading.Thread(target=self._run, name="giving-out", daemon=True)

    def __enter__(self) -> "_Giving":
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._abandoned = kind is not None
        self._queue.put(None)
        self._thread.join()
        if kind in (None, Stopped) and self._failure is not None:
            raise self._failure

    def out(self, partition: int, shelf: Shelf) -> None:
        """Gives out a partition, as soon as the one before has been. Raises what went wrong with that one."""
        self._free.acquire()
        if self._failure is not None:
            shelf.close()
            raise self._failure
        self._queue.put((partition, shelf))

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            partition, shelf = work
            try:
                with shelf:
                    self._give(partition, shelf)
            except BaseException as error:
                self._failure = error
                self._throttle.stop()  # so that the folding ends, too
            finally:
                self._free.release()

    def _give(self, partition: int, shelf: Shelf) -> None:
        blocks = _Told(self._listener)
        tally = Tally(blocks)
        for read_model in self._family.read_models:
            place, target = (partition, read_model), collection(read_model, self._generation)
            for id, document in shelf.encoded(read_model):
                tally.add(place, id, document)
                if self._inserter is not None:
                    self._inserter.add(target, document)
                if self._abandoned:
                    raise Stopped
        blocks.flush()
        self._listener.finished(partition, {m: tally.of((partition, m)) for m in self._family.read_models})


class _Told(Blocks):
    def __init__(self, listener: Listener) -> None:
        super().__init__()
        self._listener = listener

    def take(self, place: Place, block: bytes) -> None:
        self._listener.block(place, block)
