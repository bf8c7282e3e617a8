"""A tail: follows every partition of a topic, folds it, and tells what became of an event.

Command API and executor each have one per topic. A request asks it three things: to wait until it has passed an
offset, to catch up with the end of a partition (the barrier before a refusal), and for the verdict on an event.
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Protocol

from darkroom.runtime import metrics
from darkroom.runtime.eventlog.port import EventLog, Reader, Record
from darkroom.runtime.pending import Pending
from darkroom.runtime.protocol import Verdict
from darkroom.schemas.errors import TailBehind

_log = logging.getLogger("darkroom.tail")

BATCH_RECORDS_MAX = 2_000
_POLL_S = 0.1


class Fold(Protocol):
    """What a tail keeps: positions and state change together."""

    def positions(self) -> Mapping[int, int]:
        """The offset of the next record of each partition."""

    def epochs(self) -> Mapping[int, int]:
        """The leader epoch of the record before each position at the start, where it is known: with it the log
        tells whether it has lost that record since."""

    def apply(self, records: Sequence[Record]) -> Sequence[Verdict]:
        """Folds records in order and remembers the positions after them, in one step."""


class Tail:
    """Runs a fold in a thread of its own. A failure of the fold is kept and told to everybody who asks."""

    def __init__(self, log: EventLog, fold: Fold, name: str) -> None:
        self._eventlog = log
        self._fold = fold
        self._name = name
        self._moved = threading.Condition()
        self._positions: dict[int, int] = dict(fold.positions())
        self._expected: dict[str, Pending] = {}
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self._reader: Reader | None = None
        self._folded, self._void = metrics.FOLDED.labels(name), metrics.VOID.labels(name)
        self._thread = threading.Thread(target=self._run, name=f"tail-{name}", daemon=True)

    def start(self) -> None:
        metrics.LAG.labels(self._name).set_function(self.lag)
        metrics.FAILED.labels(self._name).set_function(lambda: float(self._failure is not None))
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    @property
    def failure(self) -> BaseException | None:
        """Why the tail has stopped for good, if it has."""
        return self._failure

    def position(self, partition: int) -> int:
        """The offset of the next record that the tail will fold."""
        with self._moved:
            return self._positions[partition]

    def lag(self) -> int:
        """How many events the log holds, as it last told the tail, that are not folded. Asks nobody."""
        reader = self._reader
        ends = reader.ends() if reader is not None else {}
        return sum(max(0, end - self.position(partition)) for partition, end in ends.items())

    def expect(self, event_id: str) -> Pending:
        """Where the verdict on an event that is about to be appended will be told. Forget it when done."""
        pending = Pending()
        with self._moved:
            self._expected[event_id] = pending
        return pending

    def forget(self, event_id: str) -> None:
        with self._moved:
            self._expected.pop(event_id, None)

    def wait_until(self, partition: int, offset: int, deadline: float) -> None:
        """Returns once everything before `offset` is folded. `deadline` is on the monotonic clock.
        Raises TailBehind."""
        with self._moved:
            while self._positions[partition] < offset:
                left = deadline - monotonic()
                if self._failure is not None or left <= 0:
                    raise TailBehind(
                        f"{self._name} has read partition {partition} up to {self._positions[partition]}, not "
                        f"yet up to {offset}" + (f" ({self._failure})" if self._failure else "")
                    )
                self._moved.wait(left)

    def barrier(self, partition: int, deadline: float) -> None:
        """Catches up with what the log holds now. Raises LogUnavailable or TailBehind, the latter also where the
        log ends before what was read here: it has lost events that this fold still knows."""
        position = self.position(partition)  # before the end is asked for: afterwards it may rightly be past that
        end = self._eventlog.end_offset(partition, max(0.01, deadline - monotonic()))
        if self._failure is not None:
            raise TailBehind(f"the tail of {self._name} has stopped: {self._failure}")
        if end < position:
            raise TailBehind(f"partition {partition} ends at {end}, {self._name} has read it up to {position}")
        self.wait_until(partition, end, deadline)

    def caught_up(self, timeout_s: float) -> None:
        """A barrier over all partitions: after it, the fold holds all that the log held at the call."""
        deadline = monotonic() + timeout_s
        for partition in range(self._eventlog.partitions):
            self.barrier(partition, deadline)

    def _run(self) -> None:
        try:
            reader = self._reader = self._eventlog.follow(self._fold.positions(), self._fold.epochs())
            try:
                while not self._stopping.is_set():
                    records = reader.poll(_POLL_S, BATCH_RECORDS_MAX)
                    if records:
                        self.advance(records)
            finally:
                self._reader = None
                reader.close()
        except BaseException as error:
            _log.error("the tail of %s has stopped: %s", self._name, error, exc_info=True)
            with self._moved:
                self._failure = error
                self._moved.notify_all()
                for pending in self._expected.values():
                    pending.fail(TailBehind(f"the tail of {self._name} has stopped: {error}"))
                self._expected.clear()
            if not isinstance(error, Exception):
                raise

    def advance(self, records: Sequence[Record]) -> None:
        """Folds the next records and tells what became of them. The tail's own thread calls it, or a simulation."""
        verdicts = self._fold.apply(records)
        with self._moved:
            for record in records:
                self._positions[record.partition] = record.offset + 1
            for verdict in verdicts:
                pending = self._expected.get(verdict.event_id)
                if pending is not None:
                    pending.judged(verdict)
            self._moved.notify_all()
        self._folded.inc(len(verdicts))
        self._void.inc(sum(not verdict.accepted for verdict in verdicts))
