"""The embedded Kafka and MongoDB under `darkroom up`, for real."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from pymongo import MongoClient

from darkroom.cli.stack.process import runs
from darkroom.cli.stack.testing import Up, eventually

SERVERS = ("--only", "kafka,mongodb", "--ports", "auto")
Start = Callable[..., Up]


def darkroom(*arguments: str, **env: str) -> str:
    command = [sys.executable, "-m", "darkroom.cli", *arguments]
    done = subprocess.run(
        command, env={**os.environ, **env}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def write(ready: dict[str, str], note: str) -> None:
    """One record, and one document with majority write concern."""
    admin = AdminClient({"bootstrap.servers": ready["kafka"]})
    admin.create_topics([NewTopic("notes", 1)])["notes"].result(timeout=10)
    producer = Producer({"bootstrap.servers": ready["kafka"], "acks": "all"})
    producer.produce("notes", note)
    assert producer.flush(10) == 0
    with MongoClient[dict[str, str]](ready["mongodb"]) as client:
        client.tests.notes.insert_one({"note": note})


@pytest.mark.timeout(300)
def test_a_second_start_goes_on_where_the_first_was_killed(start_up: Start) -> None:
    first = start_up(*SERVERS)
    before = first.ready()
    write(before, "kept")
    first.process.kill()
    eventually("all dead", lambda: not any(runs(pid) for pid in before["pids"].values()))

    second = start_up(*SERVERS)
    after = second.ready()
    assert after["kafka"] != before["kafka"], "chosen at random: equal once in thousands of runs"
    consumer = ("console-consumer", "--topic", "notes", "--from-beginning", "--max-messages", "1")
    # By the ready file, as a user would: the tool finds the broker by itself.
    assert darkroom("kafka", *consumer, DARKROOM_READY_FILE=str(second.ready_file)).strip() == "kept"
    with MongoClient[dict[str, str]](after["mongodb"]) as client:
        assert [found["note"] for found in client.tests.notes.find()] == ["kept"]

    os.kill(after["pids"]["kafka"], signal.SIGKILL)
    os.kill(after["pids"]["mongodb"], signal.SIGKILL)
    eventually(
        "both again",
        lambda: (
            second.ready()["pids"].keys() == after["pids"].keys()
            and not (set(second.ready()["pids"].values()) & set(after["pids"].values()))
        ),
    )
    assert second.ready()["kafka"] == after["kafka"]
    with MongoClient[dict[str, str]](after["mongodb"]) as client:
        assert client.tests.notes.count_documents({}) == 1
    darkroom("down", DARKROOM_READY_FILE=str(second.ready_file))
    assert second.ended() == 0


@pytest.mark.long
@pytest.mark.timeout(300)
def test_three_of_each(start_up: Start) -> None:
    up = start_up(*SERVERS, "--replicas", "3")
    ready = up.ready()
    assert len(ready["kafka"].split(",")) == 3
    assert len(ready["pids"]["mongodb"]) == 3
    found = AdminClient({"bootstrap.servers": ready["kafka"]}).list_topics(timeout=5)
    assert len(found.brokers) == 3
    with MongoClient[dict[str, str]](ready["mongodb"]) as client:
        client.tests.get_collection("notes").insert_one({"note": "kept"})
        assert len(client.admin.command("hello")["hosts"]) == 3
    assert up.stop() == 0

    again = start_up(*SERVERS, "--replicas", "3")
    with MongoClient[dict[str, str]](again.ready()["mongodb"]) as client:
        assert client.tests.notes.count_documents({}) == 1
    assert again.stop() == 0


def test_console_tool_takes_a_broker_by_hand(kafka: str) -> None:
    out = darkroom("kafka", "kafka-broker-api-versions.sh", "--bootstrap-server", kafka)
    assert Path(out.split()[0]).name.startswith("127.0.0.1:")
