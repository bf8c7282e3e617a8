"""The event log on Kafka: the only module that imports confluent_kafka.

Clients are made here, in the process that uses them, never before a fork: a producer does not survive one.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from queue import Empty, LifoQueue
from time import monotonic
from typing import Any

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from darkroom.runtime.eventlog.port import Ack, Reader, Record
from darkroom.schemas.errors import LogUnavailable
from darkroom.schemas.wire import Headers

_log = logging.getLogger("darkroom.kafka")

_QUEUE_RECORDS_MAX = 10_000
_POINT_READERS_MAX = 4
_RECORD_SIZE_BYTES_MAX = 1_000_000

TRUTH = {
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "unclean.leader.election.enable": "false",
}
"""Topic settings of the truth: kept for ever, whole."""
PASSING = {"cleanup.policy": "delete", "retention.ms": "3600000", "segment.ms": "3600000"}
"""Topic settings of signs of life: an hour is plenty."""


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it shall be. `replication`: copies of each partition (3 or more: min ISR 2)."""

    name: str
    partitions: int
    replication: int
    config: Mapping[str, str] = field(default_factory=dict)


def ensure_topics(bootstrap: str, specs: Sequence[TopicSpec], timeout_s: float) -> None:
    """Makes the topics that are missing, waiting for the broker up to `timeout_s`.

    Raises LogUnavailable if the broker does not answer in time, ValueError if a topic stands there with another
    number of partitions (keys would move: that needs a new topic and a copy).
    """
    until = monotonic() + timeout_s
    admin = _admin(bootstrap)
    while True:
        try:
            found = admin.list_topics(timeout=max(0.1, min(2.0, until - monotonic()))).topics
            missing = [s for s in specs if s.name not in found]
            for spec in specs:
                have = len(found[spec.name].partitions) if spec.name in found else spec.partitions
                if have not in (0, spec.partitions):
                    raise ValueError(
                        f"topic {spec.name} has {have} partitions, the settings say {spec.partitions}: "
                        "set DARKROOM_PARTITIONS to what the topic has, or name a new topic"
                    )
            if not missing and all(len(found[s.name].partitions) for s in specs):
                return
            futures = admin.create_topics([_new_topic(s) for s in missing]) if missing else {}
            for future in futures.values():
                # A sibling was quicker, or the broker is not ready: look again.
                with suppress(KafkaException, TimeoutError):
                    future.result(timeout=max(0.1, until - monotonic()))
        except KafkaException as error:
            _log.info("waiting for Kafka at %s: %s", bootstrap, error)
        if monotonic() > until:
            raise LogUnavailable(f"Kafka at {bootstrap} did not answer within {timeout_s:g} s")
        threading.Event().wait(0.1)


def _admin(bootstrap: str) -> AdminClient:
    config: dict[str, Any] = {"bootstrap.servers": bootstrap, "logger": _log}
    return AdminClient(config)


def _new_topic(spec: TopicSpec) -> NewTopic:
    config = dict(spec.config)
    if spec.replication >= 3:
        config["min.insync.replicas"] = "2"
    return NewTopic(spec.name, spec.partitions, spec.replication, config=config)


class KafkaLog:
    """One topic of a Kafka cluster. `delivery_timeout_s` bounds how long an append may stay undecided."""

    def __init__(
        self, bootstrap: str, topic: str, *, delivery_timeout_s: float = 5.0, connect_timeout_s: float = 30.0
    ) -> None:
        """Raises LogUnavailable if the topic cannot be looked up within `connect_timeout_s`."""
        self._bootstrap = bootstrap
        self.topic = topic
        self._delivery_timeout_s = delivery_timeout_s
        self._topic_id, self._partitions = self._describe(connect_timeout_s)
        self._producer: Producer | None = None
        self._producer_lock = threading.Lock()
        self._poller: threading.Thread | None = None  # of the present producer
        self._closing = threading.Event()
        self._asker = Consumer(self._consumer_config())
        self._point_readers: LifoQueue[Consumer] = LifoQueue(_POINT_READERS_MAX)
        self._point_slots = threading.BoundedSemaphore(_POINT_READERS_MAX)

    @property
    def topic_id(self) -> str:
        return self._topic_id

    @property
    def partitions(self) -> int:
        return self._partitions

    def append(self, partition: int, key: bytes, value: bytes, headers: Headers) -> Future[Ack]:
        future: Future[Ack] = Future()

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                if error.fatal():
                    self._give_up(producer)
                future.set_exception(LogUnavailable(f"the broker did not acknowledge the event: {error}"))
                return
            offset = message.offset()
            future.set_result(Ack(partition, offset if offset is not None and offset >= 0 else None))

        producer = self._started_producer()
        try:
            producer.produce(self.topic, value, key, partition, on_delivery=delivered, headers=list(headers))
        except BufferError:
            raise LogUnavailable("too many events are waiting for the broker") from None
        except KafkaException as error:
            if error.args[0].fatal():
                self._give_up(producer)
            raise LogUnavailable(f"the event could not be handed to the broker: {error}") from None
        return future

    def end_offset(self, partition: int, timeout_s: float) -> int:
        return self._watermarks(partition, timeout_s)[1]

    def first_offset(self, partition: int, timeout_s: float) -> int:
        return self._watermarks(partition, timeout_s)[0]

    def read_one(self, partition: int, offset: int, timeout_s: float) -> Record:
        until = monotonic() + timeout_s
        with self._point_reader(timeout_s) as consumer:
            consumer.assign([TopicPartition(self.topic, partition, offset)])
            try:
                while (left := until - monotonic()) > 0:
                    message = consumer.poll(left)
                    record = _record_of(message) if message else None
                    if record and record.offset == offset:
                        return record
                    if record and record.offset > offset:
                        break
            finally:
                consumer.unassign()
        raise LogUnavailable(f"the record at offset {offset} of partition {partition} could not be read")

    def follow(self, positions: Mapping[int, int]) -> Reader:
        return _KafkaReader(Consumer(self._consumer_config()), self.topic, positions)

    def close(self, timeout_s: float) -> None:
        if self._producer is not None:
            left = self._producer.flush(timeout_s)
            if left:
                _log.warning("%d events were not acknowledged before the close", left)
        self._closing.set()
        if self._poller is not None:
            self._poller.join(timeout_s)
        self._asker.close()
        with suppress(Empty):
            while True:
                self._point_readers.get_nowait().close()

    def _describe(self, timeout_s: float) -> tuple[str, int]:
        until = monotonic() + timeout_s
        admin = _admin(self._bootstrap)
        while True:
            try:
                left = max(0.1, min(2.0, until - monotonic()))
                futures = admin.describe_topics(TopicCollection([self.topic]), request_timeout=left)
                found = futures[self.topic].result(timeout=left + 0.5)
                return str(found.topic_id), len(found.partitions)
            except (KafkaException, TimeoutError) as error:
                if monotonic() > until:
                    raise LogUnavailable(
                        f"topic {self.topic} at {self._bootstrap} could not be looked up: {error}"
                    ) from None
                threading.Event().wait(0.2)

    def _started_producer(self) -> Producer:
        with self._producer_lock:
            if self._producer is None:
                self._producer = Producer(
                    {
                        "bootstrap.servers": self._bootstrap,
                        "enable.idempotence": True,
                        "acks": "all",
                        "linger.ms": 0,
                        "message.timeout.ms": int(self._delivery_timeout_s * 1000),
                        "queue.buffering.max.messages": _QUEUE_RECORDS_MAX,
                        "message.max.bytes": _RECORD_SIZE_BYTES_MAX,
                        "socket.nagle.disable": True,
                        "logger": _log,
                    }
                )
                self._poller = threading.Thread(
                    target=self._poll_producer, args=[self._producer], name="kafka-producer", daemon=True
                )
                self._poller.start()
            return self._producer

    def _give_up(self, producer: Producer) -> None:
        """After a fatal error (its sequence numbers and the broker's disagree) a producer never sends again: the
        next append makes another."""
        _log.error("the producer has failed for good; the next append makes another")
        with self._producer_lock:
            if self._producer is producer:
                self._producer = None

    def _poll_producer(self, producer: Producer) -> None:
        while not self._closing.is_set() and (producer is self._producer or len(producer)):
            producer.poll(0.1)  # delivery reports are called from here

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

    @contextmanager
    def _point_reader(self, timeout_s: float) -> Iterator[Consumer]:
        if not self._point_slots.acquire(timeout=timeout_s):
            raise LogUnavailable("too many single records are being read")
        try:
            try:
                consumer = self._point_readers.get_nowait()
            except Empty:
                consumer = Consumer(self._consumer_config() | _POINT_READS)
            try:
                yield consumer
            except BaseException:
                consumer.close()
                raise
            self._point_readers.put_nowait(consumer)
        finally:
            self._point_slots.release()

    def _consumer_config(self) -> dict[str, Any]:
        return {
            "bootstrap.servers": self._bootstrap,
            "group.id": "darkroom-unused",  # required by the library; assigned readers never join a group
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 500,
            "enable.partition.eof": False,
            "logger": _log,
        }


class _KafkaReader:
    def __init__(self, consumer: Consumer, topic: str, positions: Mapping[int, int]) -> None:
        self._consumer = consumer
        consumer.assign([TopicPartition(topic, p, offset) for p, offset in positions.items()])

    def poll(self, timeout_s: float, records_max: int) -> Sequence[Record]:
        first = self._consumer.poll(timeout_s)
        if first is None:
            return []
        # poll, then take what is there: consume(n, timeout) would wait for n messages or the whole timeout.
        rest = self._consumer.consume(records_max - 1, 0) if records_max > 1 else []
        return [record for message in (first, *rest) if (record := _record_of(message)) is not None]

    def close(self) -> None:
        self._consumer.close()


class Membership:
    """A place in a consumer group: who takes the work of which partitions of one topic.

    It reads nothing: all its partitions stay paused. Who works reads through `KafkaLog.follow`, from positions of
    its own. Not thread-safe: one thread polls, commits and closes, and the callbacks are called in it.
    """

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        group: str,
        *,
        on_assigned: Callable[[set[int]], None],
        on_revoked: Callable[[set[int]], None],
        on_lost: Callable[[set[int]], None] | None = None,
        session_timeout_s: float = 6.0,
    ) -> None:
        """The callbacks get the partitions that were added or taken away, never the whole assignment.

        `on_revoked` may still commit; `on_lost` (default: `on_revoked`) comes too late for that, since others may
        have had the partitions for a while. A member that stays silent for `session_timeout_s` (the broker's
        least is 6) loses its partitions.
        """
        self.topic = topic
        self.assigned: frozenset[int] = frozenset()
        self._on_assigned, self._on_revoked, self._on_lost = on_assigned, on_revoked, on_lost or on_revoked
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": group,
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": int(session_timeout_s * 1000),
                "heartbeat.interval.ms": int(session_timeout_s * 1000 / 4),
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "logger": _log,
            }
        )
        self._consumer.subscribe([topic], on_assign=self._assign, on_revoke=self._revoke, on_lost=self._lose)

    def poll(self, timeout_s: float) -> None:
        """Calls the callbacks that are due. Call it at least every few minutes, or the partitions are lost."""
        message = self._consumer.poll(timeout_s)
        error = message.error() if message else None
        if error is not None:
            _log.info("group membership for %s: %s", self.topic, error.str())

    def commit(self, positions: Mapping[int, int]) -> None:
        """Tells the group the offset of the next record of each partition, for those who watch its lag and those
        who begin from `committed`. Does not wait, and a failure is only logged: the next commit mends it."""
        if not positions:
            return
        try:
            self._consumer.commit(
                offsets=[TopicPartition(self.topic, p, offset) for p, offset in positions.items()],
                asynchronous=True,
            )
        except KafkaException as error:
            _log.info("the positions could not be committed: %s", error)

    def committed(self, partitions: set[int], timeout_s: float) -> dict[int, int]:
        """The group's positions, 0 where there is none yet. Raises LogUnavailable."""
        asked = [TopicPartition(self.topic, p) for p in partitions]
        try:
            found = self._consumer.committed(asked, timeout=timeout_s)
        except KafkaException as error:
            raise LogUnavailable(f"the group's positions could not be asked for: {error}") from None
        if failed := next((p.error for p in found if p.error), None):
            raise LogUnavailable(f"the group's positions could not be asked for: {failed}")
        return {p.partition: max(0, p.offset) for p in found}

    def close(self) -> None:
        """Leaves the group, so that others take over at once."""
        self._consumer.close()

    def _assign(self, consumer: Consumer, added: list[TopicPartition]) -> None:
        # A stated offset: none is then looked up, and nothing is fetched, since the pause follows at once.
        paused = [TopicPartition(p.topic, p.partition, 0) for p in added]
        consumer.incremental_assign(paused)
        consumer.pause(paused)
        partitions = {p.partition for p in added}
        self.assigned |= partitions
        self._on_assigned(partitions)

    def _revoke(self, consumer: Consumer, removed: list[TopicPartition]) -> None:
        self._give_up(consumer, removed, self._on_revoked)

    def _lose(self, consumer: Consumer, removed: list[TopicPartition]) -> None:
        self._give_up(consumer, removed, self._on_lost)

    def _give_up(self, consumer: Consumer, removed: list[TopicPartition], tell: Callable[[set[int]], None]) -> None:
        partitions = {p.partition for p in removed}
        self.assigned -= partitions
        tell(partitions)
        consumer.incremental_unassign(removed)


_LEADER_MOVES = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
}
"""Passing: a topic just made has its leaders a moment later, and so has one whose broker went away."""
_RETRY_S = 0.05
_POINT_READS = {"fetch.wait.max.ms": 1, "queued.min.messages": 1, "fetch.queue.backoff.ms": 0}
"""For readers of single records: a fetch under way beyond the record, or a pause after it because one message is
queued, would hold up the next record's fetch by its whole wait."""

_LOST = {
    KafkaError._AUTO_OFFSET_RESET,
    KafkaError.OFFSET_OUT_OF_RANGE,
    KafkaError.UNKNOWN_TOPIC_ID,
    KafkaError.INCONSISTENT_TOPIC_ID,
}


def _record_of(message: Message) -> Record | None:
    """The record of a message; None for a passing error, which the client mends by itself."""
    error = message.error()
    if error is not None:
        if error.code() in _LOST or error.fatal():
            raise LogUnavailable(f"a position in the log is lost: {error.str()}")
        _log.info("reading the log: %s", error.str())
        return None
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    raw: list[tuple[str, Any]] = list(message.headers() or [])  # type: ignore[arg-type]
    headers = [(name, value if isinstance(value, bytes) else b"") for name, value in raw]
    return Record(partition, offset, message.key(), message.value(), headers, message.timestamp()[1])
