"""The event log on Kafka: with its siblings here the only place that imports confluent_kafka.

Clients are made in the process that uses them, never before a fork: a producer does not survive one.
"""

from darkroom.runtime.eventlog.kafka.log import KafkaLog
from darkroom.runtime.eventlog.kafka.membership import Membership
from darkroom.runtime.eventlog.kafka.topics import PASSING, TRUTH, TopicSpec, ensure_topics

__all__ = ["PASSING", "TRUTH", "KafkaLog", "Membership", "TopicSpec", "ensure_topics"]
