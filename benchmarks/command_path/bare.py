"""Produce and wait for the delivery report, from N threads: what the broker costs without anything around it.

    python -m command_path.bare BOOTSTRAP FROM_TOPIC TO_TOPIC THREADS SECONDS

Appends copies of one record of FROM_TOPIC, with its key, value and headers, to the partitions of TO_TOPIC in turn.
"""

import sys
import threading
from itertools import count

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, Producer, TopicPartition

from command_path.threads import from_threads

_TIMEOUT_S = 10.0
_PARTITIONS = 8


def one_record(bootstrap: str, topic: str) -> Message:
    """The first record of a topic, from whichever partition has one."""
    reader = Consumer({"bootstrap.servers": bootstrap, "group.id": "none", "enable.auto.commit": False})
    try:
        reader.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(_PARTITIONS)])
        message = reader.poll(_TIMEOUT_S)
        assert message is not None, f"{topic} is empty"
        assert message.error() is None, message.error()
        return message
    finally:
        reader.close()


def main() -> None:
    bootstrap, from_topic, topic, threads, seconds = sys.argv[1:6]
    record = one_record(bootstrap, from_topic)
    key, value, headers = record.key(), record.value(), record.headers()
    # The settings of the product's own producer.
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "acks": "all", "linger.ms": 0})
    over = threading.Event()

    def poll() -> None:
        while not over.is_set():
            producer.poll(0.1)

    poller = threading.Thread(target=poll)
    poller.start()
    numbers = count()

    def produce_and_wait() -> None:
        done = threading.Lock()
        done.acquire()
        errors: list[KafkaError] = []

        def delivered(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                errors.append(error)
            done.release()

        producer.produce(topic, value, key, next(numbers) % _PARTITIONS, on_delivery=delivered, headers=headers)
        assert done.acquire(timeout=_TIMEOUT_S), "no delivery report"
        assert not errors, errors

    try:
        measured = from_threads(produce_and_wait, int(threads), float(seconds))
    finally:
        over.set()
        poller.join()
    measured.tell()


if __name__ == "__main__":
    main()
