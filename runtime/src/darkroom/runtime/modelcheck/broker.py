"""The broker: partitions as lists, appends in flight, and everything that may happen to them on the way."""

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from darkroom.runtime.eventlog.port import Ack, Record
from darkroom.runtime.modelcheck.machine import pause, premise_of_current, wait
from darkroom.runtime.modelcheck.reference import Entry, Reference, Violation
from darkroom.runtime.modelcheck.temper import pick
from darkroom.schemas.errors import LogUnavailable
from darkroom.schemas.wire import Headers

_HEARD_OF = 0.1


class Delivery:
    """The future of one append, without a thread's lock."""

    def __init__(self) -> None:
        self._ack: Ack | None = None
        self._error: Exception | None = None
        self._callback: Callable[[Any], None] | None = None
        self.told = False

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._callback = callback

    def exception(self) -> Exception | None:
        return self._error

    def result(self) -> Ack:
        assert self._ack is not None
        return self._ack

    def tell(self, ack: Ack | None, error: Exception | None = None) -> None:
        """The producer's thread calls back."""
        self._ack, self._error, self.told = ack, error, True
        if self._callback is not None:
            self._callback(self)


class Flight:
    """An append between a writer and the log: it may land later, more than once, or never. `premise`: the last
    event of its job that its writer knew of when it decided."""

    def __init__(self, partition: int, key: bytes, headers: Headers, premise: str | None = None) -> None:
        self.partition = partition
        self.key = key
        self.headers = headers
        self.premise = premise
        self.delivery = Delivery()
        self.landed: list[Entry] = []
        self.held_until = 0


class Broker:
    """All partitions. `on_change` is told of each partition whose log has changed."""

    topic_id = "model"

    def __init__(self, partitions: int, window: int, *, strict: bool = True) -> None:
        self.partitions = partitions
        self.logs = [Reference(p, partitions, window, strict) for p in range(partitions)]
        self.flights: list[Flight] = []
        self.readers: list[Reader] = []
        self.epochs = [0] * partitions
        self.on_change: Callable[[int], None] = lambda partition: None

    def land(self, flight: Flight, partition: int | None = None) -> Entry:
        """The record reaches the log, in a foreign partition if one is given."""
        log = self.logs[flight.partition if partition is None else partition]
        entry = log.land(
            Record(log.partition, log.end, flight.key, None, flight.headers, 0, self.epochs[log.partition])
        )
        flight.landed.append(entry)
        self.on_change(log.partition)
        if entry.accepted and flight.premise is not None:
            history = entry.before.last_event_id if entry.before else ""
            if history != flight.premise:
                raise Violation(f"decided after {flight.premise!r}, {entry.event_id} took effect after {history!r}")
        return entry

    def cut(self, partition: int, records: int) -> list[Entry]:
        """The partition gets a new leader, who lacks its acknowledged end (nothing, if `records` is 0). Who was
        reading what is lost notices by the leader's epoch (KIP-320), in its own time; who has read nothing from the
        partition so far, and came without an epoch, cannot."""
        log = self.logs[partition]
        gone = log.cut(records)
        self.epochs[partition] += 1
        for reader in self.readers:
            if partition in reader.heard_of and reader.positions[partition] > log.end:
                reader.lost = True
        self.on_change(partition)
        return gone


class LogOf:
    """The log as one instance sees it (an EventLog)."""

    def __init__(self, broker: Broker, random: Random) -> None:
        self._broker = broker
        self._random = random
        self.flights: list[Flight] = []
        self.reader: Reader | None = None

    @property
    def topic_id(self) -> str:
        return self._broker.topic_id

    @property
    def partitions(self) -> int:
        return self._broker.partitions

    def append(
        self,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        timestamp_ms: int | None = None,
    ) -> Any:
        assert key is not None, "a writer's events have keys"
        flight = Flight(partition, key, headers, premise_of_current())
        self.flights.append(flight)
        self._broker.flights.append(flight)
        return flight.delivery

    def end_offset(self, partition: int, timeout_s: float) -> int:
        self._maybe_pause()
        end = self._broker.logs[partition].end
        self._maybe_pause()
        return end

    def first_offset(self, partition: int, timeout_s: float) -> int:
        return 0

    def offset_at(self, partition: int, timestamp_ms: int, timeout_s: float) -> int:
        raise NotImplementedError("nobody in the model asks for times")

    def read_one(self, partition: int, offset: int, timeout_s: float) -> Record:
        self._maybe_pause()
        log = self._broker.logs[partition]
        if offset >= log.end:
            raise LogUnavailable(f"no record at offset {offset}")
        return log.entries[offset].record

    def follow(self, positions: Mapping[int, int], epochs: Mapping[int, int] | None = None) -> "Reader":
        self.reader = Reader(self._broker, dict(positions), epochs or {}, self._random)
        self._broker.readers.append(self.reader)
        return self.reader

    def close(self, timeout_s: float) -> None:
        pass

    def _maybe_pause(self) -> None:
        if self._random.random() < 0.4:
            pause()


class Reader:
    """A tail's place in the log. Its task polls whenever the scheduler lets it, so lag is as long as it likes."""

    def __init__(
        self, broker: Broker, positions: dict[int, int], epochs: Mapping[int, int], random: Random
    ) -> None:
        self.positions = positions
        self.heard_of = {partition for partition, epoch in epochs.items() if epoch >= 0}
        self.lost = any(
            positions[p] > 0 and not broker.logs[p].has(positions[p] - 1, epochs[p]) for p in self.heard_of
        )
        self.hurry = False
        self._broker = broker
        self._random = random

    @property
    def behind(self) -> bool:
        """Whether a poll would not come back empty. A new leader is heard of after a while."""
        if self.lost:
            return self.hurry or self._random.random() < _HEARD_OF
        return any(self.positions[log.partition] != len(log.entries) for log in self._broker.logs)

    def poll(self, timeout_s: float, records_max: int) -> Sequence[Record]:
        wait(lambda: self.behind)  # and at least until the scheduler picks it
        if self.lost:
            raise LogUnavailable("the end of the log that was read is lost")
        found: list[Record] = []
        partitions = list(self.positions)
        if len(partitions) > 1:
            self._random.shuffle(partitions)
        for partition in partitions:
            entries, position = self._broker.logs[partition].entries, self.positions[partition]
            if position > len(entries):
                raise LogUnavailable(f"position {position} of partition {partition} is beyond its end")
            if position < len(entries):
                self.heard_of.add(partition)
            most = records_max if self.hurry else pick(self._random, (1, 1, 2, 4, 50))
            found += [entry.record for entry in entries[position : position + most]]
            self.positions[partition] = min(len(entries), position + most)
        return found

    def ends(self) -> Mapping[int, int]:
        return {p: self._broker.logs[p].end for p in self.positions}

    def close(self) -> None:
        if self in self._broker.readers:
            self._broker.readers.remove(self)
