"""Stretches of partitions, read with confluent_kafka as plainly as it goes."""

from collections.abc import Iterator, Mapping
from time import monotonic

from confluent_kafka import Consumer, Message, TopicPartition

_SILENCE_S_MAX = 30.0
_MESSAGES_MAX = 2_000


def offsets(bootstrap: str, topic: str, partitions: int) -> dict[int, int]:
    """The end of each partition."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "none"})
    try:
        return {p: consumer.get_watermark_offsets(TopicPartition(topic, p), 10)[1] for p in range(partitions)}
    finally:
        consumer.close()


def messages(
    bootstrap: str, topic: str, stops: Mapping[int, int], messages_max: int = _MESSAGES_MAX, wait_s: float = 0.1
) -> Iterator[list[Message]]:
    """All messages of some partitions from offset 0 to before `stops`, as they come, at most `messages_max` at once
    (what is there after `wait_s`)."""
    # The number 0, never OFFSET_BEGINNING, which costs half a second.
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "none", "enable.auto.commit": False})
    try:
        consumer.assign([TopicPartition(topic, p, 0) for p in stops])
        left, heard = sum(stops.values()), monotonic()
        while left:
            found = consumer.consume(min(left, messages_max), wait_s)
            for message in found:
                assert message.error() is None, message.error()
            if found:
                left, heard = left - len(found), monotonic()
                yield found
            assert monotonic() - heard < _SILENCE_S_MAX, f"{left} events of {topic} do not come"
    finally:
        consumer.close()
