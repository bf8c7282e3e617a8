"""The server around the apps, over real sockets: what it refuses by itself, and how it ends."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from time import monotonic

import orjson
import pytest

from darkroom.runtime.http.gate import places_of

SCRIPT = Path(__file__).with_name("tiny_service.py")
JOBS = "/api/v1/inference"


@dataclass
class Tiny:
    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def talk(self, sent: bytes) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the answer to raw bytes, after which nothing more is sent."""
        with socket.create_connection(("127.0.0.1", self.port), 10) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            received = b""
            while chunk := connection.recv(65536):
                received += chunk
        head, _, body = received.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        return int(status.split()[1]), headers, body


def _start(log: Path, *more: str) -> Tiny:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, str(SCRIPT), str(port), *more], stdout=output, stderr=output)
    return Tiny(port, process, log)


def _wait_ready(tiny: Tiny) -> None:
    until = monotonic() + 20
    while True:
        assert tiny.process.poll() is None, tiny.log.read_text()
        try:
            if tiny.talk(b"GET /health/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")[0] == 200:
                return
        except OSError:
            assert monotonic() < until, tiny.log.read_text()
            Event().wait(0.05)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tiny]:
    found = _start(tmp_path_factory.mktemp("tiny") / "log")
    try:
        _wait_ready(found)
        yield found
    finally:
        found.process.kill()
        found.process.wait(10)


def _post(path: str, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"POST {JOBS}{path} HTTP/1.1", "Host: x", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)


@pytest.mark.parametrize(
    ("sent", "status", "name"),
    [
        (b"GARBAGE S3CRET\r\n\r\n", 400, "malformed-request"),
        (b"GET / HTTP/9.9\r\n\r\n", 400, "malformed-request"),
        (b"GET / HTTP/1.1\r\nbad header S3CRET\r\n\r\n", 400, "malformed-request"),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n", 414, "uri-too-long"),
        (b"GET / HTTP/1.1\r\nX: " + b"S3CRET" * 7000 + b"\r\n\r\n", 431, "headers-too-large"),
        (b"GET / HTTP/1.1\r\n" + b"X: S3CRET\r\n" * 200 + b"\r\n", 431, "headers-too-large"),
        (_post("/size", "Content-Length: nope"), 400, "malformed-request"),
        (_post("/size", "Content-Length: 5000"), 413, "body-too-large"),
        (_post("/size", "Transfer-Encoding: chunked", body=b"zz\r\n"), 400, "malformed-request"),
        (
            _post("/size", "Transfer-Encoding: chunked", body=_chunked(*[b"x" * 300] * 10) + b"0\r\n\r\n"),
            413,
            "body-too-large",
        ),
        (
            _post(
                "/json",
                "Content-Type: application/json",
                "Transfer-Encoding: chunked",
                body=_chunked(b"[1", b"]" + b" " * 998, b"x" * 900) + b"0\r\n\r\n",
            ),
            413,
            "body-too-large",
        ),
    ],
)
def test_what_is_refused(tiny, sent, status, name):
    answered, headers, body = tiny.talk(sent)
    assert (answered, headers["Content-Type"]) == (status, "application/problem+json")
    assert orjson.loads(body)["type"] == f"urn:darkroom:problem:{name}"
    assert b"S3CRET" not in body
    assert "S3CRET" not in tiny.log.read_text()


def test_chunked_bodies_within_the_limit(tiny):
    sent = _post("/size", "Transfer-Encoding: chunked", body=_chunked(b"x" * 300, b"y" * 300) + b"0\r\n\r\n")
    status, _, body = tiny.talk(sent)
    assert (status, orjson.loads(body)) == (200, {"size_bytes": 600})


def test_logs_are_json_lines(tiny):
    tiny.talk(b"GET /nope?key=S3CRET HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    lines = [orjson.loads(line) for line in tiny.log.read_text().splitlines()]
    found = [line for line in lines if line.get("event") == "request" and line["status"] == 404]
    assert found
    assert set(found[-1]) >= {"request_id", "trace_id", "service", "method", "route", "took_ms"}
    assert "S3CRET" not in tiny.log.read_text()


def test_streams_end_and_clients_are_closed_on_sigterm(tmp_path):
    tiny = _start(tmp_path / "log")
    try:
        _wait_ready(tiny)
        with socket.create_connection(("127.0.0.1", tiny.port), 10) as connection:
            connection.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
            received = b""
            while b"begun" not in received:
                received += connection.recv(65536)
            begun = monotonic()
            tiny.process.send_signal(signal.SIGTERM)
            while chunk := connection.recv(65536):
                received += chunk
        assert b"ended" in received, "what was under way is answered to its end"
        assert tiny.process.wait(10) == 0
        assert monotonic() - begun < 8
        assert "closed" in tiny.log.read_text()
    finally:
        tiny.process.kill()
        tiny.process.wait(10)


_LIVE = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
_THREADS = 8


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tiny]:
    """A service that waits for requests only shortly: stall 0.5 s, head 0.8 s, all of it 1.2 s."""
    found = _start(tmp_path_factory.mktemp("short") / "log", "short")
    try:
        _wait_ready(found)
        yield found
    finally:
        found.process.kill()
        found.process.wait(10)


@contextmanager
def _connected(port: int, count: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(("127.0.0.1", port), 10)) for _ in range(count)]


@pytest.mark.parametrize(
    "half",
    [
        b"",
        b"GET /health/li",
        b"GET / HTTP/1.1\r\nHost: x\r\n",
        _post("/size", "Content-Length: 100", body=b"x" * 50),
        _post("/size", "Transfer-Encoding: chunked", body=b"64\r\nxxx"),
        _LIVE,  # whole, but the client does not close its side after the answer
    ],
    ids=["nothing", "request line", "head", "body", "chunk", "not closed"],
)
def test_clients_that_stop_half_way_do_not_hold_the_threads(short, half):
    with _connected(short.port, _THREADS) as clients:
        for client in clients:
            client.sendall(half)
        begun = monotonic()
        refused = 0
        assert short.talk(_LIVE)[0] == 200
        assert monotonic() - begun < 4
        if half and half is not _LIVE:
            for client in clients:
                received = _all_of(client)
                if b" 503 " in received.split(b"\r\n")[0]:  # it found no place at the gate
                    assert b"urn:darkroom:problem:too-busy" in received
                    refused += 1
                    continue
                assert b" 408 " in received.split(b"\r\n")[0]
                assert b"urn:darkroom:problem:request-timeout" in received
            assert refused <= _THREADS - places_of(_THREADS)


def _all_of(connection: socket.socket) -> bytes:
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received


@pytest.mark.parametrize(
    "begin", [b"GET / HTTP/1.1\r\nX: ", _post("/size", "Content-Length: 900")], ids=["head", "body"]
)
def test_a_client_that_sends_byte_by_byte_is_let_go(short, begin):
    """Each byte comes well within the stall's limit; the request as a whole does not."""
    with _connected(short.port, 1) as (client,):
        begun = monotonic()
        client.sendall(begin)
        client.settimeout(0.1)
        while True:
            try:
                received = client.recv(65536)
                break
            except TimeoutError:
                assert monotonic() - begun < 8
                client.sendall(b"x")
    assert b" 408 " in received.split(b"\r\n")[0]


def test_an_answer_may_take_longer_than_its_request(short):
    with _connected(short.port, 1) as (connection,):
        connection.sendall(b"GET /stream?quiet_s=2 HTTP/1.1\r\nHost: x\r\n\r\n")
        received = b""
        while b"still here" not in received:
            chunk = connection.recv(65536)
            assert chunk, "the stream was cut"
            received += chunk


def test_a_part_that_has_failed_for_good_ends_the_process(tmp_path):
    tiny = _start(tmp_path / "log")
    try:
        _wait_ready(tiny)
        tiny.talk(b"POST /fail HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        assert tiny.process.wait(15) > 0
        assert "a part has stopped" in tiny.log.read_text()
        assert "closed" in tiny.log.read_text()
    finally:
        tiny.process.kill()
        tiny.process.wait(10)


def test_an_app_that_cannot_be_made_ends_the_process(tmp_path):
    tiny = _start(tmp_path / "log", "broken")
    try:
        assert tiny.process.wait(15) != 0
        assert "cannot start" in tiny.log.read_text()
    finally:
        tiny.process.kill()
        tiny.process.wait(10)
