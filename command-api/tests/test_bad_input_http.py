"""Bad HTTP against the running service: requests that no client library sends."""

import json
import socket
from collections.abc import Iterator
from select import select
from time import monotonic

import pytest

from darkroom.runtime.ids import new_id

from .running import SECRET, Running, check_log, check_problem, form, job, part, picture, post_json, request

S = SECRET.encode()
NOWHERE = "00000000-0000-7000-8000-000000000000"
JSON = "Content-Type: application/json"
FORM = "Content-Type: multipart/form-data; boundary=b"
WHOLE = json.dumps(job()).encode()
JOBS = b"/api/v1/inference/jobs"


def head(*lines: bytes) -> bytes:
    return b"\r\n".join(lines) + b"\r\n\r\n"


def with_header(line: bytes) -> bytes:
    """A whole request but for one header."""
    return request("POST", "/jobs", JSON, body=WHOLE).replace(
        b"Host: command.test", b"Host: command.test\r\n" + line
    )


def framed(*headers: str, body: bytes = WHOLE) -> bytes:
    return request("POST", "/jobs", JSON, *headers, body=body)


def chunked(data: bytes) -> bytes:
    return framed("Transfer-Encoding: chunked", body=data)


MALFORMED = {
    "garbage": b"GARBAGE " + S + b"\r\n\r\n",
    "HTTP/0.9": b"GET " + JOBS + b"\r\n\r\n",
    "HTTP/9.9": head(b"POST " + JOBS + b" HTTP/9.9", b"X: " + S),
    "HTTP/2 at once": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a method in lower case": head(b"post " + JOBS + b" HTTP/1.1", b"Host: x", b"X: " + S),
    "a method of 38 letters": head(S.upper() + b" " + JOBS + b" HTTP/1.1", b"Host: x"),
    "a target without a slash": head(b"POST " + S + b" HTTP/1.1", b"Host: x"),
    "a target with a blank": head(b"POST " + JOBS + b" " + S + b" HTTP/1.1", b"Host: x"),
    "a target with NUL": head(b"POST " + JOBS + b"\0" + S + b" HTTP/1.1", b"Host: x"),
    "a target of other bytes": head(b"POST " + JOBS + b"\xff" + S + b" HTTP/1.1", b"Host: x"),
    "a line feed alone": b"POST " + JOBS + b" HTTP/1.1\nHost: x\nX: " + S + b"\n\n",
    "PROXY before it": b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n" + request("POST", "/jobs", JSON, body=WHOLE),
    "a header without a colon": with_header(b"bad header " + S),
    "a header without a name": with_header(b": " + S),
    "a header with a blank before its colon": with_header(b"X : " + S),
    "a header on two lines": with_header(b"X: a\r\n " + S),
    "a header with NUL": with_header(b"X: a\0" + S),
    "a header with a carriage return": with_header(b"X: a\r" + S),
    "a header's name with NUL": with_header(b"X\0: " + S),
    "two hosts": with_header(b"Host: " + S),
    "two content types": with_header(b"Content-Type: text/" + S),
    "another expectation": with_header(b"Expect: " + S),
    "two lengths": framed(f"Content-Length: {len(WHOLE)}", "Content-Length: 3"),
    "two lengths in one": framed(f"Content-Length: {len(WHOLE)}, {len(WHOLE)}"),
    "a length below 0": framed("Content-Length: -1"),
    "a length with a sign": framed(f"Content-Length: +{len(WHOLE)}"),
    "a length in powers": framed("Content-Length: 1e3"),
    "a length in hexadecimal": framed("Content-Length: 0x10"),
    "a length of another digit": framed("Content-Length: \xb2"),
    "a length of nothing": framed("Content-Length: "),
    "a length of 5,000 digits": framed("Content-Length: " + "9" * 5000),
    "a length and chunks": framed("Content-Length: 5", "Transfer-Encoding: chunked", body=b"0\r\n\r\n" + S),
    "chunks twice": framed("Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"),
    "gzip, not in chunks": framed("Transfer-Encoding: gzip"),
    "identity": framed("Transfer-Encoding: identity"),
    "chunks before HTTP/1.1": chunked(b"0\r\n\r\n").replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", 1),
    "a body cut off": framed(f"Content-Length: {len(WHOLE) + 1}"),
    "a picture cut off": request("POST", "/media", "Content-Length: 5000", body=picture()),
    "a form cut off": request(
        "POST", "/media", FORM, "Content-Length: 5000", body=form(part("file", picture(), SECRET))
    ),
    "a chunk of no size": chunked(b"zz\r\n" + S),
    "a chunk of an empty size": chunked(b"\r\n" + S),
    "a chunk below 0": chunked(b"-1\r\n" + S),
    "a chunk in C": chunked(b"0x5\r\nhello\r\n0\r\n\r\n"),
    "a chunk with an underscore": chunked(b"1_0\r\n" + b"x" * 16 + b"\r\n0\r\n\r\n"),
    "a chunk after a blank": chunked(b" 2\r\n{}\r\n0\r\n\r\n"),
    "a chunk larger than memory": chunked(b"FFFFFFFFFFFFFFFFF\r\n" + S),
    "a chunk longer than it says": chunked(b"2\r\n{}" + S + b"\r\n0\r\n\r\n"),
    "a chunk cut off": chunked(b"5\r\n{}"),
    "a chunk with a line feed alone": chunked(b"2\n{}\n0\n\n"),
    "a chunk with 100 kB beside it": chunked(b"2;" + b"x" * 100_000 + b"\r\n{}\r\n0\r\n\r\n"),
    "the last chunk missing": chunked(b"2\r\n{}\r\n"),
    "a trailer that frames": chunked(b"2\r\n{}\r\n0\r\nContent-Length: 5\r\nX: " + S + b"\r\n\r\n"),
    "a trailer of 200 kB": chunked(b"2\r\n{}\r\n0\r\nX: " + b"y" * 200_000 + b"\r\n\r\n"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_requests(running: Running, case: str) -> None:
    running.check_refused(MALFORMED[case], 400, "malformed-request")


OTHERS = {
    "a length that is not there": (framed("Content-Length: 0", body=b""), 400, "invalid-json"),
    "no length and no chunks": (
        head(b"POST " + JOBS + b" HTTP/1.1", b"Host: x", JSON.encode(), b"Connection: close") + WHOLE,
        400,
        "invalid-json",
    ),
    "a length of 2^64": (framed(f"Content-Length: {2**64}"), 413, "body-too-large"),
    "a length over the limit": (framed(f"Content-Length: {2**20 + 1}"), 413, "body-too-large"),
    "a body over the limit": (framed(body=b" " * 2**20 + WHOLE), 413, "body-too-large"),
    "40 MB": (framed(body=b" " * 40_000_000), 413, "body-too-large"),
    "a target of 9 kB": (head(b"POST " + JOBS + b"?" + S * 300 + b" HTTP/1.1", b"Host: x"), 414, "uri-too-long"),
    "a header of 100 kB": (with_header(b"X: " + (S * 3000)[:100_000]), 431, "headers-too-large"),
    "a header's name of 100 kB": (with_header(b"X" * 100_000 + b": " + S), 431, "headers-too-large"),
    "200 headers": (with_header(b"\r\n".join([b"X: " + S] * 200)), 431, "headers-too-large"),
    "headers without an end": (
        b"POST " + JOBS + b" HTTP/1.1\r\n" + (b"X: " + b"y" * 30_000 + b"\r\n") * 120,
        431,
        "headers-too-large",
    ),
    "an unknown coding": (framed("Transfer-Encoding: " + SECRET), 501, "not-implemented"),
    "gzip in chunks": (
        framed("Transfer-Encoding: gzip, chunked", body=b"2\r\n{}\r\n0\r\n\r\n"),
        415,
        "unsupported-media-type",
    ),
    "nothing at all": (head(b"GET / HTTP/1.1", b"Host: x", b"X: " + S), 404, "not-found"),
    "CONNECT": (head(b"CONNECT x:443 HTTP/1.1", b"Host: x", b"X: " + S), 404, "not-found"),
    "OPTIONS *": (head(b"OPTIONS * HTTP/1.1", b"Host: x", b"X: " + S), 404, "not-found"),
    "another's target": (head(b"POST http://u:" + S + b"@evil/x HTTP/1.1", b"Host: x"), 404, "not-found"),
    "another's target, our path": (
        framed(body=b"{").replace(b" /api", b" http://u:" + S + b"@evil/api", 1),
        400,
        "invalid-json",
    ),
    "an underscore for a dash": (
        request("POST", "/jobs", "Content_Type: application/json", body=WHOLE),
        415,
        "unsupported-media-type",
    ),
    "a path from a header": (
        post_json("/nope", WHOLE, "PATH_INFO: /api/v1/inference/jobs", "Path-Info: /api/v1/inference/jobs"),
        404,
        "not-found",
    ),
    "a prefix from a header": (
        post_json("/jobs", WHOLE, "SCRIPT_NAME: /x", method="PUT").replace(b" /api/", b" /x/api/", 1),
        404,
        "not-found",
    ),
}


@pytest.mark.parametrize("case", OTHERS)
def test_refused_otherwise(running: Running, case: str) -> None:
    raw, status, name = OTHERS[case]
    running.check_refused(raw, status, name)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/jobs", "POST"),
        ("PATCH", "/jobs", "POST"),
        ("TRACE", "/jobs", "POST"),
        ("BREW", "/jobs", "POST"),
        ("DELETE", "/jobs", "POST"),
        ("GET", "/jobs/x", "DELETE, OPTIONS, PUT"),
        ("POST", "/jobs/x", "DELETE, OPTIONS, PUT"),
        ("GET", "/jobs/x/cancel", "POST"),
        ("PUT", "/jobs/x/runs", "POST"),
        ("GET", "/media", "POST"),
        ("POST", "/positions", "GET"),
        ("POST", "/models/m/versions/1", "PUT"),
        ("DELETE", "/openapi.json", "GET"),
    ],
)
def test_methods(running: Running, method: str, path: str, allow: str) -> None:
    answer = running.check_refused(request(method, path, "X: " + SECRET), 405, "method-not-allowed")
    assert allow in answer.headers["allow"]


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/nope",
        "/jobs/",
        "//jobs",
        "/jobs//cancel",
        "/./jobs",
        "/jobs/../jobs",
        "/jobs/%2e%2e/jobs",
        "/jobs/..%2f..%2fx/cancel",
        "/JOBS",
        "/jobs%00",
        "/jobs;a=b",
        "/jobs/x/cancel/",
        "/models/m",
        "/models/m/versions/",
        "/models/a/b/versions/1",
        "/ui/../../../etc/passwd",
        "/ui/..%2f..%2fetc%2fpasswd",
        "/ui/%2e%2e%2f",
        "/schemas/../../pyproject.toml",
        "/problems/..%2f" + SECRET,
        "/.git/config",
        "/{{7*7}}",
        "/%0d%0aX:1",
        "/%ff%fe",
        "/" + SECRET,
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_paths(running: Running, method: str, path: str) -> None:
    running.check_refused(request(method, path), 404, "not-found")


def test_an_unknown_problem(running: Running) -> None:
    running.check_refused(request("GET", "/problems/" + SECRET), 404, "not-found")


def test_an_unknown_schema(running: Running) -> None:
    running.check_refused(request("GET", "/schemas/" + SECRET), 404, "unknown-schema")


def test_no_redirect_to_where_a_header_says(running: Running) -> None:
    headers = ("X-Forwarded-Host: evil.test", "X-Forwarded-Proto: javascript", "Forwarded: host=evil.test")
    answer = running.send(request("GET", "/ui", *headers).replace(b"command.test", b"evil.test"))
    assert answer.headers["location"] == "/api/v1/inference/ui/"


@pytest.mark.parametrize("raw", [b"", b"\r\n", bytes.fromhex("16030100c8010000c40303") + bytes(200)])
def test_nothing_that_could_be_answered(running: Running, raw: bytes) -> None:
    """No request line: the connection is closed without a word."""
    since = running.log_size_bytes
    assert running.send_all(raw) == []
    assert running.is_live()
    check_log(running.logged(since))


@pytest.mark.parametrize(
    "second",
    [b"GARBAGE " + S + b"\r\n\r\n", b"{" + S + b"}\r\n\r\n", b"\0" * 100 + b"\r\n"],
    ids=["words", "JSON", "NUL"],
)
def test_garbage_behind_a_request(running: Running, second: bytes) -> None:
    before, since = running.ends(), running.log_size_bytes
    one, two = running.send_all(request("POST", "/jobs", JSON, body=b"{", close=False) + second)
    check_problem(one, 400, "invalid-json")
    check_problem(two, 400, "malformed-request")
    assert running.ends() == before
    check_log(running.logged(since))


def test_a_body_that_nobody_read_is_no_request(running: Running) -> None:
    """A command inside the body of a refused one stays a body."""
    before = running.ends()
    inner = post_json(f"/jobs/{new_id()}", job(), method="PUT")
    outer = request("POST", "/nope", JSON, body=inner, close=False)
    last = request("GET", "/nope")
    answers = running.send_all(outer + last)
    assert [answer.status for answer in answers] == [404, 404]
    assert running.ends() == before


ENDLESS = {
    "a picture": request("POST", "/media", "Transfer-Encoding: chunked", close=False),
    "a picture in a form": request("POST", "/media", FORM, "Transfer-Encoding: chunked", close=False)
    + b"3e\r\n--b\r\nContent-Disposition: form-data; name=file; filename=x\r\n\r\n\r\n",
    "a form's preamble": request("POST", "/media", FORM, "Transfer-Encoding: chunked", close=False),
    "a job": request("POST", "/jobs", JSON, "Transfer-Encoding: chunked", close=False),
    "a cancel": request("POST", f"/jobs/{NOWHERE}/cancel", JSON, "Transfer-Encoding: chunked", close=False),
    "a delete": request("DELETE", f"/jobs/{NOWHERE}", JSON, "Transfer-Encoding: chunked", close=False),
    "a model": request("PUT", "/models/n/versions/1", FORM, "Transfer-Encoding: chunked", close=False),
}


@pytest.mark.parametrize("case", ENDLESS)
def test_bodies_without_an_end(running: Running, case: str) -> None:
    before, since = running.ends(), running.log_size_bytes
    data = (S + b" ") * 1500
    piece = b"%x\r\n%s\r\n" % (len(data), data)
    left, received = piece, b""
    with socket.create_connection(("127.0.0.1", running.port), 15) as connection:
        connection.sendall(ENDLESS[case])
        connection.setblocking(False)
        until = monotonic() + 15
        while True:  # until the service ends it
            readable, writable, _ = select([connection], [connection], [], max(0.0, until - monotonic()))
            assert readable or writable, "it takes no more, and says nothing"
            assert monotonic() < until, "it goes on reading"
            try:
                if readable:
                    answer = connection.recv(65536)
                    if not answer:
                        break
                    received += answer
                elif writable:
                    left = left[connection.send(left) :] or piece
            except ConnectionError:
                break
    assert received.startswith(b"HTTP/1.1 413 ")
    assert b"urn:darkroom:problem:body-too-large" in received
    assert running.ends() == before
    assert running.is_live()
    check_log(running.logged(since))


@pytest.fixture(scope="module")
def short(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service that waits for requests only shortly: stall 0.5 s, head 0.8 s, all of it 1.2 s."""
    found = Running(kafka, f"short-{new_id()}", tmp_path_factory.mktemp("short"), "short_service.py")
    try:
        found.wait_ready()
        yield found
        check_log(found.logged())
    finally:
        found.end()


SLOW = {
    "a request line": b"POST /api",
    "a head": b"POST " + JOBS + b" HTTP/1.1\r\nHost: x\r\nX: " + S,
    "a job": request("POST", "/jobs", JSON, "Content-Length: 90000", body=b'{"model": "' + S),
    "a job in chunks": request("POST", "/jobs", JSON, "Transfer-Encoding: chunked", body=b"ffff\r\n" + S),
    "a picture": request("POST", "/media", "Content-Length: 90000", body=picture()),
    "a form": request("POST", "/jobs", FORM, "Content-Length: 90000", body=form(part("model", SECRET))[:-5]),
    "a model": request("PUT", "/models/n/versions/1", FORM, "Content-Length: 90000", body=b"--b\r\n"),
    "a delete": request("DELETE", f"/jobs/{NOWHERE}", JSON, "Content-Length: 90", body=b"{"),
}


@pytest.mark.parametrize("dripping", [False, True], ids=["stalled", "byte by byte"])
def test_slow_requests_are_let_go(short: Running, dripping: bool) -> None:
    """All at once: each is answered with 408 and closed, and others are served meanwhile."""
    before, since = short.ends(), short.log_size_bytes
    connections = {case: socket.create_connection(("127.0.0.1", short.port), 10) for case in SLOW}
    try:
        for case, connection in connections.items():
            connection.sendall(SLOW[case])
        assert short.is_live()
        received = dict.fromkeys(SLOW, b"")
        waiting = set(SLOW)
        until = monotonic() + 10
        while waiting:
            assert monotonic() < until, waiting
            for case in sorted(waiting):
                connection = connections[case]
                connection.settimeout(0.02)
                try:
                    data = connection.recv(65536)
                except TimeoutError:
                    if dripping:
                        connection.sendall(b"x")
                    continue
                received[case] += data
                if not data:
                    waiting.discard(case)
    finally:
        for connection in connections.values():
            connection.close()
    for case, answer in received.items():
        assert answer.startswith(b"HTTP/1.1 408 "), (case, answer)
        assert b"urn:darkroom:problem:request-timeout" in answer
    assert short.ends() == before
    check_log(short.logged(since))
