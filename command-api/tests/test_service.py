"""The command API as a process, on a real broker and a folder of blobs."""

import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import monotonic

import pytest

from darkroom.runtime.eventlog.kafka import KafkaLog
from darkroom.runtime.ids import Position
from darkroom.schemas.wire import read_envelope, read_guard

from .service import DESCRIPTION, PNG, TFLITE, Service, free_port


@pytest.fixture
def environment(kafka: str, unique_name: str, tmp_path: Path) -> dict[str, str]:
    return {
        "DARKROOM_KAFKA": kafka,
        "DARKROOM_TOPIC_JOBS": f"{unique_name}.jobs",
        "DARKROOM_TOPIC_MODELS": f"{unique_name}.models",
        "DARKROOM_TOPIC_HEARTBEATS": f"{unique_name}.heartbeats",
        "DARKROOM_COMMAND_URL": "http://command.test",  # one address for all instances, as behind a balancer
        "DARKROOM_PARTITIONS": "2",
        "DARKROOM_DATA": str(tmp_path),
        "DARKROOM_BLOBS": f"file://{tmp_path}/blobs",
        "DARKROOM_REQUEST_DEADLINE_S": "10",
    }


@pytest.fixture
def services(environment: dict[str, str], tmp_path: Path) -> Iterator[list[Service]]:
    """Two instances that share the log, the blobs and the data folder."""
    found = [Service(environment, free_port(), tmp_path / f"{n}.log") for n in range(2)]
    try:
        for service in found:
            service.wait_ready()
        yield found
    finally:
        for service in found:
            service.end(signal.SIGKILL)


def test_two_instances_on_one_log(services, environment):
    one, two = (service.client for service in services)
    registered = one.put(
        "/models/m/versions/1", data={"description": DESCRIPTION}, files={"file": ("m.tflite", TFLITE)}
    )
    assert registered.status_code == 202, registered.text
    digest = one.post("/media", content=PNG).json()["digest"]

    # What one instance accepted, the other knows, and what it has not heard of it does not guess.
    body = {"model": "m", "inputs": [{"media": digest}], "execute": False}
    key = {"Idempotency-Key": "the-same"}
    first = two.post("/jobs", json=body, headers=key)
    assert first.status_code == 202, first.text
    assert one.post("/jobs", json=body, headers=key).json() == first.json()
    job_id = first.json()["id"]
    ran = one.post(f"/jobs/{job_id}/runs")
    assert (ran.status_code, ran.json()["run"], ran.json()["version"]) == (202, 1, 2)
    assert two.post(f"/jobs/{job_id}/runs").status_code == 409
    assert two.delete(f"/jobs/{job_id}").status_code == 202
    assert one.post(f"/jobs/{job_id}/cancel").status_code == 410
    assert one.post("/jobs/00000000-0000-7000-8000-000000000000/cancel").status_code == 404

    # The position of a 202 is where its event stands.
    position = Position.parse(ran.json()["position"])
    log = KafkaLog(environment["DARKROOM_KAFKA"], environment["DARKROOM_TOPIC_JOBS"])
    try:
        assert log.topic_id == position.topic_id
        record = log.read_one(position.partition, position.offset, 10)
    finally:
        log.close(5)
    event = read_envelope(read_guard(record.key, record.headers), record.value, record.headers)
    assert event.guard.type == "darkroom.job.execution-requested.v1"
    assert event.event.spec.inputs[0].digest == digest

    # A clean end, in time; and after a new start the first answers still stand.
    begun = monotonic()
    assert [service.end() for service in services] == [0, 0]
    assert monotonic() - begun < 10
    again = Service(environment, free_port(), services[0].log)
    services.append(again)
    again.wait_ready()
    assert again.client.post("/jobs", json=body, headers=key).json() == first.json()
    assert again.end(signal.SIGINT) == 0


def test_a_stopped_tail_ends_the_process(environment, tmp_path):
    """Its heads cannot be kept any more: it says 503 and ends, so that its supervisor starts it anew."""
    service = Service(environment, free_port(), tmp_path / "log")
    try:
        service.wait_ready()
        registered = service.client.put(
            "/models/m/versions/1", data={"description": DESCRIPTION}, files={"file": ("m.tflite", TFLITE)}
        )
        assert registered.status_code == 202, registered.text
        digest = service.client.post("/media", content=PNG).json()["digest"]
        with closing(sqlite3.connect(tmp_path / "command-api" / "heads-0.sqlite", timeout=10)) as heads:
            heads.execute(
                "CREATE TRIGGER full BEFORE INSERT ON heads BEGIN SELECT RAISE(ABORT, 'disk is full'); END"
            )
            heads.commit()
        answer = service.client.post("/jobs", json={"model": "m", "inputs": [{"media": digest}]})
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:darkroom:problem:tail-behind")
        assert service.process.wait(15) > 0
        assert "a tail has stopped: disk is full" in service.log.read_text()
    finally:
        service.end(signal.SIGKILL)


def test_no_broker(tmp_path):
    """Without a log it does not start, and says why."""
    environment = {
        "DARKROOM_KAFKA": f"127.0.0.1:{free_port()}",
        "DARKROOM_DATA": str(tmp_path),
        "DARKROOM_BLOBS": f"file://{tmp_path}/blobs",
        "DARKROOM_START_TIMEOUT_S": "0.5",
    }
    service = Service(environment, free_port(), tmp_path / "log")
    try:
        assert service.process.wait(20) != 0
        assert "did not answer within" in service.log.read_text()
    finally:
        service.end(signal.SIGKILL)
