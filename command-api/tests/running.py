"""The command API as a process on a real broker, and raw requests to it: for the catalogue of bad input."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from darkroom.runtime.eventlog.kafka import KafkaLog
from darkroom.runtime.eventlog.port import Record
from darkroom.runtime.http.api import PREFIX
from darkroom.runtime.http.problems import MEDIA_TYPE, PROBLEMS
from darkroom.runtime.http.problems import PREFIX as URN
from darkroom.runtime.ids import Position

# Fixed, since it names tests: processes that share the tests have to agree on their names.
SECRET = "S3CRET4f1d2c9b7a604e5d8c3b6a7f90e1d2c3"
"""Stands in every payload, key, name and picture of a row, and must never stand in the service's log."""
BODY_SIZE_BYTES_MAX = 2**20
MODEL_SIZE_BYTES_MAX = 6 * 2**20
PICTURE_PIXELS_MAX = 1_000_000
_START_TIMEOUT_S = 40.0
_ANSWER_TIMEOUT_S = 15.0
_IMAGE_DESCRIPTION = 0x010E
NULL = object()
TFLITE = b"\x1c\x00\x00\x00TFL3" + SECRET.encode() + bytes(64)
DESCRIPTION: dict[str, Any] = {
    "kind": "classification",
    "runtime": "litert",
    "input": {"width_px": 8, "height_px": 8, "dtype": "uint8"},
    "output": {"format": "scores"},
    "labels": ["circle", SECRET],
}
_LIVE = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def _in_base64(text: str) -> set[str]:
    """What of a text shows in base64, wherever in the encoded bytes it stands."""
    shifted = (base64.b64encode(b"\0" * n + text.encode() + b"\0\0").decode()[4:-8] for n in range(3))
    return {form for one in shifted for form in (one, one.replace("+", "-").replace("/", "_"))}


FORMS_OF_THE_SECRET = frozenset(
    {SECRET, SECRET.lower(), SECRET.upper(), SECRET.encode().hex(), *_in_base64(SECRET)}
)


@dataclass(frozen=True, slots=True)
class Received:
    """One answer. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def request(method: str, path: str, *headers: str, body: bytes = b"", close: bool = True) -> bytes:
    """The bytes of a request below the prefix; its length is told unless `headers` frame the body themselves."""
    lines = [f"{method} {PREFIX}{path} HTTP/1.1", "Host: command.test", *headers]
    framed = any(line.lower().startswith(("content-length:", "transfer-encoding:")) for line in headers)
    if not framed and (body or method in ("POST", "PUT")):
        lines.append(f"Content-Length: {len(body)}")
    if close:
        lines.append("Connection: close")
    return "\r\n".join(lines).encode("latin1") + b"\r\n\r\n" + body


def picture(form: str = "PNG", size_px: tuple[int, int] = (8, 6), mode: str = "RGB", **more: Any) -> bytes:
    """A picture with the secret in its metadata, where its format has any."""
    info = PngInfo()
    info.add_text("Comment", SECRET)
    exif = Image.Exif()
    exif[_IMAGE_DESCRIPTION] = SECRET
    said = {"PNG": {"pnginfo": info}, "JPEG": {"exif": exif}, "WEBP": {"exif": exif}}.get(form, {})
    content = BytesIO()
    Image.new(mode, size_px).save(content, form, **{**said, **more})
    return content.getvalue()


def data_url(data: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64," + base64.b64encode(data).decode()


def job(**changes: Any) -> dict[str, Any]:
    """A body of `POST /jobs` that is accepted as it is. `None` leaves a field out; `NULL` sends null."""
    said = {"model": "m", "inputs": [{"data": data_url(picture())}], "labels": {"note": SECRET}, **changes}
    return {name: None if value is NULL else value for name, value in said.items() if value is not None}


def post_json(path: str, body: Any, *headers: str, method: str = "POST") -> bytes:
    """A request with a JSON body: bytes as they are, anything else encoded."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return request(method, path, "Content-Type: application/json", *headers, body=data)


def part(name: str, content: str | bytes, file_name: str | None = None, *headers: str) -> bytes:
    """One part of a form, with a file name if it is a file."""
    file = "" if file_name is None else f'; filename="{file_name}"'
    head = "\r\n".join([f'Content-Disposition: form-data; name="{name}"{file}', *headers])
    data = content if isinstance(content, bytes) else content.encode()
    return head.encode("utf-8", "surrogateescape") + b"\r\n\r\n" + data


def form(*parts: bytes) -> bytes:
    """The body of a form whose boundary is `b`."""
    return b"".join(b"--b\r\n" + one + b"\r\n" for one in parts) + b"--b--\r\n"


def send_form(path: str, *parts: bytes, method: str = "POST") -> bytes:
    """A request with a form."""
    return request(method, path, "Content-Type: multipart/form-data; boundary=b", body=form(*parts))


class Running:
    """One process of the service, the log behind it, and what it has logged."""

    def __init__(self, kafka: str, topics: str, folder: Path, script: str | None = None) -> None:
        """`script`: a file beside this one, to be started in place of the service itself."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.folder = folder
        self._log = folder / "log"
        self._kafka = kafka
        self._topics = (f"{topics}.jobs", f"{topics}.models")
        self._readers: list[KafkaLog] = []
        settings = {
            "DARKROOM_KAFKA": kafka,
            "DARKROOM_TOPIC_JOBS": self._topics[0],
            "DARKROOM_TOPIC_MODELS": self._topics[1],
            "DARKROOM_TOPIC_HEARTBEATS": f"{topics}.heartbeats",
            "DARKROOM_PARTITIONS": "2",
            "DARKROOM_COMMAND_PORT": str(self.port),
            "DARKROOM_DATA": str(folder),
            "DARKROOM_BLOBS": f"file://{folder}/blobs",
            "DARKROOM_BODY_SIZE_BYTES_MAX": str(BODY_SIZE_BYTES_MAX),
            "DARKROOM_INPUTS_SIZE_BYTES_MAX": str(BODY_SIZE_BYTES_MAX),
            "DARKROOM_MODEL_SIZE_BYTES_MAX": str(MODEL_SIZE_BYTES_MAX),
            "DARKROOM_PICTURE_PIXELS_MAX": str(PICTURE_PIXELS_MAX),
        }
        command = ["-m", "darkroom.command_api"] if script is None else [str(Path(__file__).with_name(script))]
        with self._log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, *command], env={**os.environ, **settings}, stdout=output, stderr=output
            )

    def wait_ready(self) -> None:
        until = monotonic() + _START_TIMEOUT_S
        while True:
            assert self.process.poll() is None, self._log.read_text()
            try:
                if self.send(_LIVE.replace(b"live", b"ready")).status == 200:
                    break
            except OSError:
                pass
            assert monotonic() < until, self._log.read_text()
            Event().wait(0.05)
        self._readers = [KafkaLog(self._kafka, topic) for topic in self._topics]

    def end(self) -> None:
        for reader in self._readers:
            reader.close(2)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(15)

    def send(self, raw: bytes) -> Received:
        """The answer to raw bytes, after which nothing more is sent."""
        (answer,) = self.send_all(raw)
        return answer

    def send_all(self, raw: bytes) -> list[Received]:
        """All answers on one connection, until the service closes it."""
        with socket.create_connection(("127.0.0.1", self.port), _ANSWER_TIMEOUT_S) as connection:
            try:
                connection.sendall(raw)
                connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # it has heard enough; its answer can be read all the same
            received = b""
            while chunk := connection.recv(65536):
                received += chunk
        return _answers(received)

    def register(self, name: str) -> None:
        """Registers a model that may be named in jobs."""
        parts = part("description", json.dumps(DESCRIPTION)), part("file", TFLITE, "m.tflite")
        answer = self.send(send_form(f"/models/{name}/versions/1", *parts, method="PUT"))
        assert answer.status == 202, answer.body

    def is_live(self) -> bool:
        return self.process.poll() is None and self.send(_LIVE).status == 200

    def ends(self) -> tuple[int, ...]:
        """The end offset of each partition of both topics, asked of the broker."""
        return tuple(log.end_offset(p, 5) for log in self._readers for p in range(log.partitions))

    def record_of(self, accepted: Received) -> Record:
        """The event of an accepted command on a job, as it stands in the log."""
        position = Position.parse(accepted.json["position"])
        return self._readers[0].read_one(position.partition, position.offset, 5)

    def logged(self, since: int = 0) -> str:
        """What the process has logged, from a place in its log on."""
        with self._log.open("rb") as log:
            log.seek(since)
            return log.read().decode()

    @property
    def log_size_bytes(self) -> int:
        return self._log.stat().st_size

    def check_refused(self, raw: bytes, status: int, name: str, *, echoed: bool = False) -> Received:
        """Sends what is to be refused, and asserts all that holds for every refusal. `echoed`: the problem names
        what holds the secret, such as an unknown field."""
        before, since = self.ends(), self.log_size_bytes
        answer = self.send(raw)
        check_problem(answer, status, name)
        assert echoed or SECRET.encode() not in answer.body, answer.body
        assert self.ends() == before, "nothing is appended"
        assert self.is_live()
        check_log(self.logged(since))
        return answer


def check_problem(answer: Received, status: int, name: str) -> None:
    """The answer is that problem, in full."""
    assert answer.headers.get("content-type") == MEDIA_TYPE, (answer.status, answer.body[:500])
    body = answer.json
    assert (answer.status, body["type"]) == (status, URN + name), body
    assert (body["status"], body["title"]) == (status, PROBLEMS[name].title)
    assert status in PROBLEMS[name].statuses
    assert body["detail"]
    assert status != 503 or "retry-after" in answer.headers
    assert status != 405 or "allow" in answer.headers


def check_log(text: str) -> None:
    """No payload and no stack trace stands in what was logged, and every line is JSON."""
    for line in text.splitlines():
        assert isinstance(json.loads(line), dict)
    found = [form for form in FORMS_OF_THE_SECRET if form in text]
    assert not found, (found, text)
    assert "Traceback" not in text, text


def _answers(received: bytes) -> list[Received]:
    found = []
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin1").split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        if status.split()[1] == "100":
            continue
        size_bytes = int(headers.get("content-length", len(received)))
        found.append(Received(int(status.split()[1]), headers, received[:size_bytes]))
        received = received[size_bytes:]
    return found
