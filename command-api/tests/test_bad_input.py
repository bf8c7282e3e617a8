"""Bad input at the door: each refused with its status and problem type, and nothing is appended."""

import base64
import gzip
import io
import json
import random
import struct
import zlib

import pytest
from PIL import Image

from darkroom.runtime.http.api import PREFIX
from darkroom.runtime.ids import new_id
from darkroom.schemas import job

OK_DIGEST = "sha256:" + "0" * 64
JSON = "application/json"
SECRET = "S3CRET-PAYLOAD"


def _png(size_px=(8, 6), mode="RGB") -> bytes:
    content = io.BytesIO()
    Image.new(mode, size_px).save(content, "PNG")
    return content.getvalue()


def _data_url(data: bytes, media_type="image/png") -> str:
    return f"data:{media_type};base64," + base64.b64encode(data).decode()


def _body(**changes) -> dict:
    return {"model": "m", "inputs": [{"data": _data_url(_png())}], **changes}


def _without(name) -> dict:
    body = _body()
    del body[name]
    return body


def _header_of_2_31_pixels() -> bytes:
    head = struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))
    return _png()[:8] + chunk + _png()[33:]


RAW_JSON = {
    "empty": (b"", 400, "invalid-json"),
    "blank": (b"  \n", 400, "invalid-json"),
    "cut off": (b"{", 400, "invalid-json"),
    "not UTF-8": (b'{"model": "\xff"}', 400, "invalid-json"),
    "NaN": (b'{"model": "m", "deadline_s": NaN}', 400, "invalid-json"),
    "Infinity": (b'{"deadline_s": Infinity}', 400, "invalid-json"),
    "an infinite number": (b'{"deadline_s": 1e999}', 400, "invalid-json"),
    "a key twice": (b'{"model": "m", "model": "n"}', 400, "invalid-json"),
    "a key twice, below": (b'{"labels": {"a": "1", "\\u0061": "2"}}', 400, "invalid-json"),
    "100,000 levels": (b"[" * 100_000 + b"]" * 100_000, 400, "invalid-json"),
    "100 levels": (b"[" * 100 + b"]" * 100, 400, "invalid-json"),
    "100 levels of objects": (b'{"a":' * 100 + b"1" + b"}" * 100, 400, "invalid-json"),
    "a lone surrogate": (b'{"model": "\\ud800"}', 400, "invalid-json"),
    "NUL": (b'{"model": "m\\u0000"}', 400, "invalid-json"),
    "NUL in a key": (b'{"labels": {"\\u0000": "1"}}', 400, "invalid-json"),
    "a 5,000-digit integer": (b'{"deadline_s": ' + b"9" * 5000 + b"}", 400, "invalid-json"),
    "2^63": (json.dumps(_body(parameters={"top_k": 2**63})).encode(), 422, "invalid-request"),
    "2^70": (json.dumps(_body(parameters={"top_k": 2**70})).encode(), 422, "invalid-request"),
    "an array": (b"[]", 422, "invalid-request"),
    "null": (b"null", 422, "invalid-request"),
    "a string": (b'"x"', 422, "invalid-request"),
    "too large": (b'{"model": "' + b"x" * 2**20 + b'"}', 413, "body-too-large"),
}
BODIES = {
    "no model": (_without("model"), "#/model"),
    "no inputs": (_without("inputs"), "#/inputs"),
    "an unknown field": (_body(nope=1), "#/nope"),
    "status": (_body(status="succeeded"), "#/status"),
    "tenant": (_body(tenant="another"), "#/tenant"),
    "job_id": (_body(job_id="x"), "#/job_id"),
    "an unknown parameter": (_body(parameters={"nope": 1}), "#/parameters/nope"),
    "model null": (_body(model=None), "#/model"),
    "model a number": (_body(model=5), "#/model"),
    "model an operator": (_body(model={"$ne": None}), "#/model"),
    "a hostile model name": (_body(model="../../etc/passwd"), "#/model"),
    "an upper-case model": (_body(model="M"), "#/model"),
    "a model with a newline": (_body(model="m\n"), "#/model"),
    "inputs empty": (_body(inputs=[]), "#/inputs"),
    "inputs an object": (_body(inputs={}), "#/inputs"),
    "101 inputs": (_body(inputs=[{"media": OK_DIGEST}] * 101), "#/inputs"),
    "an input of nothing": (_body(inputs=[{}]), "#/inputs/0"),
    "an input of two": (_body(inputs=[{"media": OK_DIGEST, "data": "data:,"}]), "#/inputs/0"),
    "an input a string": (_body(inputs=["x"]), "#/inputs/0"),
    "a digest in upper case": (_body(inputs=[{"media": "sha256:" + "A" * 64}]), "#/inputs/0/media"),
    "a digest like a path": (_body(inputs=[{"media": "../../x"}]), "#/inputs/0/media"),
    "top_k -1": (_body(parameters={"top_k": -1}), "#/parameters/top_k"),
    "top_k 0": (_body(parameters={"top_k": 0}), "#/parameters/top_k"),
    "top_k 10^9": (_body(parameters={"top_k": 10**9}), "#/parameters/top_k"),
    "top_k 1.9": (_body(parameters={"top_k": 1.9}), "#/parameters/top_k"),
    "top_k true": (_body(parameters={"top_k": True}), "#/parameters/top_k"),
    "top_k a string": (_body(parameters={"top_k": "5"}), "#/parameters/top_k"),
    "top_k null": (_body(parameters={"top_k": None}), "#/parameters/top_k"),
    "min_score 1.1": (_body(parameters={"min_score": 1.1}), "#/parameters/min_score"),
    "min_score a string": (_body(parameters={"min_score": "0.5"}), "#/parameters/min_score"),
    "max_detections 1001": (_body(parameters={"max_detections": 1001}), "#/parameters/max_detections"),
    "execute a string": (_body(execute="yes"), "#/execute"),
    "execute 1": (_body(execute=1), "#/execute"),
    "deadline_s 0": (_body(deadline_s=0), "#/deadline_s"),
    "deadline_s 3601": (_body(deadline_s=3601), "#/deadline_s"),
    "33 labels": (_body(labels={str(n): "x" for n in range(33)}), "#/labels"),
    "a label's key with $": (_body(labels={"$where": "x"}), "#/labels/$where"),
    "a label's key with a colon": (_body(labels={"a:b": "x"}), "#/labels/a:b"),
    "a label's key too long": (_body(labels={"a" * 65: "x"}), "#/labels/" + "a" * 65),
    "a label's value too long": (_body(labels={"a": "x" * 257}), "#/labels/a"),
    "a label's value not printable": (_body(labels={"a": "x\x1b[31m"}), "#/labels/a"),
    "a label's value a number": (_body(labels={"a": 1}), "#/labels/a"),
    "no data: URL": (_body(inputs=[{"data": "AAAA"}]), "#/inputs/0/data"),
    "not in base64": (_body(inputs=[{"data": "data:image/png,abc"}]), "#/inputs/0/data"),
    "a bad alphabet": (_body(inputs=[{"data": "data:image/png;base64,%%%%"}]), "#/inputs/0/data"),
    "bad padding": (_body(inputs=[{"data": "data:image/png;base64,AAAAA"}]), "#/inputs/0/data"),
}
PROBLEMS = {
    "an unknown model": (_body(model="nope"), 422, "unknown-model", "#/model"),
    "an unknown version": (_body(model="m@9"), 422, "unknown-model", "#/model"),
    "unknown media": (_body(inputs=[{"media": OK_DIGEST}]), 422, "unknown-media", "#/inputs/0/media"),
    "a URL": (
        _body(inputs=[{"url": f"https://u:{SECRET}@x/y.jpg"}]),
        422,
        "picture-url-not-supported",
        "#/inputs/0/url",
    ),
    "a URL with file:": (
        _body(inputs=[{"url": "file:///etc/passwd"}]),
        422,
        "picture-url-not-supported",
        "#/inputs/0/url",
    ),
    "HTML": (
        _body(inputs=[{"data": _data_url(b"<p>", "text/html")}]),
        415,
        "unsupported-media",
        "#/inputs/0/data",
    ),
}
PICTURES = {
    "empty": (b"", 422, "picture-broken"),
    "text": (b"hello " + SECRET.encode(), 415, "unsupported-media"),
    "text like a BMP": (b"BMW " + SECRET.encode() * 20, 415, "unsupported-media"),
    "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 415, "unsupported-media"),
    "TIFF": (b"II*\0" + bytes(100), 415, "unsupported-media"),
    "AVIF": (b"\0\0\0\x20ftypavif" + bytes(100), 415, "unsupported-media"),
    "a model": (b"\x1c\0\0\0TFL3" + bytes(64), 415, "unsupported-media"),
    "cut off": (_png((200, 200))[:-40], 422, "picture-broken"),
    "a header only": (_png()[:20], 422, "picture-broken"),
    "a header of 2^31": (_header_of_2_31_pixels(), 413, "picture-too-large"),
    "a bomb": (_png((2000, 2000), "1"), 413, "picture-too-large"),
}


def _is_refused(door, before, answer, status, name):
    assert answer.status_code == status, answer.get_data()[:500]
    assert answer.content_type == "application/problem+json"
    assert answer.json["type"] == f"urn:darkroom:problem:{name}"
    assert answer.json["status"] == status
    assert set(answer.json) >= {"title", "detail"}
    assert len(door.records()) == before, "nothing is appended"
    assert SECRET not in answer.get_data(as_text=True)


@pytest.fixture
def before(door) -> int:
    return len(door.records())


@pytest.mark.parametrize("case", RAW_JSON)
def test_raw_json(door, before, case):
    data, status, name = RAW_JSON[case]
    answer = door.client.post(PREFIX + "/jobs", data=data, content_type=JSON)
    _is_refused(door, before, answer, status, name)


@pytest.mark.parametrize("case", BODIES)
def test_wrong_fields(door, before, case):
    body, pointer = BODIES[case]
    answer = door.post("/jobs", body)
    _is_refused(door, before, answer, 422, "invalid-request")
    assert any(e["pointer"] == pointer.replace("~", "~0") for e in answer.json["errors"]), answer.json["errors"]


@pytest.mark.parametrize("case", PROBLEMS)
def test_what_cannot_be_used(door, before, case):
    body, status, name, pointer = PROBLEMS[case]
    answer = door.post("/jobs", body)
    _is_refused(door, before, answer, status, name)
    assert [e["pointer"] for e in answer.json["errors"]] == [pointer]


@pytest.mark.parametrize("case", PICTURES)
@pytest.mark.parametrize("way", ["media", "base64", "multipart"])
def test_pictures(door, before, case, way):
    data, status, name = PICTURES[case]
    if way == "media":
        answer = door.client.post(PREFIX + "/media", data=data)
    elif way == "base64":
        answer = door.post("/jobs", _body(inputs=[{"data": _data_url(data)}]))
    else:
        form = {"model": "m", "file": (io.BytesIO(data), "cat.png", "image/png")}
        answer = door.client.post(PREFIX + "/jobs", data=form)
    _is_refused(door, before, answer, status, name)


def _multipart(*parts: str, boundary: str = "b") -> dict:
    text = "".join(f"--{boundary}\r\n{part}\r\n" for part in parts) + f"--{boundary}--\r\n"
    return {"data": text.encode(), "content_type": f"multipart/form-data; boundary={boundary}"}


def _text(name: str, value: str) -> str:
    return f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'


def _file(name: str = "file") -> str:
    return f'Content-Disposition: form-data; name="{name}"; filename="x"\r\n\r\nabc'


MULTIPART = {
    "no file": (_multipart(_text("model", "m")), 422, "invalid-request"),
    "an unknown field": (_multipart(_text("model", "m"), _text("nope", "1"), _file()), 422, "invalid-request"),
    "a field twice": (_multipart(_text("model", "m"), _text("model", "n"), _file()), 422, "invalid-request"),
    "a file elsewhere": (_multipart(_text("model", "m"), _file("picture")), 422, "invalid-request"),
    "no model": (_multipart(_file()), 422, "invalid-request"),
    "parameters not JSON": (_multipart(_text("parameters", "{"), _file()), 400, "invalid-json"),
    "parameters an array": (
        _multipart(_text("model", "m"), _text("parameters", "[]"), _file()),
        422,
        "invalid-request",
    ),
    "execute a word": (_multipart(_text("model", "m"), _text("execute", '"yes"'), _file()), 422, "invalid-request"),
    "1,001 parts": (_multipart(*[_file()] * 1001), 413, "body-too-large"),
    "101 files": (_multipart(_text("model", "m"), *[_file()] * 101), 413, "body-too-large"),
    "no boundary": ({"data": b"x", "content_type": "multipart/form-data"}, 400, "malformed-request"),
    "no parts": ({"data": b"x", "content_type": "multipart/form-data; boundary=b"}, 400, "malformed-request"),
    "empty": ({"data": b"", "content_type": "multipart/form-data; boundary=b"}, 400, "malformed-request"),
    "a form without files": ({"data": {"model": "m"}}, 415, "unsupported-media-type"),
}


@pytest.mark.parametrize("case", MULTIPART)
def test_multipart(door, before, case):
    request, status, name = MULTIPART[case]
    _is_refused(door, before, door.client.post(PREFIX + "/jobs", **request), status, name)


@pytest.mark.parametrize("files", [0, 2])
def test_not_one_file_to_keep(door, before, files):
    form = {"file": [(io.BytesIO(_png()), "x.png")] * files, "other": "1"} if files else {"other": "1"}
    answer = door.client.post(PREFIX + "/media", data=form, content_type="multipart/form-data")
    _is_refused(door, before, answer, 422, "invalid-request")


@pytest.mark.parametrize(
    ("request_", "status", "name"),
    [
        ({"data": json.dumps(_body()), "content_type": "text/plain"}, 415, "unsupported-media-type"),
        ({"data": json.dumps(_body())}, 415, "unsupported-media-type"),
        (
            {
                "data": gzip.compress(json.dumps(_body()).encode()),
                "content_type": JSON,
                "headers": {"Content-Encoding": "gzip"},
            },
            415,
            "unsupported-media-type",
        ),
    ],
)
def test_media_types(door, before, request_, status, name):
    _is_refused(door, before, door.client.post(PREFIX + "/jobs", **request_), status, name)


@pytest.mark.parametrize("key", ["", " ", "with space", "x" * 256, "x" * 10_000, "ümlaut"])
@pytest.mark.parametrize("path", ["/jobs", "/jobs/00000000-0000-7000-8000-000000000000/cancel"])
def test_keys(door, before, key, path):
    answer = door.post(path, _body(), headers={"Idempotency-Key": key.encode().decode("latin1")})
    _is_refused(door, before, answer, 400, "malformed-header")


@pytest.mark.parametrize("job_id", ["abc", "00000000-0000-7000-8000-00000000000", "{0000}", "x" * 300])
def test_put_under_no_uuid(door, before, job_id):
    _is_refused(door, before, door.put(f"/jobs/{job_id}", _body()), 422, "invalid-request")


@pytest.mark.parametrize("path", ["/runs", "/cancel", ""])
@pytest.mark.parametrize("data", [b'{"nope": 1}', b"[]", b"{"])
def test_bodies_of_other_commands(door, path, data):
    job_id = door.create()
    before = len(door.records())
    method = door.client.post if path else door.client.delete
    answer = method(f"{PREFIX}/jobs/{job_id}{path}", data=data, content_type=JSON)
    status, name = (400, "invalid-json") if data == b"{" else (422, "invalid-request")
    _is_refused(door, before, answer, status, name)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/jobs", "POST"),
        ("PATCH", "/jobs", "POST"),
        ("GET", "/jobs/x/cancel", "POST"),
        ("POST", "/positions", "GET"),
        ("POST", "/models/m/versions/1", "PUT"),
    ],
)
def test_methods(door, before, method, path, allow):
    answer = door.client.open(PREFIX + path, method=method)
    _is_refused(door, before, answer, 405, "method-not-allowed")
    assert allow in answer.headers["Allow"]


@pytest.mark.parametrize("path", ["/", "/api/v1/inference/", "/api/v1/inference/nope", "/api/v1/inference/jobs/"])
def test_paths(door, before, path):
    _is_refused(door, before, door.client.get(path), 404, "not-found")


def test_no_payload_reaches_the_log(door, before, caplog, capfd):
    door.post(
        "/jobs", _body(inputs=[{"data": "data:image/png;base64," + base64.b64encode(SECRET.encode()).decode()}])
    )
    door.post("/jobs", _body(inputs=[{"url": f"https://u:{SECRET}@x/y.jpg"}]))
    door.post("/jobs?api_key=" + SECRET, _body(labels={SECRET: 1}), headers={"Idempotency-Key": f" {SECRET}"})
    door.client.post(PREFIX + "/media", data=b"\xff\xd8\xff" + SECRET.encode())
    seen = caplog.text + "".join(capfd.readouterr())
    assert "request" in seen
    assert SECRET not in seen
    assert base64.b64encode(SECRET.encode()).decode() not in seen


def test_the_inputs_of_a_job_are_limited_together(door):
    """One small enough picture, named as often as a job may have inputs."""
    size_px = (160, 120)
    noise = Image.frombytes("RGB", size_px, random.Random(1).randbytes(3 * size_px[0] * size_px[1]))
    content = io.BytesIO()
    noise.save(content, "PNG")
    data = content.getvalue()
    digest, fit = door.upload(data), 2**20 // len(data)
    before = len(door.records())
    answer = door.post("/jobs", {"model": "m", "inputs": [{"media": digest}] * (fit + 1)})
    assert (answer.status_code, answer.json["type"]) == (413, "urn:darkroom:problem:inputs-too-large")
    assert answer.json["errors"][0]["pointer"] == "#/inputs"
    assert str(2**20) in answer.json["detail"]
    assert len(door.records()) == before
    assert door.post("/jobs", {"model": "m", "inputs": [{"media": digest}] * fit}).status_code == 202


def test_a_run_of_inputs_from_before_the_limit(door):
    """A job that was created under a higher limit stays, but it is not run again."""
    media = job.Media(door.upload(), "image/png", 2**20 + 1, 8, 6)
    model = door.events(door.create())[0].event.spec.model
    job_id = new_id()
    spec = job.RunSpec(model, (media,), {"top_k": 5}, 60.0, 3)
    door.executor(job_id, job.Create(spec, {}, False))
    answer = door.post(f"/jobs/{job_id}/runs")
    assert (answer.status_code, answer.json["type"]) == (413, "urn:darkroom:problem:inputs-too-large")
    assert len(door.events(job_id)) == 1
    assert door.delete(f"/jobs/{job_id}").status_code == 202
    assert door.post(f"/jobs/{job_id}/runs").status_code == 410
