"""The command API as a process, on a real broker and a folder of blobs."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Event
from time import monotonic

import httpx
import pytest

from darkroom.runtime.eventlog.kafka import KafkaLog
from darkroom.runtime.ids import Position
from darkroom.schemas.wire import read_envelope, read_guard

TFLITE = b"\x1c\x00\x00\x00TFL3" + bytes(64)
DESCRIPTION = (
    '{"kind": "classification", "runtime": "litert", "labels": ["a", "b"], "output": {"format": "scores"}, '
    '"input": {"width_px": 8, "height_px": 8, "dtype": "uint8"}}'
)
_PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc00000030101"
    "00c9fe92ef0000000049454e44ae426082"
)


class Service:
    """One process, and a client of it."""

    def __init__(self, environment: dict[str, str], port: int, log: Path) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "darkroom.command_api"],
                env={**os.environ, **environment, "DARKROOM_COMMAND_PORT": str(port)},
                stdout=output,
                stderr=output,
            )
        self.client = httpx.Client(base_url=self.url + "/api/v1/inference", timeout=20)

    def wait_ready(self, timeout_s: float = 40) -> None:
        until = monotonic() + timeout_s
        while True:
            assert self.process.poll() is None, self.log.read_text()
            try:
                if httpx.get(self.url + "/health/ready", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            assert monotonic() < until, self.log.read_text()
            Event().wait(0.05)

    def end(self, sig: int = signal.SIGTERM) -> int:
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(sig)
        return self.process.wait(15)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
    found = [Service(environment, _free_port(), tmp_path / f"{n}.log") for n in range(2)]
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
    digest = one.post("/media", content=_PNG).json()["digest"]

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
    again = Service(environment, _free_port(), services[0].log)
    services.append(again)
    again.wait_ready()
    assert again.client.post("/jobs", json=body, headers=key).json() == first.json()
    assert again.end(signal.SIGINT) == 0


def test_a_stopped_tail_ends_the_process(environment, tmp_path):
    """Its heads cannot be kept any more: it says 503 and ends, so that its supervisor starts it anew."""
    service = Service(environment, _free_port(), tmp_path / "log")
    try:
        service.wait_ready()
        registered = service.client.put(
            "/models/m/versions/1", data={"description": DESCRIPTION}, files={"file": ("m.tflite", TFLITE)}
        )
        assert registered.status_code == 202, registered.text
        digest = service.client.post("/media", content=_PNG).json()["digest"]
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
        "DARKROOM_KAFKA": f"127.0.0.1:{_free_port()}",
        "DARKROOM_DATA": str(tmp_path),
        "DARKROOM_BLOBS": f"file://{tmp_path}/blobs",
        "DARKROOM_START_TIMEOUT_S": "0.5",
    }
    service = Service(environment, _free_port(), tmp_path / "log")
    try:
        assert service.process.wait(20) != 0
        assert "did not answer within" in service.log.read_text()
    finally:
        service.end(signal.SIGKILL)
