"""The log in memory and the log on a real Kafka pass one conformance suite; and what Kafka alone has to do."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from darkroom.runtime.eventlog.conformance import CLOSING, SCENARIOS
from darkroom.runtime.eventlog.kafka import PASSING, TRUTH, KafkaLog, TopicSpec, ensure_topics
from darkroom.runtime.eventlog.memory import MemoryLog
from darkroom.runtime.eventlog.port import EventLog
from darkroom.schemas.errors import LogUnavailable

NOBODY = "127.0.0.1:1"  # a port where no broker listens


@pytest.fixture(scope="module")
def on_kafka(kafka: str) -> Iterator[KafkaLog]:
    topic = f"conformance-{threading.get_native_id()}-{monotonic():.0f}"
    ensure_topics(kafka, [TopicSpec(topic, 2, 1, TRUTH)], 30.0)
    log = KafkaLog(kafka, topic)
    yield log
    log.close(5.0)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.__name__)
def test_memory_conforms(scenario: Callable[[EventLog], None]) -> None:
    scenario(MemoryLog(2))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.__name__)
def test_kafka_conforms(scenario: Callable[[EventLog], None], on_kafka: KafkaLog) -> None:
    scenario(on_kafka)


def test_closing_waits_for_what_is_under_way(kafka: str, unique_name: str) -> None:
    ensure_topics(kafka, [TopicSpec(unique_name, 1, 1)], 30.0)
    for log in (MemoryLog(1), KafkaLog(kafka, unique_name)):
        CLOSING(log)


def test_a_log_in_memory_can_be_made_unavailable() -> None:
    log = MemoryLog(1)
    log.available = False
    for call in (
        lambda: log.append(0, b"k", b"v", []),
        lambda: log.end_offset(0, 1),
        lambda: log.first_offset(0, 1),
        lambda: log.read_one(0, 0, 1),
    ):
        with pytest.raises(LogUnavailable):
            call()


def test_topics_are_made_with_their_settings_once(kafka: str, unique_name: str) -> None:
    specs = [TopicSpec(f"{unique_name}-truth", 3, 1, TRUTH), TopicSpec(f"{unique_name}-passing", 1, 1, PASSING)]
    with ThreadPoolExecutor(3) as services:  # several services start at once
        list(services.map(lambda _: ensure_topics(kafka, specs, 30.0), range(3)))
    ensure_topics(kafka, specs, 30.0)
    admin = AdminClient({"bootstrap.servers": kafka})
    for spec in specs:
        resource = ConfigResource(ResourceType.TOPIC, spec.name)
        found = admin.describe_configs([resource])[resource].result(10)
        assert {name: found[name].value for name in spec.config} == dict(spec.config)
        assert len(admin.list_topics(spec.name, 10).topics[spec.name].partitions) == spec.partitions


def test_another_number_of_partitions_is_refused(kafka: str, unique_name: str) -> None:
    ensure_topics(kafka, [TopicSpec(unique_name, 2, 1)], 30.0)
    with pytest.raises(ValueError, match=f"{unique_name} has 2 partitions"):
        ensure_topics(kafka, [TopicSpec(unique_name, 4, 1)], 30.0)
    log = KafkaLog(kafka, unique_name)
    assert log.partitions == 2
    log.close(5.0)


def test_a_topic_made_again_is_another_topic(kafka: str, unique_name: str) -> None:
    ensure_topics(kafka, [TopicSpec(unique_name, 1, 1)], 30.0)
    first = KafkaLog(kafka, unique_name)
    first.close(5.0)
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.delete_topics([unique_name])[unique_name].result(10)
    ensure_topics(kafka, [TopicSpec(unique_name, 1, 1)], 30.0)
    second = KafkaLog(kafka, unique_name)
    second.close(5.0)
    assert first.topic_id != second.topic_id


def test_an_unknown_topic_is_unavailable(kafka: str, unique_name: str) -> None:
    with pytest.raises(LogUnavailable, match=unique_name):
        KafkaLog(kafka, unique_name, connect_timeout_s=0.3)


def test_without_a_broker_everything_says_so_within_its_deadline() -> None:
    began = monotonic()
    with pytest.raises(LogUnavailable):
        ensure_topics(NOBODY, [TopicSpec("t", 1, 1)], 0.3)
    with pytest.raises(LogUnavailable):
        KafkaLog(NOBODY, "t", connect_timeout_s=0.3)
    assert monotonic() - began < 5


def test_a_topic_that_may_forget_is_refused(kafka: str, unique_name: str) -> None:
    """A truth that is deleted after a week would lose what was accepted; another difference is only logged."""
    forgetful = dict(TRUTH) | {"retention.ms": "604800000"}
    ensure_topics(kafka, [TopicSpec(unique_name, 1, 1, forgetful)], 30.0)
    with pytest.raises(ValueError, match=r"retention\.ms=604800000 instead of -1"):
        ensure_topics(kafka, [TopicSpec(unique_name, 1, 1, TRUTH)], 30.0)
    ensure_topics(kafka, [TopicSpec(unique_name, 1, 1, PASSING)], 30.0)
