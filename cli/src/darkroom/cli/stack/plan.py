"""What one `darkroom up` is to start, made from its options: the parts by layer, and what the ready file says."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from darkroom.cli.stack.errors import StackError
from darkroom.cli.stack.jars import Progress, class_path
from darkroom.cli.stack.kafka import Broker, Cluster
from darkroom.cli.stack.mongod import Node, ReplicaSet, find_mongod
from darkroom.cli.stack.parts import Part
from darkroom.cli.stack.ports import free_port, is_free
from darkroom.cli.stack.services import COMMANDS, Service, service_part
from darkroom.runtime.settings import Settings

SERVERS = ("kafka", "mongodb")
KINDS = (*SERVERS, *COMMANDS)
_KAFKA_PORT, _MONGODB_PORT = 9093, 27018
FIXED_PORTS = {"command API": 8080, "query API": 8081, "Kafka": _KAFKA_PORT, "MongoDB": _MONGODB_PORT}
_SERVER_STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Options:
    """The options of `darkroom up`, checked. `counts`: how many of each kind of service."""

    data: Path
    only: frozenset[str] = frozenset(KINDS)
    counts: Mapping[str, int] = field(default_factory=dict)
    replicas: int = 1
    auto_ports: bool = False
    reset: bool = False
    restart: bool = True
    ready_file: Path | None = None
    quick: bool = False


@dataclass(frozen=True)
class Plan:
    """`cluster` is None where Kafka is not ours to start."""

    parts: Sequence[Part]
    cluster: Cluster | None
    ready: Mapping[str, Any]


def make_plan(
    options: Options,
    settings: Settings,
    commands: Mapping[str, tuple[str, ...]] = COMMANDS,
    progress: Progress | None = None,
) -> Plan:
    """Takes ports, and fetches Kafka's jars if they are missing. Raises StackError."""
    cluster = _cluster(options, progress) if "kafka" in options.only else None
    replica_set = _replica_set(options) if "mongodb" in options.only else None
    services = _services(options, settings)
    urls = {kind: [s.url for s in services if s.kind == kind] for kind in COMMANDS}
    kafka = cluster.bootstrap if cluster else settings.kafka
    mongodb = replica_set.uri if replica_set else settings.mongodb
    blobs = os.environ.get("DARKROOM_BLOBS") or f"file://{options.data / 'blobs'}"
    env = {
        "DARKROOM_KAFKA": kafka,
        "DARKROOM_MONGODB": mongodb,
        "DARKROOM_BLOBS": blobs,
        "DARKROOM_REPLICATION": str(options.replicas),
        "DARKROOM_COMMAND_URL": next(iter(urls["command-api"]), settings.command_url),
        "DARKROOM_QUERY_URL": next(iter(urls["query-api"]), settings.query_url),
    }
    ready = {
        "command_url": next(iter(urls["command-api"]), None),
        "command_urls": urls["command-api"],
        "query_url": next(iter(urls["query-api"]), None),
        "kafka": kafka,
        "mongodb": mongodb,
        "mongodb_database": settings.mongodb_database,
        "blobs": blobs,
        "topics": {
            "jobs": settings.topic_jobs,
            "models": settings.topic_models,
            "heartbeats": settings.topic_heartbeats,
        },
        "data": str(options.data),
        "up_pid": os.getpid(),
    }
    parts = [
        *(_broker_parts(cluster) if cluster else ()),
        *(_mongod_parts(replica_set) if replica_set else ()),
        *(service_part(service, commands, env, options.data) for service in services),
    ]
    return Plan(parts, cluster, ready)


def _cluster(options: Options, progress: Progress | None) -> Cluster:
    brokers = [
        Broker(n, _port("Kafka", _KAFKA_PORT, n, options), free_port(), options.data / "kafka" / str(n))
        for n in range(1, options.replicas + 1)
    ]
    return Cluster(brokers, class_path(progress), options.quick)


def _replica_set(options: Options) -> ReplicaSet | None:
    try:
        mongod = find_mongod()
    except StackError:
        if os.environ.get("DARKROOM_MONGODB"):
            return None  # a platform without an embedded one, but the user has his own
        raise
    nodes = [
        Node(_port("MongoDB", _MONGODB_PORT, n, options), options.data / "mongodb" / str(n))
        for n in range(1, options.replicas + 1)
    ]
    return ReplicaSet(nodes, mongod)


def _services(options: Options, settings: Settings) -> list[Service]:
    fixed = {"command-api": settings.command_port, "query-api": settings.query_port}
    return [
        Service(kind, n, _port(kind, fixed[kind], n, options) if kind in fixed else free_port())
        for kind in COMMANDS
        if kind in options.only
        for n in range(1, options.counts.get(kind, 1) + 1)
    ]


def _port(what: str, fixed: int, number: int, options: Options) -> int:
    """The fixed port for the first of a kind; further ones, and all with `--ports auto`, take free ones."""
    if options.auto_ports or number > 1:
        return free_port()
    if not is_free(fixed):
        raise StackError(
            f"port {fixed} ({what}) is in use: stop what listens there (`ss -ltnp 'sport = :{fixed}'` names it), "
            "or use --ports auto"
        )
    return fixed


def _broker_parts(cluster: Cluster) -> list[Part]:
    def part_of(broker: Broker) -> Part:
        name = "kafka" if len(cluster.brokers) == 1 else f"kafka-{broker.node}"
        return Part(
            kind="kafka",
            name=name,
            layer=0,
            argv=cluster.argv(broker),
            probe=lambda: cluster.probe(broker),
            where=broker.address,
            stop_timeout_s=_SERVER_STOP_TIMEOUT_S,
        )

    return [part_of(broker) for broker in cluster.brokers]


def _mongod_parts(replica_set: ReplicaSet) -> list[Part]:
    several = len(replica_set.nodes) > 1
    return [
        Part(
            kind="mongodb",
            name=f"mongodb-{n}" if several else "mongodb",
            layer=0,
            argv=replica_set.argv(node),
            probe=replica_set.probe,
            where=node.address,
            stop_timeout_s=_SERVER_STOP_TIMEOUT_S,
        )
        for n, node in enumerate(replica_set.nodes, 1)
    ]
