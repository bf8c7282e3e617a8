"""The command API over a log in memory: the same app, tails and writers, no broker."""

import io
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import pytest
from flask.testing import FlaskClient
from obstore.store import MemoryStore
from PIL import Image
from werkzeug.test import TestResponse

from darkroom.command_api.app import Parts, create_app
from darkroom.command_api.endings import Endings
from darkroom.command_api.readiness import readiness_of
from darkroom.runtime.blobs import BlobStore
from darkroom.runtime.catalogue import Catalogue
from darkroom.runtime.eventlog.memory import MemoryLog
from darkroom.runtime.eventlog.port import Record
from darkroom.runtime.heads import HeadStore
from darkroom.runtime.http.api import PREFIX
from darkroom.runtime.ids import new_id
from darkroom.runtime.settings import read_settings
from darkroom.runtime.tail import Tail
from darkroom.runtime.writer import JobWriter, ModelWriter
from darkroom.schemas import job
from darkroom.schemas.chain import partition_of
from darkroom.schemas.wire import Context, Envelope, read_envelope, read_guard

from .running import Running, check_log

TFLITE = b"\x1c\x00\x00\x00TFL3" + bytes(64)
TAR_GZ = b"\x1f\x8b\x08\x00" + bytes(64)
DESCRIPTION: dict[str, Any] = {
    "kind": "classification",
    "runtime": "litert",
    "input": {"width_px": 64, "height_px": 64, "layout": "NHWC", "dtype": "uint8", "normalization": None},
    "output": {"format": "scores", "activation": "none", "label_offset": 0},
    "labels": ["circle", "square", "triangle"],
}


def picture(form: str = "PNG", size_px: tuple[int, int] = (8, 6), mode: str = "RGB", **more: Any) -> bytes:
    """The bytes of a small picture."""
    content = io.BytesIO()
    Image.new(mode, size_px, 0).save(content, form, **more)
    return content.getvalue()


@dataclass
class Door:
    """A client of the app, and the log behind it."""

    client: FlaskClient
    job_log: MemoryLog
    model_log: MemoryLog
    blobs: BlobStore
    jobs: JobWriter
    tails: tuple[Tail, Tail]

    def post(self, path: str, json: Any = None, **more: Any) -> TestResponse:
        return self.client.post(PREFIX + path, json=json, **more)

    def put(self, path: str, json: Any = None, **more: Any) -> TestResponse:
        return self.client.put(PREFIX + path, json=json, **more)

    def get(self, path: str, **more: Any) -> TestResponse:
        return self.client.get(PREFIX + path, **more)

    def delete(self, path: str, **more: Any) -> TestResponse:
        return self.client.delete(PREFIX + path, **more)

    def put_form(self, path: str, *parts: tuple[str, str | None, bytes]) -> TestResponse:
        """A multipart body of (name, file name, content). Made here: for large ones the test client would open a
        file that it never closes."""
        body = b""
        for name, file_name, content in parts:
            file = f'; filename="{file_name}"' if file_name else ""
            body += (
                f'--b\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + content + b"\r\n"
            )
        content_type = "multipart/form-data; boundary=b"
        return self.client.put(PREFIX + path, data=body + b"--b--\r\n", content_type=content_type)

    def upload(self, data: bytes | None = None) -> str:
        answer = self.client.post(PREFIX + "/media", data=picture() if data is None else data)
        assert answer.status_code == 201, answer.json
        return str(answer.json["digest"])

    def register(
        self,
        name: str = "m",
        version: str = "1",
        *,
        file: bytes = TFLITE,
        description: Any = None,
        headers: Any = None,
        **changes: Any,
    ) -> TestResponse:
        said = {**DESCRIPTION, **changes} if description is None else description
        return self.client.put(
            f"{PREFIX}/models/{name}/versions/{version}",
            data={
                "description": said if isinstance(said, str) else json.dumps(said),
                "file": (io.BytesIO(file), "x"),
            },
            headers=headers or {},
        )

    def model(self, version: str = "1") -> str:
        """The name of a fresh model, with one version."""
        name = f"m-{new_id()}"
        assert self.register(name, version).status_code == 202
        return name

    def body(self, **changes: Any) -> dict[str, Any]:
        """A body of POST /jobs that is accepted."""
        return {"model": "m", "inputs": [{"media": self.upload()}], **changes}

    def create(self, **changes: Any) -> str:
        """A fresh job's id."""
        answer = self.post("/jobs", self.body(**changes))
        assert answer.status_code == 202, answer.json
        return str(answer.json["id"])

    def executor(self, job_id: str, *commands: job.Command) -> None:
        """Lets commands of an executor take effect."""
        for command in commands:
            identity = job.Identity(new_id(), "h", "default")
            context = Context("urn:test", datetime.now(UTC), "test", "c", "c")
            self.jobs.execute(job_id, command, identity, context, monotonic() + 5)

    def records(self) -> list[Record]:
        """Everything in both topics."""
        return [
            log.read_one(partition, offset, 1)
            for log in (self.job_log, self.model_log)
            for partition in range(log.partitions)
            for offset in range(log.end_offset(partition, 1))
        ]

    def events(self, job_id: str) -> list[Envelope]:
        """The job's events in the log."""
        partition = partition_of(job_id, self.job_log.partitions)
        found = []
        for offset in range(self.job_log.end_offset(partition, 1)):
            record = self.job_log.read_one(partition, offset, 1)
            guard = read_guard(record.key, record.headers)
            if guard.key == job_id:
                found.append(read_envelope(guard, record.value, record.headers))
        return found


@pytest.fixture
def door(_door: Door) -> Iterator[Door]:
    """The app with the model `m` registered. The log is that of all tests: use fresh ids, keys and models."""
    yield _door
    _door.job_log.available = _door.model_log.available = True


@pytest.fixture(scope="session")
def _door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    settings = replace(
        read_settings(),
        data=tmp_path_factory.mktemp("data"),
        request_deadline_s=5.0,
        body_size_bytes_max=2**20,
        inputs_size_bytes_max=2**20,
        model_size_bytes_max=3 * 2**20,
        picture_pixels_max=1_000_000,
        command_url="http://command.test",
        query_url="http://query.test",
        cors_origins=("http://query.test",),
    )
    job_log, model_log = MemoryLog(4, "jobs-topic"), MemoryLog(1, "models-topic")
    endings = Endings(2, threading.Event())
    heads, catalogue = HeadStore(":memory:", job_log, endings.heard), Catalogue(model_log)
    tails = Tail(job_log, heads, "jobs"), Tail(model_log, catalogue, "models")
    blobs = BlobStore(MemoryStore())
    jobs = JobWriter(job_log, tails[0], heads)
    models = ModelWriter(model_log, tails[1], catalogue)
    readiness = readiness_of([(job_log, tails[0]), (model_log, tails[1])], blobs)
    app = create_app(settings, Parts(job_log, model_log, jobs, models, blobs, readiness, endings))
    for tail in tails:
        tail.start()
    found = Door(app.test_client(), job_log, model_log, blobs, jobs, tails)
    answer = found.register()
    assert answer.status_code == 202, answer.json
    yield found
    for tail in tails:
        tail.stop()
    heads.close()


@pytest.fixture(scope="session")
def running(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The service as a process on a real broker, with small limits and the model `m`; one for all of the catalogue.
    At the end, nothing that any test sent stands in its log."""
    found = Running(kafka, f"running-{new_id()}", tmp_path_factory.mktemp("running"))
    try:
        found.wait_ready()
        found.register("m")
        yield found
        assert found.process.poll() is None
        check_log(found.logged())
    finally:
        found.end()
