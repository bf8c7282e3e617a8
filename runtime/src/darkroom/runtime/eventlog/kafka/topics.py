"""Topics as they shall be: made where they are missing, checked where they stand."""

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # re-exported without saying so
    AdminClient,
    ConfigResource,
    ResourceType,
)
from confluent_kafka.cimpl import NewTopic

from darkroom.runtime.eventlog.kafka.client import client_config, log
from darkroom.schemas.errors import LogUnavailable

TRUTH = {
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "unclean.leader.election.enable": "false",
}
"""Topic settings of the truth: kept for ever, whole."""
PASSING = {"cleanup.policy": "delete", "retention.ms": "3600000", "segment.ms": "3600000"}
"""Topic settings of signs of life: an hour is plenty."""

_ASK_S_MAX = 2.0
_SILENT = (KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN, KafkaError.REQUEST_TIMED_OUT)


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it shall be. `replication`: copies of each partition (3 or more: min ISR 2)."""

    name: str
    partitions: int
    replication: int
    config: Mapping[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, str]:
        """The topic's own settings on the broker."""
        return dict(self.config) | ({"min.insync.replicas": "2"} if self.replication >= 3 else {})


def ensure_topics(bootstrap: str, specs: Sequence[TopicSpec], timeout_s: float) -> None:
    """Makes the topics that are missing and checks those that stand, waiting for the broker up to `timeout_s`.

    Raises LogUnavailable if the broker does not answer in time, ValueError if a topic stands there with another
    number of partitions (keys would move: that needs a new topic and a copy), or if it may forget what `TRUTH` says
    it keeps (an accepted command would be lost without a word). Other differences are logged as warnings.
    """
    until = monotonic() + timeout_s
    admin = AdminClient(client_config(bootstrap))
    while True:
        try:
            found = admin.list_topics(timeout=max(0.1, min(_ASK_S_MAX, until - monotonic()))).topics
            missing = [s for s in specs if s.name not in found]
            for spec in specs:
                have = len(found[spec.name].partitions) if spec.name in found else spec.partitions
                if have not in (0, spec.partitions):
                    raise ValueError(
                        f"topic {spec.name} has {have} partitions, the settings say {spec.partitions}: "
                        "set DARKROOM_PARTITIONS to what the topic has, or name a new topic"
                    )
            if not missing and all(len(found[s.name].partitions) for s in specs):
                for spec in specs:
                    _check_settings(admin, spec, max(0.1, min(_ASK_S_MAX, until - monotonic())))
                return
            new = [NewTopic(s.name, s.partitions, s.replication, config=s.settings) for s in missing]
            futures = admin.create_topics(new) if new else {}
            for future in futures.values():
                # A sibling was quicker, or the broker is not ready: look again.
                with suppress(KafkaException, TimeoutError):
                    future.result(timeout=max(0.1, until - monotonic()))
        except (KafkaException, TimeoutError) as error:
            log.info("waiting for Kafka at %s: %s", bootstrap, error)
        if monotonic() > until:
            raise LogUnavailable(f"Kafka at {bootstrap} did not answer within {timeout_s:g} s")
        threading.Event().wait(0.1)


def look_up(bootstrap: str, topic: str, timeout_s: float) -> tuple[str, int]:
    """The topic's identity and number of partitions. Raises LogUnavailable."""
    until = monotonic() + timeout_s
    admin = AdminClient(client_config(bootstrap))
    while True:
        try:
            left = max(0.1, min(_ASK_S_MAX, until - monotonic()))
            futures = admin.describe_topics(TopicCollection([topic]), request_timeout=left)
            found = futures[topic].result(timeout=left + 0.5)
            return str(found.topic_id), len(found.partitions)
        except (KafkaException, TimeoutError) as error:
            if monotonic() > until:
                raise LogUnavailable(f"topic {topic} could not be looked up: {_why(error, bootstrap)}") from None
            threading.Event().wait(0.2)


def _why(error: KafkaException | TimeoutError, bootstrap: str) -> str:
    if isinstance(error, TimeoutError) or error.args[0].code() in _SILENT:
        return f"the broker at {bootstrap} does not answer"
    if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
        return f"the broker at {bootstrap} has no such topic"
    return f"the broker at {bootstrap} says: {error.args[0].str()}"


def _check_settings(admin: AdminClient, spec: TopicSpec, timeout_s: float) -> None:
    """Raises ValueError if the topic of a truth may forget; KafkaException or TimeoutError if nobody answers."""
    if not spec.settings:
        return
    resource = ConfigResource(ResourceType.TOPIC, spec.name)
    try:
        found = admin.describe_configs([resource], request_timeout=timeout_s)[resource].result(timeout_s + 0.5)
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_AUTHORIZATION_FAILED:
            raise
        log.warning("the settings of topic %s may not be read: nobody checks that it keeps everything", spec.name)
        return
    wrong = {
        name: f"{name}={found[name].value} instead of {value}"
        for name, value in spec.settings.items()
        if name in found and found[name].value != value
    }
    if not wrong:
        return
    said = f"topic {spec.name} has other settings than it must have: {', '.join(wrong.values())}"
    if spec.config.get("retention.ms") == TRUTH["retention.ms"] and wrong.keys() & TRUTH.keys():
        raise ValueError(f"{said}; it may forget what it has acknowledged: set them back with kafka-configs")
    log.warning(said)
