"""One topic of a Kafka cluster as an event log."""

from collections.abc import Mapping
from concurrent.futures import Future

from confluent_kafka import Consumer

from darkroom.runtime.eventlog.kafka.asking import Asker
from darkroom.runtime.eventlog.kafka.client import consumer_config
from darkroom.runtime.eventlog.kafka.identity import IdentityWatch
from darkroom.runtime.eventlog.kafka.known import Known
from darkroom.runtime.eventlog.kafka.producing import QUEUE_RECORDS_MAX, RECORD_SIZE_BYTES_MAX, Appender
from darkroom.runtime.eventlog.kafka.reading import KafkaReader, PointReaders
from darkroom.runtime.eventlog.kafka.topics import look_up
from darkroom.runtime.eventlog.port import Ack, Reader, Record
from darkroom.schemas.errors import LogUnavailable
from darkroom.schemas.wire import Headers


class KafkaLog:
    """One topic of a Kafka cluster. `delivery_timeout_s` bounds how long an append may stay undecided,
    `queue_records_max` how many may wait for the broker at once, `record_size_bytes_max` how large one may be."""

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        *,
        delivery_timeout_s: float = 5.0,
        connect_timeout_s: float = 30.0,
        queue_records_max: int = QUEUE_RECORDS_MAX,
        record_size_bytes_max: int = RECORD_SIZE_BYTES_MAX,
    ) -> None:
        """Raises LogUnavailable if the topic cannot be looked up within `connect_timeout_s`."""
        self._bootstrap = bootstrap
        self.topic = topic
        self._topic_id, self._partitions = look_up(bootstrap, topic, connect_timeout_s)
        self._known = Known(topic)
        self._watch = IdentityWatch(bootstrap, topic, self._topic_id, self._known)
        self._appender = Appender(
            bootstrap, topic, self._known, delivery_timeout_s, queue_records_max, record_size_bytes_max
        )
        self._asker = Asker(bootstrap, topic)
        self._points = PointReaders(bootstrap, topic)

    @property
    def topic_id(self) -> str:
        return self._topic_id

    @property
    def partitions(self) -> int:
        return self._partitions

    def append(
        self,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        timestamp_ms: int | None = None,
    ) -> Future[Ack]:
        return self._appender.append(partition, key, value, headers, timestamp_ms)

    def end_offset(self, partition: int, timeout_s: float) -> int:
        self._known.check()
        known = self._known.end(partition)
        end = self._asker.end(partition, timeout_s)
        if end < known:  # a leader that is cut off tells an old end; a barrier on it would prove nothing
            raise LogUnavailable(f"partition {partition} is said to end at {end}, but it reached up to {known}")
        return end

    def first_offset(self, partition: int, timeout_s: float) -> int:
        return self._asker.first(partition, timeout_s)

    def offset_at(self, partition: int, timestamp_ms: int, timeout_s: float) -> int:
        return self._asker.at(partition, timestamp_ms, timeout_s)

    def read_one(self, partition: int, offset: int, timeout_s: float) -> Record:
        return self._points.read(partition, offset, timeout_s)

    def follow(self, positions: Mapping[int, int], epochs: Mapping[int, int] | None = None) -> Reader:
        self._watch.start()
        consumer = Consumer(consumer_config(self._bootstrap))
        return KafkaReader(consumer, self.topic, self._known, positions, epochs or {})

    def close(self, timeout_s: float) -> None:
        self._appender.close(timeout_s)
        self._watch.close(timeout_s)
        self._points.close()
