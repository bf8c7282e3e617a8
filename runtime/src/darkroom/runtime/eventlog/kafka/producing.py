"""Appending to a topic: one idempotent producer, replaced when it has failed for good."""

import threading
from concurrent.futures import Future

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from darkroom.runtime.eventlog.kafka.client import client_config, log
from darkroom.runtime.eventlog.kafka.known import Known
from darkroom.runtime.eventlog.port import Ack
from darkroom.schemas.errors import LogUnavailable
from darkroom.schemas.wire import Headers

QUEUE_RECORDS_MAX = 10_000
_QUEUE_SIZE_KBYTES_MAX = 65_536
RECORD_SIZE_BYTES_MAX = 1_000_000


class Appender:
    """Appends records to one topic. Thread-safe. The producer is made at the first append."""

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        known: Known,
        delivery_timeout_s: float,
        queue_records_max: int,
        record_size_bytes_max: int,
    ) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._known = known
        self._delivery_timeout_s = delivery_timeout_s
        self._queue_records_max = queue_records_max
        self._record_size_bytes_max = record_size_bytes_max
        self._producer: Producer | None = None
        self._lock = threading.Lock()
        self._poller: threading.Thread | None = None  # of the present producer
        self._closing = threading.Event()

    def append(
        self, partition: int, key: bytes | None, value: bytes | None, headers: Headers, timestamp_ms: int | None
    ) -> Future[Ack]:
        """As EventLog.append."""
        self._known.check()
        known_before = self._known.end(partition)
        future: Future[Ack] = Future()

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                if _fatal(error):
                    self._give_up(producer)
                future.set_exception(LogUnavailable(f"the broker did not acknowledge the event: {error}"))
                return
            offset = message.offset()
            if offset is None or offset < 0:
                future.set_result(Ack(partition, None))
                return
            try:
                self._known.landed(partition, offset, known_before)
            except LogUnavailable as lost:
                future.set_exception(lost)
            else:
                future.set_result(Ack(partition, offset))

        producer = self._started()
        try:
            producer.produce(
                self._topic,
                value,
                key,
                partition,
                on_delivery=delivered,
                timestamp=timestamp_ms or 0,  # the client takes 0 for now
                headers=list(headers),
            )
        except BufferError:
            raise LogUnavailable("too many events are waiting for the broker") from None
        except KafkaException as error:
            if _fatal(error.args[0]):
                self._give_up(producer)
            raise LogUnavailable(f"the event could not be handed to the broker: {error}") from None
        return future

    def close(self, timeout_s: float) -> None:
        """Waits for what is under way, and says how much of it was not acknowledged."""
        if self._producer is not None:
            left = self._producer.flush(timeout_s)
            if left:
                log.warning("%d events for %s were not acknowledged before the close", left, self._topic)
        self._closing.set()
        if self._poller is not None:
            self._poller.join(timeout_s)

    def _started(self) -> Producer:
        with self._lock:
            if self._producer is None:
                self._producer = Producer(
                    client_config(self._bootstrap)
                    | {
                        "enable.idempotence": True,
                        "acks": "all",
                        "linger.ms": 0,
                        "message.timeout.ms": int(self._delivery_timeout_s * 1000),
                        "queue.buffering.max.messages": self._queue_records_max,
                        "queue.buffering.max.kbytes": _QUEUE_SIZE_KBYTES_MAX,
                        "message.max.bytes": self._record_size_bytes_max,
                        "socket.nagle.disable": True,
                    }
                )
                self._poller = threading.Thread(
                    target=self._poll, args=[self._producer], name="kafka-producer", daemon=True
                )
                self._poller.start()
            return self._producer

    def _give_up(self, producer: Producer) -> None:
        """After a fatal error (its sequence numbers and the broker's disagree) a producer never sends again: the
        next append makes another."""
        with self._lock:
            if self._producer is producer:
                log.error("the producer for %s has failed for good; the next append makes another", self._topic)
                self._producer = None
                producer.purge()  # what it still holds will not be sent: those who wait for it hear so now

    def _poll(self, producer: Producer) -> None:
        while not self._closing.is_set() and (producer is self._producer or len(producer)):
            try:
                producer.poll(0.1)  # delivery reports are called from here
            except KafkaException as error:  # so a fatal error is told; the reports come with the next polls
                log.error("the producer for %s: %s", self._topic, error)
                self._give_up(producer)


def _fatal(error: KafkaError) -> bool:
    return bool(error.fatal()) or error.code() == KafkaError._FATAL
