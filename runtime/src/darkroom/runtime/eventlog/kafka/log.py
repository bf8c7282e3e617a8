"""One topic of a Kafka cluster as an event log."""

import threading
from collections.abc import Mapping
from concurrent.futures import Future
from time import monotonic

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from darkroom.runtime.eventlog.kafka.client import consumer_config, silent
from darkroom.runtime.eventlog.kafka.producing import QUEUE_RECORDS_MAX, Appender
from darkroom.runtime.eventlog.kafka.reading import KafkaReader, PointReaders
from darkroom.runtime.eventlog.kafka.topics import look_up
from darkroom.runtime.eventlog.port import Ack, Reader, Record
from darkroom.schemas.errors import LogUnavailable
from darkroom.schemas.wire import Headers

_RETRY_S = 0.05
_LEADER_MOVES = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
}
"""Passing: a topic just made has its leaders a moment later, and so has one whose broker went away."""


class KafkaLog:
    """One topic of a Kafka cluster. `delivery_timeout_s` bounds how long an append may stay undecided,
    `queue_records_max` how many may wait for the broker at once."""

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        *,
        delivery_timeout_s: float = 5.0,
        connect_timeout_s: float = 30.0,
        queue_records_max: int = QUEUE_RECORDS_MAX,
    ) -> None:
        """Raises LogUnavailable if the topic cannot be looked up within `connect_timeout_s`."""
        self._bootstrap = bootstrap
        self.topic = topic
        self._topic_id, self._partitions = look_up(bootstrap, topic, connect_timeout_s)
        self._appender = Appender(bootstrap, topic, delivery_timeout_s, queue_records_max)
        self._asker = Consumer(silent(consumer_config(bootstrap)))
        self._points = PointReaders(bootstrap, topic)

    @property
    def topic_id(self) -> str:
        return self._topic_id

    @property
    def partitions(self) -> int:
        return self._partitions

    def append(self, partition: int, key: bytes, value: bytes, headers: Headers) -> Future[Ack]:
        return self._appender.append(partition, key, value, headers)

    def end_offset(self, partition: int, timeout_s: float) -> int:
        return self._watermarks(partition, timeout_s)[1]

    def first_offset(self, partition: int, timeout_s: float) -> int:
        return self._watermarks(partition, timeout_s)[0]

    def read_one(self, partition: int, offset: int, timeout_s: float) -> Record:
        return self._points.read(partition, offset, timeout_s)

    def follow(self, positions: Mapping[int, int]) -> Reader:
        return KafkaReader(Consumer(consumer_config(self._bootstrap)), self.topic, positions)

    def close(self, timeout_s: float) -> None:
        self._appender.close(timeout_s)
        self._asker.close()
        self._points.close()

    def _watermarks(self, partition: int, timeout_s: float) -> tuple[int, int]:
        until = monotonic() + timeout_s
        while True:
            try:
                found = self._asker.get_watermark_offsets(
                    TopicPartition(self.topic, partition), timeout=max(0.01, until - monotonic()), cached=False
                )
            except KafkaException as error:
                if error.args[0].code() in _LEADER_MOVES and monotonic() + _RETRY_S < until:
                    threading.Event().wait(_RETRY_S)
                    continue
                raise LogUnavailable(f"the end of partition {partition} could not be asked for: {error}") from None
            if found is None:
                raise LogUnavailable(f"the end of partition {partition} was not told within {timeout_s:g} s")
            return int(found[0]), int(found[1])
