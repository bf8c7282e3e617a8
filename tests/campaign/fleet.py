"""Command APIs and executors as processes on a real broker; each can be killed, frozen and started again."""

import io
import json
import os
import shutil
import signal
import sys
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from PIL import Image

from campaign.client import MODEL
from darkroom.cli.stack.errors import StackError
from darkroom.cli.stack.jars import class_path
from darkroom.cli.stack.kafka import Broker, Cluster
from darkroom.cli.stack.ports import free_port
from darkroom.cli.stack.process import Child
from darkroom.cli.stack.readiness import wait_ready
from darkroom.cli.stack.services import http_probe
from darkroom.runtime.http.api import PREFIX
from darkroom.runtime.settings import Settings
from darkroom.runtime.testing import World, settings_for

BUNDLED = Path(__file__).resolve().parents[2] / "models" / "bundled"
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 12.0
_STARTS_MAX = 4
_ASK_TIMEOUT_S = 2.0
_KILLED_LINE = b"SIGKILL"


@dataclass
class Part:
    """One process that is kept running. `env` is added to the environment at every start."""

    name: str
    argv: Sequence[str]
    log: Path
    env: Mapping[str, str]
    probe: Callable[[], bool]
    child: Child | None = None
    armed: bool = False

    def start(self, **more: str) -> None:
        """Starts it anew, with `more` in its environment (then it is `armed`); from the main thread only."""
        self.child = Child(self.name, self.argv, self.log, {**self.env, **more})
        self.armed = bool(more)

    def wait_ready(self) -> None:
        """Raises StackError. What ends instead is started again a few times, as a supervisor would: an API that
        cannot learn how far the log reaches ends, for a new start."""
        for _ in range(_STARTS_MAX):
            assert self.child is not None
            try:
                wait_ready(self.child, self.probe, START_TIMEOUT_S)
            except StackError:
                if self.running():
                    raise
                self.kill()
                self.start()
            else:
                return
        raise StackError(f"{self.name} ended {_STARTS_MAX} times before it was ready; see {self.log}")

    def running(self) -> bool:
        return self.child is not None and self.child.exit_code() is None

    def signal(self, number: signal.Signals) -> None:
        """To the process and all that it has started."""
        if self.child is not None and self.running():
            with suppress(ProcessLookupError):
                os.killpg(self.child.pid, number)

    def kill(self) -> None:
        if self.child is not None:
            self.child.kill()

    def stop(self) -> bool:
        """Asks it to end; True if it did within its time."""
        return self.child is None or self.child.stop(STOP_TIMEOUT_S)

    def lose_data(self) -> None:
        """Takes away what it kept; only while it does not run."""
        shutil.rmtree(self.env["DARKROOM_DATA"])

    def deaths(self) -> int:
        """How often a worker of it was killed, by its own log."""
        return self.log.read_bytes().count(_KILLED_LINE) if self.log.exists() else 0


class Fleet:
    """Three command APIs and two executors by default. `brokers` is empty where the broker is somebody else's."""

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        kafka: str | None = None,
        replicas: int = 1,
        apis: int = 3,
        executors: int = 2,
        request_deadline_s: float = 5.0,
        lease_s: float = 3.0,
    ) -> None:
        """Returns once everything is ready. Without `kafka`, it has brokers of its own. Raises StackError."""
        folder.mkdir(parents=True, exist_ok=True)
        self.request_deadline_s = request_deadline_s
        self.brokers: list[Part] = []
        self.cluster: Cluster | None = None
        self.apis: list[Part] = []
        self.executors: list[Part] = []
        try:
            if kafka is None:
                kafka = self._start_brokers(folder, replicas)
            self.settings = settings_for(kafka, name, folder)
            self.settings = replace(self.settings, replication=replicas)
            _prepare(self.settings)
            env = self._environment(replicas, lease_s)
            self.ports = [free_port() for _ in range(apis)]
            for number, port in enumerate(self.ports):
                more = {"DARKROOM_COMMAND_PORT": str(port), "DARKROOM_COMMAND_URL": f"http://127.0.0.1:{port}"}
                self.apis.append(_service("command_api", number, folder, env | more, port))
            for number in range(executors):
                port = free_port()
                more = {"DARKROOM_HEALTH_PORT": str(port)}
                self.executors.append(_service("executor", number, folder, env | more, port))
            for part in self.services:
                part.start()
            for part in self.services:
                part.wait_ready()
            self.media = _upload(self.ports[0])
        except BaseException:
            self.close()
            raise

    @property
    def services(self) -> list[Part]:
        return [*self.apis, *self.executors]

    def heal(self, parts: Sequence[Part] | None = None) -> None:
        """Thaws what is frozen, starts what is dead or armed, and waits until all (or `parts`) are ready. Raises
        StackError."""
        parts = [*self.brokers, *self.services] if parts is None else parts
        for part in parts:
            part.signal(signal.SIGCONT)
            if part.armed or not part.running():
                part.kill()  # also what is left of its group
                part.start()
        for part in parts:
            part.wait_ready()

    def start_again(self) -> None:
        """Kills all services, starts them again and waits until they are ready. Raises StackError."""
        for part in self.services:
            part.kill()
        self.heal()

    def close(self) -> None:
        """Ends everything, frozen or not."""
        for part in [*self.services, *self.brokers]:
            part.signal(signal.SIGCONT)
            if part.child is not None:
                part.child.terminate()
        for part in [*self.services, *self.brokers]:
            part.stop()

    def leader(self, partition: int) -> Part:
        """The broker that leads a partition of the jobs' topic; any, if none does at present."""
        assert self.cluster is not None
        topic = self.settings.topic_jobs
        for broker in self.brokers:
            if not broker.running():
                continue
            admin = AdminClient({"bootstrap.servers": self.settings.kafka, "log_level": 0})
            with suppress(KafkaException):
                found = admin.list_topics(topic, timeout=_ASK_TIMEOUT_S).topics[topic].partitions[partition].leader
                if found > 0:
                    return self.brokers[found - 1]
        return self.brokers[partition % len(self.brokers)]

    def _start_brokers(self, folder: Path, replicas: int) -> str:
        brokers = [Broker(n, free_port(), free_port(), folder / f"kafka-{n}") for n in range(1, replicas + 1)]
        self.cluster = Cluster(brokers, class_path(), quick=True)
        self.cluster.format(folder)
        for broker in brokers:
            part = Part(
                name=f"kafka-{broker.node}",
                argv=self.cluster.argv(broker),
                log=folder / f"kafka-{broker.node}.log",
                env={},
                probe=lambda broker=broker: self.cluster is not None and self.cluster.probe(broker),  # type: ignore[misc]
            )
            self.brokers.append(part)
            part.start()
        for part in self.brokers:
            part.wait_ready()
        return self.cluster.bootstrap

    def _environment(self, replicas: int, lease_s: float) -> dict[str, str]:
        said = self.settings
        return {
            "DARKROOM_KAFKA": said.kafka,
            "DARKROOM_TOPIC_JOBS": said.topic_jobs,
            "DARKROOM_TOPIC_MODELS": said.topic_models,
            "DARKROOM_TOPIC_HEARTBEATS": said.topic_heartbeats,
            "DARKROOM_PARTITIONS": str(said.partitions),
            "DARKROOM_REPLICATION": str(replicas),
            "DARKROOM_BLOBS": said.blobs,
            "DARKROOM_BIND": "127.0.0.1",
            "DARKROOM_REQUEST_DEADLINE_S": str(self.request_deadline_s),
            "DARKROOM_LEASE_S": str(lease_s),
            "PYTHONUNBUFFERED": "1",
        }


def _service(kind: str, number: int, folder: Path, env: Mapping[str, str], port: int) -> Part:
    name = f"{kind}-{number}"
    data = folder / name
    data.mkdir(parents=True, exist_ok=True)
    return Part(
        name=name,
        argv=(sys.executable, "-m", f"darkroom.{kind}"),
        log=folder / f"{name}.log",
        env={**env, "DARKROOM_DATA": str(data)},
        probe=http_probe(port),
    )


def _prepare(settings: Settings) -> None:
    """Makes the topics and registers the model."""
    world = World(settings, BUNDLED)
    try:
        world.register(MODEL)
    finally:
        world.close()


def _upload(port: int) -> str:
    """The digest of the picture that every job is about."""
    file = io.BytesIO()
    Image.new("RGB", (16, 16), "teal").save(file, "PNG")
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{PREFIX}/media", file.getvalue(), {"Content-Type": "image/png"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=START_TIMEOUT_S) as response:
        return str(json.load(response)["digest"])
