"""The HTTP foundation: problems, strict JSON, CORS, health, documents, Swagger UI."""

import errno
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from openapi_spec_validator import validate
from werkzeug.test import create_environ, run_wsgi_app

from darkroom.runtime.http.api import PREFIX, Blueprint, close_app, make_app, on_close
from darkroom.runtime.http.errors import as_problem
from darkroom.runtime.http.fields import QueryNumber, Strict, WholeNumber
from darkroom.runtime.http.openapi import problems
from darkroom.runtime.http.problems import PROBLEMS, ProblemError
from darkroom.runtime.http.strictjson import DEPTH_MAX, parse_json
from darkroom.runtime.settings import read_settings
from darkroom.schemas import errors
from darkroom.schemas.job import Refusal, Status, Why

ORIGIN = "http://query.test"
HTML = {"Accept": "text/html"}


class _Query(Strict):
    limit = QueryNumber(1, 200, load_default=50)


class _Body(Strict):
    count = WholeNumber(1, 9, required=True)


def _app(raised: list[Exception]) -> Flask:
    settings = replace(
        read_settings(),
        command_url="http://127.0.0.1:8080",
        query_url=ORIGIN,
        cors_origins=(),
        body_size_bytes_max=1000,
    )
    reasons: list[str] = []
    app, api = make_app(
        "test",
        "Darkroom Query API",
        "A test.",
        ORIGIN,
        settings,
        lambda: reasons[0] if reasons else None,
        import_name=__name__,
    )
    app.extensions["reasons"] = reasons
    routes = Blueprint("things", __name__, description="Things")

    @routes.route("/things", methods=["GET"])
    @routes.arguments(_Query, location="query")
    @problems("invalid-request")
    def list_things(query: dict) -> dict:
        """List things"""
        return query

    @routes.route("/things", methods=["POST"])
    @routes.arguments(_Body)
    @problems("invalid-request", "invalid-json", "log-unavailable")
    def make_thing(body: dict) -> dict:
        """Make a thing"""
        return body

    @app.get("/raise")
    def raise_it() -> dict:
        raise raised[-1]

    api.register_blueprint(routes, url_prefix=PREFIX)
    return app


@pytest.fixture(scope="module")
def raised() -> list[Exception]:
    return []


@pytest.fixture(scope="module")
def app(raised: list[Exception]) -> Flask:
    return _app(raised)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.mark.parametrize(
    ("error", "status", "name"),
    [
        (errors.LogUnavailable("x"), 503, "log-unavailable"),
        (errors.TailBehind("x"), 503, "tail-behind"),
        (errors.StoreUnavailable("x"), 503, "store-unavailable"),
        (errors.ReadModelBehind("x"), 503, "read-model-behind"),
        (errors.Unavailable("x"), 503, "too-busy"),
        (errors.Refused(Refusal(Why.UNKNOWN, "x")), 404, "unknown-job"),
        (errors.Refused(Refusal(Why.DELETED, "x", Status.DELETED)), 410, "job-deleted"),
        (errors.Refused(Refusal(Why.STATE, "x", Status.QUEUED)), 409, "job-state"),
        (errors.Refused(Refusal(Why.KEY_REUSED, "x")), 422, "key-reused"),
        (errors.BadMedia("picture-broken", "x"), 422, "picture-broken"),
        (errors.BlobMissing("x"), 503, "store-unavailable"),
        (ProblemError("unknown-model", "x", status=404), 404, "unknown-model"),
        (OSError(errno.ENOSPC, "No space left on device", "/S3CRET"), 503, "store-unavailable"),
        (OSError(errno.EDQUOT, "Quota exceeded", "/S3CRET"), 503, "store-unavailable"),
        (OSError(errno.EACCES, "Denied", "/S3CRET"), 500, "internal-error"),
        (RuntimeError("S3CRET"), 500, "internal-error"),
        (RecursionError("S3CRET"), 500, "internal-error"),
        (errors.DarkroomError("S3CRET"), 500, "internal-error"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_errors_become_problems(client, raised, error, status, name):
    raised.append(error)
    answer = client.get("/raise")
    assert answer.status_code == status
    assert answer.content_type == "application/problem+json"
    assert answer.json["type"] == f"urn:darkroom:problem:{name}"
    assert answer.json["status"] == status
    assert ("Retry-After" in answer.headers) == (status == 503)
    assert "S3CRET" not in answer.text
    assert "Traceback" not in answer.text
    assert answer.headers["X-Request-Id"]


def test_every_reason_of_a_refusal_has_a_problem():
    for why in Why:
        assert as_problem(errors.Refused(Refusal(why, "x"))).status >= 400


def test_404_405_413_and_415(client):
    assert client.get("/nope").json["type"].endswith(":not-found")
    answer = client.delete(PREFIX + "/things")
    assert (answer.status_code, answer.json["type"]) == (405, "urn:darkroom:problem:method-not-allowed")
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}
    answer = client.post(PREFIX + "/things", data=b"x" * 1001, content_type="application/json")
    assert (answer.status_code, answer.json["type"]) == (413, "urn:darkroom:problem:body-too-large")
    answer = client.post(PREFIX + "/things", data="count=1")
    assert (answer.status_code, answer.json["type"]) == (415, "urn:darkroom:problem:unsupported-media-type")


class _Endless(io.RawIOBase):
    """A body whose end never comes; it gives up where a reader without a limit would not."""

    def __init__(self) -> None:
        self.size_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        self.size_bytes += len(buffer)
        assert self.size_bytes < 10 * 2**20
        buffer[:] = b"x" * len(buffer)
        return len(buffer)


def test_an_endless_body_is_cut(app):
    environ = create_environ(
        PREFIX + "/things", method="POST", content_type="application/json", headers={"Transfer-Encoding": "chunked"}
    )
    environ.pop("CONTENT_LENGTH", None)
    environ |= {"wsgi.input": _Endless(), "wsgi.input_terminated": True}
    body, status, headers = run_wsgi_app(app, environ)
    assert status.startswith("413")
    assert headers["Content-Type"] == "application/problem+json"
    assert b":body-too-large" in b"".join(body)


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "?limit"),
        ("limit=201", "?limit"),
        ("limit=-1", "?limit"),
        ("limit=1e2", "?limit"),
        ("limit=" + "9" * 5000, "?limit"),
        ("limit[$ne]=1", "?limit[$ne]"),
        ("nope=1", "?nope"),
    ],
)
def test_queries_are_read_strictly(client, query, pointer):
    answer = client.get(f"{PREFIX}/things?{query}")
    assert (answer.status_code, answer.json["type"]) == (422, "urn:darkroom:problem:invalid-request")
    assert [e["pointer"] for e in answer.json["errors"]] == [pointer]


def test_good_arguments(client):
    assert client.get(PREFIX + "/things?limit=200").json == {"limit": 200}
    assert client.post(PREFIX + "/things", json={"count": 1}).json == {"count": 1}
    answer = client.post(PREFIX + "/things", json={"count": "1", "a/b": 1})
    assert {e["pointer"] for e in answer.json["errors"]} == {"#/count", "#/a~1b"}


_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
_VALUES: st.SearchStrategy[object] = st.deferred(
    lambda: (
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | _TEXT
        | st.lists(_VALUES, max_size=3)
        | st.dictionaries(_TEXT, _VALUES, max_size=3)
    )
)


@given(_VALUES)
def test_plain_json_is_taken_as_it_is(value):
    assert parse_json(json.dumps(value).encode()) == value


class _InvalidJson(Exception):
    pass


@contextmanager
def _only_invalid_json() -> Iterator[None]:
    try:
        yield
    except ProblemError as error:
        raise (_InvalidJson() if error.kind.name == "invalid-json" else error) from None


@given(st.binary(max_size=60) | st.text('{}[]",:\\u0d8 1e9NaN', max_size=40).map(str.encode))
def test_anything_else_is_invalid_json_and_nothing_worse(data):
    with suppress(_InvalidJson), _only_invalid_json():
        parse_json(data)


def test_depth():
    assert parse_json(b"[" * DEPTH_MAX + b"]" * DEPTH_MAX)
    for depth in (DEPTH_MAX + 1, 1000, 100_000):
        with pytest.raises(ProblemError):
            parse_json(b"[" * depth + b"]" * depth)


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (ORIGIN, True),
        ("http://127.0.0.1:8080", True),
        ("http://localhost:8080", True),
        ("http://evil.test", False),
        ("null", False),
    ],
)
def test_cors(client, origin, allowed):
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    for answer in (client.options(PREFIX + "/things", headers=headers), client.get("/nope", headers=headers)):
        assert answer.headers.get("Access-Control-Allow-Origin") == (origin if allowed else None)
        assert "Origin" in answer.headers["Vary"]
        assert "Access-Control-Allow-Credentials" not in answer.headers
    preflight = client.options(PREFIX + "/things", headers=headers).headers
    assert ("Idempotency-Key" in preflight.get("Access-Control-Allow-Headers", "")) == allowed


def test_health_and_metrics(app, client):
    assert client.get("/health/live").status_code == 200
    assert client.get("/health/ready").json == {"status": "ready"}
    app.extensions["reasons"].append("the log is away")
    try:
        answer = client.get("/health/ready")
    finally:
        app.extensions["reasons"].clear()
    assert (answer.status_code, answer.json["detail"]) == (503, "the log is away")
    assert answer.headers["Retry-After"] == "1"
    assert client.get("/health/live").status_code == 200
    assert "darkroom_http_requests_total" in client.get("/metrics").text


def test_request_ids(client):
    assert client.get("/nope", headers={"X-Request-Id": "abc-1"}).headers["X-Request-Id"] == "abc-1"
    assert client.get("/nope", headers={"X-Request-Id": "a b\x7f"}).headers["X-Request-Id"] != "a b\x7f"


@pytest.mark.parametrize("name", PROBLEMS)
def test_each_problem_has_a_page(client, name):
    kind = PROBLEMS[name]
    page = client.get(f"{PREFIX}/problems/{name}", headers=HTML)
    assert page.status_code == 200
    assert kind.type in page.text
    described = client.get(f"{PREFIX}/problems/{name}", headers={"Accept": "application/json"}).json
    assert (described["type"], described["statuses"]) == (kind.type, list(kind.statuses))
    assert kind.title
    assert kind.explanation


def test_the_list_of_problems(client):
    assert client.get(PREFIX + "/problems/", headers=HTML).text.count("<dt>") == len(PROBLEMS)
    answer = client.get(PREFIX + "/problems/", headers={"Accept": "application/json"})
    assert {p["name"] for p in answer.json["items"]} == set(PROBLEMS)
    assert client.get(PREFIX + "/problems/nope").status_code == 404


def test_schemas_of_events(client):
    items = client.get(PREFIX + "/schemas/").json["items"]
    assert {item["type"] for item in items} >= {"darkroom.job.created.v1", "darkroom.model.retired.v1"}
    for item in items:
        schema = client.get(item["url"])
        assert schema.content_type == "application/schema+json"
        assert schema.json["$id"] == f"urn:darkroom:schema:{item['type']}"
    assert client.get(PREFIX + "/schemas/nope").json["type"].endswith(":unknown-schema")


def test_the_openapi_document(client):
    document = client.get(PREFIX + "/openapi.json").json
    validate(document)
    answers = document["paths"][PREFIX + "/things"]["post"]["responses"]
    for status in ("400", "422", "500", "503"):
        assert set(answers[status]["content"]) == {"application/problem+json"}
        assert answers[status]["content"]["application/problem+json"]["examples"]


def test_swagger_ui_needs_nothing_from_elsewhere(client):
    page = client.get(PREFIX + "/ui/")
    assert page.status_code == 200
    assert "http" not in page.text.replace("<!doctype html>", "")
    assert "script-src 'self';" in page.headers["Content-Security-Policy"]
    for name in ("swagger-ui.css", "swagger-ui-bundle.js", "swagger-ui-standalone-preset.js", "start.js"):
        assert f'"{name}"' in page.text
        with client.get(f"{PREFIX}/ui/{name}") as asset:
            assert asset.status_code == 200
    config = client.get(PREFIX + "/ui/config.json").json
    assert config["urls"] == [
        {"name": "Command API", "url": f"http://127.0.0.1:8080{PREFIX}/openapi.json"},
        {"name": "Query API", "url": f"{ORIGIN}{PREFIX}/openapi.json"},
    ]
    assert config["urls.primaryName"] == "Query API"
    for name in ("nope.js", "..%2f__init__.py", "index.html"):
        assert client.get(f"{PREFIX}/ui/{name}").status_code == 404
    assert client.get(PREFIX + "/ui").headers["Location"].endswith("/ui/")


def test_closers_run_once_and_all_of_them(raised):
    app, closed = _app(raised), []
    on_close(app, lambda: closed.append(1))
    on_close(app, lambda: 1 / 0)
    on_close(app, lambda: closed.append(3))
    close_app(app)
    close_app(app)
    assert closed == [3, 1]
