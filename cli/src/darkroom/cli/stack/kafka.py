"""An embedded Kafka: one broker, or three on the loopback interface, each broker and controller at once (KRaft)."""

import base64
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

# The stack starts the broker, so it also asks the broker whether it is up.
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from darkroom.cli.stack.errors import StackError
from darkroom.cli.stack.java import java_command
from darkroom.cli.stack.ports import HOST
from darkroom.cli.stack.process import Child, last_lines

_FORMAT_TIMEOUT_S = 60.0
_PROBE_TIMEOUT_S = 0.3
_LINES_SHOWN = 15
_MEMORY = ("-Xms192m", "-Xmx384m", "-XX:+UseSerialGC")
# Less compiling: a quicker start and, with two cores, quicker tests, for less throughput in the long run.
_QUICK = ("-XX:TieredStopAtLevel=1",)
_LOG4J = """\
rootLogger.level=WARN
rootLogger.appenderRef.out.ref=out
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d{ISO8601} %p %c{1}: %m%n
logger.start.name=org.apache.kafka.common.utils.AppInfoParser
logger.start.level=INFO
"""


@dataclass(frozen=True)
class Broker:
    """One node of the cluster. `folder` holds its settings and its log; `advertised_port` is where clients find it,
    if not at `port` itself (fault tests put a proxy there)."""

    node: int
    port: int
    controller_port: int
    folder: Path
    advertised_port: int | None = None

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"{HOST}:{self.port}"

    @property
    def advertised_address(self) -> str:
        """Where clients find it."""
        return f"{HOST}:{self.advertised_port or self.port}"


@dataclass(frozen=True)
class Cluster:
    """Brokers that form one cluster; `quick` trades throughput for a quick start (tests)."""

    brokers: Sequence[Broker]
    class_path: str
    quick: bool = False

    @property
    def bootstrap(self) -> str:
        return ",".join(broker.advertised_address for broker in self.brokers)

    def format(self, logs: Path) -> None:
        """Writes the settings, and formats the storage of each broker that has none yet. Raises StackError."""
        for broker in self.brokers:
            broker.folder.mkdir(parents=True, exist_ok=True)
            self._settings(broker).write_text(server_properties(broker, self.brokers), "utf-8")
            (broker.folder / "log4j2.properties").write_text(_LOG4J, "utf-8")
        fresh = [b for b in self.brokers if not (b.folder / "log" / "meta.properties").exists()]
        if not fresh:
            return
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        arguments = ("format", "--cluster-id", cluster_id, "--config")
        children = [
            Child(
                "kafka format",
                self._java(broker, "kafka.tools.StorageTool", *arguments, str(self._settings(broker))),
                logs / "kafka-format.log",
            )
            for broker in fresh
        ]
        codes = [child.wait(_FORMAT_TIMEOUT_S) for child in children]
        for child in children:
            child.kill()  # if it has not ended in time
        if any(codes) or None in codes:
            lines = "\n".join(last_lines(logs / "kafka-format.log", _LINES_SHOWN))
            raise StackError(f"Kafka's storage could not be formatted:\n{lines}")

    def argv(self, broker: Broker) -> list[str]:
        """The command line of a broker."""
        return self._java(broker, "kafka.Kafka", str(self._settings(broker)))

    def probe(self, broker: Broker) -> bool:
        """Does the broker answer, and know of all its peers?"""
        try:
            found = self._admins[broker.node].list_topics(timeout=_PROBE_TIMEOUT_S)
        except KafkaException:
            return False
        return len(found.brokers) == len(self.brokers)

    @cached_property
    def _admins(self) -> dict[int, AdminClient]:
        quiet = {"log_level": 0, "reconnect.backoff.ms": 50, "reconnect.backoff.max.ms": 200}
        return {b.node: AdminClient({"bootstrap.servers": b.address, **quiet}) for b in self.brokers}

    @staticmethod
    def _settings(broker: Broker) -> Path:
        return broker.folder / "server.properties"

    def _java(self, broker: Broker, main: str, *arguments: str) -> list[str]:
        return [
            java_command(),
            *_MEMORY,
            *(_QUICK if self.quick else ()),
            f"-Dlog4j2.configurationFile={broker.folder / 'log4j2.properties'}",
            "-cp",
            self.class_path,
            main,
            *arguments,
        ]


def server_properties(broker: Broker, brokers: Sequence[Broker]) -> str:
    """The settings file of one broker."""
    replication = len(brokers)
    min_isr = 2 if replication >= 3 else 1
    settings = {
        "process.roles": "broker,controller",
        "node.id": broker.node,
        # Named here and not in the formatted storage, so that the next start may take other ports.
        "controller.quorum.voters": ",".join(f"{b.node}@{HOST}:{b.controller_port}" for b in brokers),
        "listeners": f"PLAINTEXT://{broker.address},CONTROLLER://{HOST}:{broker.controller_port}",
        "advertised.listeners": f"PLAINTEXT://{broker.advertised_address}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "log.dirs": broker.folder / "log",
        "auto.create.topics.enable": "false",
        "default.replication.factor": replication,
        "min.insync.replicas": min_isr,
        "offsets.topic.replication.factor": replication,
        "offsets.topic.num.partitions": 4,
        # A stack that was not used for weeks must find its groups' positions again.
        "offsets.retention.minutes": 5_256_000,
        "transaction.state.log.replication.factor": replication,
        "transaction.state.log.min.isr": min_isr,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": replication,
        "share.coordinator.state.topic.min.isr": min_isr,
        "share.coordinator.state.topic.num.partitions": 4,
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 1000,
        # Half a minute of the default would be half a minute without a leader after a broker's death.
        "broker.session.timeout.ms": 6000,
        "log.cleaner.dedupe.buffer.size": 16 * 2**20,  # the default takes a third of our heap
    }
    return "".join(f"{key}={value}{os.linesep}" for key, value in settings.items())
