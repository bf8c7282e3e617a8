"""docker-compose.yaml, run and not only written: up, jobs from the host, the topic as the broker prints it, down.

Outside the ordinary run: `make test-compose`. It needs a Docker engine with Compose 2 and the ports that the file
names (8080, 8081, 9093, 27018), and it uses a project name of its own, so nobody's volumes are touched.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.compose

ROOT = Path(__file__).parents[1]
COMPOSE = ["docker", "compose", "--project-name", "darkroom-test"]
ENVIRONMENT = {
    **os.environ,
    "DARKROOM_COMMAND_URL": "http://127.0.0.1:8080",
    "DARKROOM_QUERY_URL": "http://127.0.0.1:8081",
    "DARKROOM_KAFKA": "localhost:9093",
    "DARKROOM_MONGODB": "mongodb://localhost:27018/?directConnection=true",
}


def run(*command: str, timeout_s: float = 120.0) -> str:
    """Output of a command that must succeed."""
    done = subprocess.run(
        command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def darkroom(*arguments: str) -> str:
    """The `darkroom` command, against the composed services."""
    return run(str(Path(sys.executable).parent / "darkroom"), *arguments)


@pytest.fixture(scope="module")
def composed() -> Iterator[None]:
    run(*COMPOSE, "--profile", "simulator", "build", timeout_s=1500)
    try:
        run(*COMPOSE, "up", "--detach", "--wait", timeout_s=240)
        darkroom("models", "add", "--bundled")
        yield
    finally:
        run(*COMPOSE, "--profile", "simulator", "down", "--volumes")


def topic(topic: str, count: int) -> list[dict[str, object]]:
    """The first events of a topic, as Kafka's own console consumer prints them inside its container."""
    printed = run(
        *COMPOSE, "exec", "-T", "kafka", "/opt/kafka/bin/kafka-console-consumer.sh",
        "--bootstrap-server", "kafka:9092", "--topic", topic, "--from-beginning",
        "--max-messages", str(count), "--timeout-ms", "20000",
    )  # fmt: skip
    return [json.loads(line) for line in printed.splitlines() if line.startswith("{")]


@pytest.mark.usefixtures("composed")
def test_jobs_from_the_host_run_through_the_composed_services() -> None:
    detected = darkroom("submit", "models/samples/scene-1.jpg", "--model", "shapes-detector", "--wait")
    classified = darkroom("submit", "models/samples/heart.jpg", "--model", "shapes-classifier-tf", "--wait")
    assert "circle" in detected
    assert "heart" in classified

    events = topic("darkroom.jobs.v1", 6)
    assert len(events) == 6
    assert {event["specversion"] for event in events} == {"1.0"}
    first = [event for event in events if event["subject"] == events[0]["subject"]]
    assert [str(event["type"]).split(".")[2] for event in first] == [
        "created",
        "execution-started",
        "execution-succeeded",
    ]
    assert "equal the log" in darkroom("replay", "--check")


@pytest.mark.usefixtures("composed")
def test_the_simulator_of_the_profile_makes_traffic() -> None:
    printed = run(
        *COMPOSE, "--profile", "simulator", "run", "--rm", "-e", "DARKROOM_SIMULATE_COUNT=20", "simulator"
    )
    assert "unexpected 0" in printed


@pytest.mark.usefixtures("composed")
def test_no_service_of_ours_runs_as_root_and_bodies_are_not_logged() -> None:
    for service in ("command-api", "query-api", "projector", "executor"):
        assert run(*COMPOSE, "exec", "-T", service, "id", "-u").strip() == "10001"
    assert "base64" not in run(*COMPOSE, "logs", "command-api")
