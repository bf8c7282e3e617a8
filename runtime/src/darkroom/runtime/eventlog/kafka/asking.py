"""Asking the broker how far a topic reaches."""

import threading
from concurrent.futures import TimeoutError as FutureTimeout
from time import monotonic

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # re-exported without saying so

from darkroom.runtime.eventlog.kafka.client import client_config, silent
from darkroom.schemas.errors import LogUnavailable

_RETRY_S = 0.05
_REPLY_S = 0.1
"""The library gives up by itself after the time-out; should it not, we do, so much later."""
_LEADER_MOVES = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_PARTITION,
}
"""Passing: a topic just made has its leaders a moment later, and so has one whose broker went away."""


class Asker:
    """First and end offsets of one topic's partitions, asked of the broker now.

    Over an admin client, since a consumer takes its callers one after the other: with a broker that does not
    answer, the tenth would wait ten time-outs.
    """

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._topic = topic
        self._admin = AdminClient(silent(client_config(bootstrap)))

    def end(self, partition: int, timeout_s: float) -> int:
        """As EventLog.end_offset."""
        return self._ask(partition, OffsetSpec.latest(), timeout_s)

    def first(self, partition: int, timeout_s: float) -> int:
        """As EventLog.first_offset."""
        return self._ask(partition, OffsetSpec.earliest(), timeout_s)

    def _ask(self, partition: int, which: OffsetSpec, timeout_s: float) -> int:
        until = monotonic() + timeout_s
        asked = TopicPartition(self._topic, partition)
        while True:
            left = max(0.01, until - monotonic())
            try:
                future = self._admin.list_offsets({asked: which}, request_timeout=left)[asked]
                offset = int(future.result(left + _REPLY_S).offset)
            except (KafkaException, FutureTimeout) as error:
                code = error.args[0].code() if isinstance(error, KafkaException) else None
                if code in _LEADER_MOVES and monotonic() + _RETRY_S < until:
                    threading.Event().wait(_RETRY_S)
                    continue
                raise LogUnavailable(f"the end of partition {partition} could not be asked for: {error}") from None
            if offset < 0:  # so the library tells that the broker did not answer
                raise LogUnavailable(f"the end of partition {partition} was not told within {timeout_s:g} s")
            return offset
