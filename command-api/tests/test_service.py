"""The command API as a process, on a real broker and a folder of blobs."""

import signal
from collections.abc import Iterator
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


def _overwritten(heads: Path, old: bytes) -> None:
    heads.write_bytes(old)  # in place: the file that the process has open


def _deleted(heads: Path, old: bytes) -> None:
    heads.unlink()


@pytest.mark.parametrize("harm", [_overwritten, _deleted])
def test_heads_that_were_harmed_end_the_process_and_are_made_again(environment, tmp_path, harm):
    """It says 503, never anything false, and ends, so that its supervisor starts it anew."""
    heads = tmp_path / "command-api" / "heads-0.sqlite"
    service = Service(environment, free_port(), tmp_path / "log")
    again = None
    try:
        service.wait_ready()
        old = heads.read_bytes()
        registered = service.client.put(
            "/models/m/versions/1", data={"description": DESCRIPTION}, files={"file": ("m.tflite", TFLITE)}
        )
        assert registered.status_code == 202, registered.text
        digest = service.client.post("/media", content=PNG).json()["digest"]
        body, key = {"model": "m", "inputs": [{"media": digest}]}, {"Idempotency-Key": "kept"}
        first = service.client.post("/jobs", json=body, headers=key)
        assert first.status_code == 202, first.text

        harm(heads, old)
        answer = service.client.post(f"/jobs/{first.json()['id']}/cancel")
        assert answer.status_code == 503, answer.text
        assert answer.headers["Retry-After"]
        assert service.process.wait(15) > 0
        assert "heads-0.sqlite" in service.log.read_text()

        again = Service(environment, free_port(), tmp_path / "again.log")
        again.wait_ready()
        assert again.client.post("/jobs", json=body, headers=key).json() == first.json()
        cancelled = again.client.post(f"/jobs/{first.json()['id']}/cancel")
        assert (cancelled.status_code, cancelled.json()["version"]) == (202, 2)
    finally:
        for started in filter(None, (service, again)):
            started.end(signal.SIGKILL)


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
