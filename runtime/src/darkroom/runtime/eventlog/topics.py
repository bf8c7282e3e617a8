"""The three topics, by the settings: made by whichever service comes first."""

from darkroom.runtime.eventlog.kafka import PASSING, TRUTH, TopicSpec, ensure_topics
from darkroom.runtime.settings import Settings


def ensure_all_topics(settings: Settings) -> None:
    """Makes the topics that are missing. Raises LogUnavailable, or ValueError where a topic stands there with
    another number of partitions."""
    ensure_topics(
        settings.kafka,
        [
            TopicSpec(settings.topic_jobs, settings.partitions, settings.replication, TRUTH),
            TopicSpec(settings.topic_models, 1, settings.replication, TRUTH),
            TopicSpec(settings.topic_heartbeats, 1, settings.replication, PASSING),
        ],
        settings.start_timeout_s,
    )
