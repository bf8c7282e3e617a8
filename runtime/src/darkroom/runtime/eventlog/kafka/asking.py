"""Asking the broker how far a topic reaches."""

import threading
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from time import monotonic

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # re-exported without saying so

from darkroom.runtime.eventlog.kafka.client import client_config, silent
from darkroom.schemas.errors import LogUnavailable

_RETRY_S = 0.05
_ASK_S_MIN = 0.01
_FIRST_TRY = 0.25
"""Of the time, the part after which no answer is taken to mean that another broker may lead by now. The second try
gets all that is left: a broker that is only slow is not asked in vain again and again."""
_NONE = -1
_REPLY_S = 0.1
"""The library gives up by itself after the time-out; should it not, we do, so much later."""
_PASSING = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError._NOENT,
    KafkaError._TIMED_OUT,
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
}
"""A topic just made has its leaders a moment later, and so has one whose broker went away or came back; a client
just made may not have found its broker yet. Those with an underscore are the library's own words."""


class Asker:
    """First and end offsets of one topic's partitions, asked of the broker now.

    Over an admin client, since a consumer takes its callers one after the other: with a broker that does not
    answer, the tenth would wait ten time-outs.
    """

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._topic = topic
        self._admin = AdminClient(silent(client_config(bootstrap)))
        self._connected = False

    def end(self, partition: int, timeout_s: float) -> int:
        """As EventLog.end_offset."""
        return self._ask(partition, OffsetSpec.latest(), timeout_s)  # type: ignore[no-untyped-call]

    def first(self, partition: int, timeout_s: float) -> int:
        """As EventLog.first_offset."""
        return self._ask(partition, OffsetSpec.earliest(), timeout_s)  # type: ignore[no-untyped-call]

    def at(self, partition: int, timestamp_ms: int, timeout_s: float) -> int:
        """As EventLog.offset_at."""
        until = monotonic() + timeout_s
        end = self.end(partition, timeout_s)  # first: what is appended from now on is not meant
        which: OffsetSpec = OffsetSpec.for_timestamp(timestamp_ms)
        for _ in range(2):
            found = self._ask(partition, which, until - monotonic(), or_none=True)
            if found != _NONE:
                return min(found, end)
            # There is no such record, or the broker did not answer. If it answers now, it is asked once more.
            self.end(partition, until - monotonic())
        return end

    def _ask(self, partition: int, which: OffsetSpec, timeout_s: float, or_none: bool = False) -> int:
        until = monotonic() + timeout_s
        asked = TopicPartition(self._topic, partition)
        why, try_s = "no answer", timeout_s * _FIRST_TRY
        if not self._connected:
            # A client that has no connection yet may sleep through the making of it, until the time is out.
            self._look_again(try_s)
            self._connected = True
        while (left := until - monotonic()) > 0:
            try_s = max(min(left, try_s), _ASK_S_MIN)
            try:
                future = self._admin.list_offsets({asked: which}, request_timeout=try_s)[asked]
                offset = int(future.result(try_s + _REPLY_S).offset)
                if offset >= 0 or (or_none and offset == _NONE):  # so the library tells: no answer
                    return offset
            except FutureTimeout:
                pass
            except KafkaException as error:
                why = str(error)
                if error.args[0].code() not in _PASSING and not error.args[0].retriable():
                    break
            self._look_again(min(timeout_s * _FIRST_TRY, until - monotonic()))
            try_s = timeout_s
            threading.Event().wait(min(_RETRY_S, max(0.0, until - monotonic())))
        raise LogUnavailable(f"how far partition {partition} reaches was not told within {timeout_s:g} s: {why}")

    def _look_again(self, timeout_s: float) -> None:
        """Has the library forget what it knew of the leaders. By itself it would go on, for as long as it keeps
        that, to ask a broker that is dead while another leads (no answer), or under the epoch of before a broker
        was started again (turned away each time)."""
        with suppress(KafkaException):
            self._admin.list_topics(self._topic, timeout=max(_ASK_S_MIN, timeout_s))
