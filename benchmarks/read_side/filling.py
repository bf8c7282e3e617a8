"""Fills a topic that exists with made-up traffic, as fast as it goes.

python -m read_side.filling BOOTSTRAP TOPIC PARTITIONS EVENTS SEED
"""

import sys

from confluent_kafka import KafkaError, Message, Producer

from darkroom.projector.testing import bulk_traffic

_FLUSH_S = 60.0


def main() -> None:
    bootstrap, topic, partitions, events, seed = sys.argv[1:]
    errors: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            errors.append(error)

    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "acks": "all", "linger.ms": 5})
    for record in bulk_traffic(int(seed), int(events), int(partitions)):
        while True:
            try:
                producer.produce(
                    topic,
                    record.value,
                    record.key,
                    record.partition,
                    on_delivery=delivered,
                    headers=list(record.headers),
                )
                break
            except BufferError:  # the client's queue is full
                producer.poll(0.1)
        producer.poll(0)
    assert producer.flush(_FLUSH_S) == 0
    assert not errors, errors[:3]


if __name__ == "__main__":
    main()
