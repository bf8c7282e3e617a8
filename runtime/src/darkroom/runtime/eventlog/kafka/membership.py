"""A place in a consumer group."""

from collections.abc import Callable, Mapping

from confluent_kafka import Consumer, KafkaException, TopicPartition

from darkroom.runtime.eventlog.kafka.client import client_config, log
from darkroom.schemas.errors import LogUnavailable


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
            client_config(bootstrap)
            | {
                "group.id": group,
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": int(session_timeout_s * 1000),
                "heartbeat.interval.ms": int(session_timeout_s * 1000 / 4),
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
            }
        )
        self._consumer.subscribe([topic], on_assign=self._assign, on_revoke=self._revoke, on_lost=self._lose)

    def poll(self, timeout_s: float) -> None:
        """Calls the callbacks that are due. Call it at least every few minutes, or the partitions are lost."""
        message = self._consumer.poll(timeout_s)
        error = message.error() if message else None
        if error is not None:
            log.info("group membership for %s: %s", self.topic, error.str())

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
            log.info("the positions could not be committed: %s", error)

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
