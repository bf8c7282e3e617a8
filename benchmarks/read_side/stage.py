"""The stage: a broker, a MongoDB, topics full of events, and the processes of a case side by side on them."""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import processes
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient

from darkroom.projector.checksum import checksum
from darkroom.runtime.eventlog.kafka import TRUTH, TopicSpec, ensure_topics
from read_side.consuming import offsets
from read_side.figures import Figure, Share

PARTITIONS = 8
SUM = "sum of "
"""Begins the name of the figure that says what the documents of some read models add up to."""
_TIMEOUT_S = 900.0
_TOPIC_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Stage:
    """Where everything is, and what it has cost so far."""

    folder: Path
    kafka: str
    mongodb: str
    pids: Mapping[str, int]

    def fill(self, topic: str, events: int, seed: int = 1) -> dict[int, int]:
        """Makes a topic with so many events. Returns the end of each partition."""
        ensure_topics(self.kafka, [TopicSpec(topic, PARTITIONS, 1, TRUTH)], _TOPIC_TIMEOUT_S)
        argv = [self.kafka, topic, str(PARTITIONS), str(events), str(seed)]
        processes.client(["-m", "read_side.filling", *argv], _TIMEOUT_S)
        ends = offsets(self.kafka, topic, PARTITIONS)
        assert sum(ends.values()) == events, ends
        return ends

    def settings(self, topic: str, database: str) -> dict[str, str]:
        """The product's settings for one topic and one database."""
        return {
            "DARKROOM_KAFKA": self.kafka,
            "DARKROOM_MONGODB": self.mongodb,
            "DARKROOM_MONGODB_DATABASE": database,
            "DARKROOM_TOPIC_JOBS": topic,
            "DARKROOM_PARTITIONS": str(PARTITIONS),
            "DARKROOM_DATA": str(self.folder / "disposable"),
            "DARKROOM_HEALTH_PORT": "0",
            "DARKROOM_LOG": "console",
        }

    def servers_cpu_s(self) -> dict[str, float]:
        """Processor time of broker and database so far."""
        return {name: processes.cpu_s(pid) for name, pid in self.pids.items()}

    def spent_since(self, before: Mapping[str, float]) -> dict[str, float]:
        """Processor time of broker and database since `before`."""
        return {name: now - before[name] for name, now in self.servers_cpu_s().items()}

    def client(self) -> "MongoClient[dict[str, Any]]":
        return MongoClient(self.mongodb)

    def rest(self) -> None:
        """What MongoDB still has to write of an earlier case, it writes now."""
        with self.client() as client:
            client.admin.command("fsync")

    def sum_of(self, database: str) -> int:
        """A checksum over all documents of generation 1, short enough for a float."""
        total = 0
        raw: CodecOptions[Any] = CodecOptions(document_class=RawBSONDocument)
        with self.client() as client:
            for name in client[database].list_collection_names(filter={"name": {"$regex": "_g1$"}}):
                documents: Any = client[database].get_collection(name, codec_options=raw).find(batch_size=5_000)
                total += checksum(document.raw for document in documents).total
        return total % 2**53

    def drop(self, database: str) -> None:
        with self.client() as client:
            client.drop_database(database)

    def once(self, argv: Sequence[str], env: Mapping[str, str]) -> None:
        """A Python process of which only what it does counts."""
        processes.client(argv, _TIMEOUT_S, **env)

    def run(self, argvs: Sequence[Sequence[str]], env: Mapping[str, str] | None = None) -> Figure:
        """Python processes side by side, each of which tells its share. Ends the benchmark if one fails."""
        before = self.servers_cpu_s()
        with _side_by_side(argvs, env or {}) as running:
            shares = [Share.heard(_said(one, argv)) for one, argv in zip(running, argvs, strict=True)]
        return Figure.of(shares, self.spent_since(before))


@contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    """Kafka and MongoDB as `darkroom up` starts them, on free ports, for as long as it lasts."""
    with processes.stack(folder, "kafka", "mongodb") as ready:
        yield Stage(folder, ready["kafka"], ready["mongodb"], {n: ready["pids"][n] for n in ("kafka", "mongodb")})


@contextmanager
def _side_by_side(
    argvs: Sequence[Sequence[str]], env: Mapping[str, str]
) -> Iterator[list["subprocess.Popen[str]"]]:
    running: list[subprocess.Popen[str]] = []
    try:
        for argv in argvs:
            running.append(
                subprocess.Popen(
                    [sys.executable, *argv],
                    env=processes.environment(**env),
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        yield running
    finally:
        for one in running:
            one.kill()
            one.wait()


def _said(process: "subprocess.Popen[str]", argv: Sequence[str]) -> str:
    said, errors = process.communicate(timeout=_TIMEOUT_S)
    if process.returncode:
        raise SystemExit(f"{' '.join(argv)} failed:\n{errors[-3000:]}")
    return said
