"""While hostile pictures come from all sides, small commands are answered, and the pictures come to an end."""

import os
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from darkroom.runtime.decoding.testing import hostile_uploads, many_scans_jpeg

from .service import DESCRIPTION, PNG, TFLITE, Service, free_port

CLIENTS = 40
_PROBLEM = "urn:darkroom:problem:"


@pytest.fixture
def service(kafka: str, unique_name: str, tmp_path: Path):
    environment = {
        "DARKROOM_KAFKA": kafka,
        "DARKROOM_TOPIC_JOBS": f"{unique_name}.jobs",
        "DARKROOM_TOPIC_MODELS": f"{unique_name}.models",
        "DARKROOM_TOPIC_HEARTBEATS": f"{unique_name}.heartbeats",
        "DARKROOM_PARTITIONS": "2",
        "DARKROOM_DATA": str(tmp_path),
        "DARKROOM_BLOBS": f"file://{tmp_path}/blobs",
        "DARKROOM_HTTP_THREADS": "16",
        "DARKROOM_REQUEST_DEADLINE_S": "10",
        "DARKROOM_PICTURE_DEADLINE_S": "0.4",
    }
    service = Service(environment, free_port(), tmp_path / "log")
    try:
        service.wait_ready()
        yield service
    finally:
        service.end(signal.SIGKILL)


def test_small_commands_beside_hostile_uploads(service):
    small = service.client
    registered = small.put(
        "/models/m/versions/1", data={"description": DESCRIPTION}, files={"file": ("m.tflite", TFLITE)}
    )
    assert registered.status_code == 202, registered.text
    digest = small.post("/media", content=PNG).json()["digest"]

    # More than there are threads: some in bodies that count as small, some that do not.
    slow = [many_scans_jpeg(3500, 3500), many_scans_jpeg(6000, 6000)]
    assert len(slow[0]) < 2**16 < len(slow[1])
    pictures = [*slow * 8, *(data for _, data in hostile_uploads(20_000_000))]
    limits = httpx.Limits(max_connections=CLIENTS)
    with (
        httpx.Client(base_url=small.base_url, limits=limits, timeout=60) as hostile,
        ThreadPoolExecutor(CLIENTS) as pool,
    ):

        def upload(number: int) -> httpx.Response | None:
            content = pictures[number % len(pictures)] + os.urandom(16)
            try:
                return hostile.post("/media", content=content)
            except httpx.TransportError:
                assert len(content) > 2**16, "only who still sends may miss that there is no room"
                return None

        uploads = [pool.submit(upload, number) for number in range(CLIENTS)]
        answered = 0
        while not all(upload.done() for upload in uploads):
            created = small.post("/jobs", json={"model": "m", "inputs": [{"media": digest}]})
            assert created.status_code == 202, created.text
            job_id = created.json()["id"]
            assert small.post(f"/jobs/{job_id}/cancel").status_code == 202
            assert small.delete(f"/jobs/{job_id}").status_code == 202
            answered += 3
        answers = [answer for upload in uploads if (answer := upload.result())]

    assert answered > 3, "they were answered all along"
    found = Counter(
        (answer.status_code, answer.json().get("type", "").removeprefix(_PROBLEM)) for answer in answers
    )
    assert found[422, "picture-too-slow"] >= 1, found
    assert found[503, "too-busy"] >= 1, found
    allowed = {
        (201, ""),
        (413, "picture-too-large"),
        (422, "picture-broken"),
        (422, "picture-too-slow"),
        (503, "too-busy"),
    }
    assert found.keys() <= allowed, found
    assert all(answer.headers["Retry-After"] for answer in answers if answer.status_code == 503)
    text = service.log.read_text()
    assert "Traceback" not in text
    assert small.post("/media", content=PNG + b"x").status_code == 201, "all of it is over"
    assert service.end() == 0
