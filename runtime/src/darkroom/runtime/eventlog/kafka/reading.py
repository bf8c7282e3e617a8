"""Reading from a topic: followers from a position on, and single records by their offsets."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from queue import Empty, LifoQueue
from threading import BoundedSemaphore
from time import monotonic
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from darkroom.runtime.eventlog.kafka.client import consumer_config, log, silent
from darkroom.runtime.eventlog.kafka.known import Known
from darkroom.runtime.eventlog.port import Record
from darkroom.schemas.errors import LogUnavailable

_POINT_READERS_MAX = 4
_LOOK_S = 0.5
"""How old `ends` may be."""
_POINT_READS = {"fetch.wait.max.ms": 1, "queued.min.messages": 1, "fetch.queue.backoff.ms": 0}
"""For readers of single records: a fetch under way beyond the record, or a pause after it because one message is
queued, would hold up the next record's fetch by its whole wait."""
_LOST = {
    KafkaError._AUTO_OFFSET_RESET,
    KafkaError._LOG_TRUNCATION,
    KafkaError.OFFSET_OUT_OF_RANGE,
    KafkaError.UNKNOWN_TOPIC_ID,
    KafkaError.INCONSISTENT_TOPIC_ID,
    KafkaError._LOG_TRUNCATION,
}


class KafkaReader:
    """A Reader (see port.py) over a consumer of its own."""

    def __init__(
        self,
        consumer: Consumer,
        topic: str,
        known: Known,
        positions: Mapping[int, int],
        epochs: Mapping[int, int],
    ) -> None:
        self._known = known
        self._consumer = consumer
        # With the epoch, the client asks the leader whether the log was cut before the position (KIP-320).
        self._assigned = [
            TopicPartition(topic, p, offset, leader_epoch=epochs[p])
            if epochs.get(p, -1) >= 0
            else TopicPartition(topic, p, offset)
            for p, offset in positions.items()
        ]
        consumer.assign(self._assigned)
        self._ends: dict[int, int] = {}
        self._look_at = 0.0

    def poll(self, timeout_s: float, records_max: int) -> Sequence[Record]:
        self._known.check()
        first = self._consumer.poll(timeout_s)
        if monotonic() >= self._look_at:
            self._look()
        if first is None:
            return []
        # poll, then take what is there: consume(n, timeout) would wait for n messages or the whole timeout.
        rest = self._consumer.consume(records_max - 1, 0) if records_max > 1 else []
        records = [record for message in (first, *rest) if (record := _record_of(message)) is not None]
        for partition, offset in {record.partition: record.offset for record in records}.items():
            self._known.reached(partition, offset)
        return records

    def ends(self) -> Mapping[int, int]:
        return self._ends

    def _look(self) -> None:
        """What the consumer has heard of the ends. Not in `ends`: a consumer takes one caller at a time, and
        one that polls without a pause lets nobody else in, for minutes."""
        ends = {}
        for assigned in self._assigned:
            low_and_high = self._consumer.get_watermark_offsets(assigned, cached=True)
            if low_and_high and low_and_high[1] >= 0:
                ends[assigned.partition] = low_and_high[1]
        self._ends = ends
        self._look_at = monotonic() + _LOOK_S

    def close(self) -> None:
        self._consumer.close()


class PointReaders:
    """Reads single records by their offsets, for several threads side by side."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._config = silent(consumer_config(bootstrap)) | _POINT_READS
        self._topic = topic
        self._idle: LifoQueue[Consumer] = LifoQueue(_POINT_READERS_MAX)
        self._slots = BoundedSemaphore(_POINT_READERS_MAX)

    def read(self, partition: int, offset: int, timeout_s: float) -> Record:
        """As EventLog.read_one."""
        until = monotonic() + timeout_s
        with self._reader(timeout_s) as consumer:
            consumer.assign([TopicPartition(self._topic, partition, offset)])
            try:
                while (left := until - monotonic()) > 0:
                    message = consumer.poll(left)
                    record = _record_of(message) if message is not None else None  # one without a value is false
                    if record and record.offset == offset:
                        return record
                    if record and record.offset > offset:
                        break
            finally:
                consumer.unassign()
        raise LogUnavailable(f"the record at offset {offset} of partition {partition} could not be read")

    def close(self) -> None:
        with suppress(Empty):
            while True:
                self._idle.get_nowait().close()

    @contextmanager
    def _reader(self, timeout_s: float) -> Iterator[Consumer]:
        if not self._slots.acquire(timeout=timeout_s):
            raise LogUnavailable("too many single records are being read")
        try:
            try:
                consumer = self._idle.get_nowait()
            except Empty:
                consumer = Consumer(self._config)
            try:
                yield consumer
            except BaseException:
                consumer.close()
                raise
            self._idle.put_nowait(consumer)
        finally:
            self._slots.release()


def _record_of(message: Message) -> Record | None:
    """The record of a message; None for a passing error, which the client mends by itself."""
    error = message.error()
    if error is not None:
        if error.code() in _LOST or error.fatal():
            raise LogUnavailable(f"a position in the log is lost: {error.str()}")
        log.info("reading the log: %s", error.str())
        return None
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    headers: list[tuple[str, Any]] = message.headers() or []  # type: ignore[assignment]
    for _, value in headers:  # a copy only where one is needed: this is done for every record there is
        if value is None:
            headers = [(name, value or b"") for name, value in headers]
            break
    epoch = message.leader_epoch()
    return Record(
        partition,
        offset,
        message.key(),
        message.value(),
        headers,
        message.timestamp()[1],
        -1 if epoch is None else epoch,
    )
