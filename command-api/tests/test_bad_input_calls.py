"""Bad ids, query strings, keys and other headers against the running service."""

import json
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from .running import (
    DESCRIPTION,
    SECRET,
    TFLITE,
    Running,
    check_log,
    check_problem,
    data_url,
    form,
    job,
    part,
    picture,
    post_json,
    request,
)

NOWHERE = "00000000-0000-7000-8000-000000000000"
JSON = "Content-Type: application/json"
FORM = "Content-Type: multipart/form-data; boundary=b"
MODEL = form(part("description", json.dumps(DESCRIPTION)), part("file", TFLITE, "m"))
COMMANDS: dict[str, tuple[str, str, str, bytes]] = {
    "create": ("POST", "/jobs", JSON, json.dumps(job()).encode()),
    "put": ("PUT", f"/jobs/{uuid4()}", JSON, json.dumps(job()).encode()),
    "run": ("POST", f"/jobs/{NOWHERE}/runs", JSON, b"{}"),
    "cancel": ("POST", f"/jobs/{NOWHERE}/cancel", JSON, b"{}"),
    "delete": ("DELETE", f"/jobs/{NOWHERE}", JSON, b"{}"),
    "register": ("PUT", "/models/n/versions/1", FORM, MODEL),
    "retire": ("DELETE", "/models/nope/versions/1", JSON, b"{}"),
}
CALLS = COMMANDS | {"upload": ("POST", "/media", "", picture()), "positions": ("GET", "/positions", "", b"")}


def call(name: str, *headers: str, query: str = "") -> bytes:
    """A call that is refused for what is added to it, if for nothing else."""
    method, path, media_type, data = CALLS[name]
    return request(method, path + query, *([media_type] if media_type else []), *headers, body=data)


IDS = [
    "x",
    SECRET,
    "..",
    "%2e%2e",
    "..%5c..%5cx",
    "%00",
    "%0d%0aX:%201",
    "%ff",
    "%25%30%30",
    '{"$ne":null}',
    "$where",
    "a.b",
    "null",
    "0",
    "-1",
    "00000000-0000-7000-8000-00000000000",
    "00000000-0000-7000-8000-0000000000000",
    "00000000000070008000000000000000",
    "{00000000-0000-7000-8000-000000000000}",
    "urn:uuid:00000000-0000-7000-8000-000000000000",
    "0x000000-0000-7000-8000-000000000000",
    "+0000000-0000-7000-8000-000000000000",
    "0000_000-0000-7000-8000-000000000000",
    "%20" + NOWHERE,
    NOWHERE + "%0a",
    NOWHERE + "%00",
    "%d9%a00000000-0000-7000-8000-000000000000",
    "%ef%bc%900000000-0000-7000-8000-000000000000",
    "x" * 5000,
]


@pytest.mark.parametrize("job_id", IDS)
def test_ids_that_are_none(running: Running, job_id: str) -> None:
    """Answered like unknown ones; under PUT, where the client chooses, as wrong."""
    for raw in (
        post_json(f"/jobs/{job_id}/runs", {}),
        post_json(f"/jobs/{job_id}/cancel", {}),
        request("DELETE", f"/jobs/{job_id}"),
    ):
        running.check_refused(raw, 404, "unknown-job")
    running.check_refused(post_json(f"/jobs/{job_id}", job(), method="PUT"), 422, "invalid-request")


@pytest.mark.parametrize("job_id", ["../../x", "a/b", "..%2f..%2fx", ""])
def test_ids_that_are_paths(running: Running, job_id: str) -> None:
    running.check_refused(post_json(f"/jobs/{job_id}/cancel", {}), 404, "not-found")


@pytest.mark.parametrize(
    "job_id", [NOWHERE, "5d6dba28-5c6e-4c23-90de-4bb60532320b", "AC198C12-E51F-4FD6-BCDE-AD5EB1405BF3"]
)
def test_unknown_ids(running: Running, job_id: str) -> None:
    """The same body whatever the id: it tells nothing."""
    found = [
        running.check_refused(post_json(f"/jobs/{one}/cancel", {}), 404, "unknown-job") for one in (job_id, "x")
    ]
    assert found[0].body == found[1].body


QUERIES = {
    "an operator": ("status[$ne]=", "?status[$ne]"),
    "a JSON operator": ('filter={"$ne":null}', "?filter"),
    "$where": ("$where=sleep(9)", "?$where"),
    "sort": ("sort=$where", "?sort"),
    "a dotted name": ("a.b=1", "?a.b"),
    "a key": ("api_key=" + SECRET, "?api_key"),
    "a token": ("access_token=" + SECRET + "&x=1", "?access_token"),
    "a method": ("_method=DELETE", "?_method"),
    "wait": ("wait=5", "?wait"),
    "after": ("after=" + SECRET, "?after"),
    "a name alone": ("execute", "?execute"),
    "no name": ("=" + SECRET, "?"),
    "NUL": ("%00=" + SECRET, "?\0"),
    "bad UTF-8": ("%ff=" + SECRET, "?%FF"),
    "a line break": ("%0d%0a=" + SECRET, "?\r\n"),
    "HTML": ("<script>=" + SECRET, "?<script>"),
    "a regular expression": ("id=(a+)+$", "?id"),
    "twice": ("a=1&a=" + SECRET, "?a"),
    "1,000 names": ("&".join(f"n{n}=1" for n in range(1000)), "?n0"),
    "a name of 7 kB": ("n" * 7000 + "=" + SECRET, "?" + "n" * 199),
}


@pytest.mark.parametrize("case", QUERIES)
def test_queries(running: Running, case: str) -> None:
    query, pointer = QUERIES[case]
    answer = running.check_refused(call("create", query="?" + query), 422, "invalid-request")
    found = [entry["pointer"] for entry in answer.json["errors"]]
    assert pointer in found
    assert len(found) <= 50


@pytest.mark.parametrize("name", CALLS)
def test_no_call_takes_a_query(running: Running, name: str) -> None:
    running.check_refused(call(name, query="?api_key=" + SECRET), 422, "invalid-request")


KEYS = {
    "empty": (["Idempotency-Key:"], "malformed-header"),
    "blank": (["Idempotency-Key:  "], "malformed-header"),
    "with a blank": ([f"Idempotency-Key: {SECRET} {SECRET}"], "malformed-header"),
    "with a tab": ([f"Idempotency-Key: {SECRET}\t{SECRET}"], "malformed-header"),
    "256 letters": (["Idempotency-Key: " + (SECRET * 7)[:256]], "malformed-header"),
    "10 kB": (["Idempotency-Key: " + (SECRET * 300)[:10_000]], "malformed-header"),
    "another letter": ([f"Idempotency-Key: \xfc{SECRET}"], "malformed-header"),
    "DEL": ([f"Idempotency-Key: \x7f{SECRET}"], "malformed-request"),
    "with a comma": ([f"Idempotency-Key: a,{SECRET}"], "malformed-header"),
    "twice": (["Idempotency-Key: a", f"Idempotency-Key: {SECRET}"], "malformed-header"),
    "NUL": ([f"Idempotency-Key: a\0{SECRET}"], "malformed-request"),
    "a version without quotes": (["If-Match: 1", f"X: {SECRET}"], "malformed-header"),
    "a version with half its quotes": ([f'If-Match: "{SECRET}'], "malformed-header"),
    "a version in other quotes": ([f"If-Match: '{SECRET}'"], "malformed-header"),
    "a version with a blank in it": ([f'If-Match: "1 {SECRET}"'], "malformed-header"),
    "an empty condition": (["If-Match:", f"X: {SECRET}"], "malformed-header"),
    "two conditions in one": ([f'If-Match: *, "{SECRET}"'], "malformed-header"),
    "a condition of 10 kB": ([f"If-Match: {SECRET * 260}"], "malformed-header"),
}


@pytest.mark.parametrize("case", KEYS)
@pytest.mark.parametrize("name", COMMANDS)
def test_headers_of_commands(running: Running, name: str, case: str) -> None:
    headers, problem = KEYS[case]
    running.check_refused(call(name, *headers), 400, problem)


HEADERS = {
    "a request id with quotes": 'X-Request-Id: "},{"' + SECRET,
    "a request id of 5 kB": "X-Request-Id: " + SECRET * 130,
    "a trace of nothing": "Traceparent: " + SECRET,
    "a trace of zeros": f"Traceparent: 00-{'0' * 32}-{'0' * 16}-00",
    "a trace of 5 kB": "Traceparent: 00-" + SECRET * 130,
    "baggage": f"Baggage: secret={SECRET}",
    "a trace's state": f"Tracestate: a={SECRET}",
    "a preference that is none": f"Prefer: wait={SECRET}, , ;;=",
    "a wait below 0": "Prefer: wait=-1",
    "a wait for ever": "Prefer: wait=" + "9" * 400,
    "a wait in powers": "Prefer: wait=1e9",
    "a password": f"Authorization: Basic {SECRET}",
    "a token": f"Authorization: Bearer {SECRET}",
    "a cookie": f"Cookie: session={SECRET}; a=\x01".replace("\x01", "x"),
    "another address": f"X-Forwarded-For: {SECRET}",
    "another origin": f"Origin: https://{SECRET}.test",
    "a user agent": "User-Agent: () { :; }; echo " + SECRET,
    "a look-up": "User-Agent: ${jndi:ldap://127.0.0.1/" + SECRET + "}",
    "a range": "Range: bytes=0-" + SECRET,
    "a language": "Accept-Language: " + SECRET * 100,
    "nothing acceptable": f"Accept: application/{SECRET};q=x",
    "another method": "X-HTTP-Method-Override: DELETE",
    "a tenant": f"X-Tenant: {SECRET}",
}


@pytest.mark.parametrize("case", HEADERS)
def test_headers_that_change_nothing(running: Running, case: str) -> None:
    """Not one of them is a reason for another answer, or gets into the log."""
    raw = request("POST", f"/jobs/{NOWHERE}/cancel", HEADERS[case])
    answer = running.check_refused(raw, 404, "unknown-job")
    assert not [value for value in answer.headers.values() if SECRET in value]
    assert "access-control-allow-origin" not in answer.headers


def test_a_key_belongs_to_one_request(running: Running) -> None:
    key = f"Idempotency-Key: {SECRET}-{uuid4()}"
    since = running.log_size_bytes
    first = running.send(post_json("/jobs", job(execute=False), key))
    assert first.status == 202, first.body
    before = running.ends()
    assert running.send(post_json("/jobs", job(execute=False), key)).json == first.json
    for other in (
        job(),
        job(execute=False, labels={}),
        job(execute=False, deadline_s=61),
        job(execute=False, parameters={"top_k": 6}),
        job(execute=False, inputs=[{"data": data_url(picture("JPEG"))}]),
        job(execute=False, inputs=[{"data": data_url(picture())}] * 2),
    ):
        running.check_refused(post_json("/jobs", other, key), 422, "key-reused")
    path = f"/jobs/{first.json['id']}"
    running.check_refused(post_json(path, job(), method="PUT"), 422, "key-reused")
    # On another job it is another key; on this one it is taken, for any command.
    running.check_refused(post_json(path + "/runs", {}, key), 422, "key-reused")
    second = f"{key}-2"
    ran = running.send(post_json(path + "/runs", {}, second))
    assert ran.status == 202, ran.body
    assert running.send(post_json(path + "/runs", {}, second)).json == ran.json
    running.check_refused(post_json(path + "/runs", {"deadline_s": 9}, second), 422, "key-reused")
    running.check_refused(post_json(path + "/cancel", {}, second), 422, "key-reused")
    running.check_refused(request("DELETE", path, second), 422, "key-reused")
    running.check_refused(post_json(f"/jobs/{NOWHERE}/cancel", {}, second), 404, "unknown-job")
    assert sum(running.ends()) == sum(before) + 1
    check_log(running.logged(since))


def test_a_key_that_is_used_at_the_same_moment(running: Running) -> None:
    """By requests of one body, one takes effect and all get its answer; by two bodies, one of them is refused."""
    for bodies in ([job(), job()], [job(), job(deadline_s=61)]):
        key = f"Idempotency-Key: {SECRET}-{uuid4()}"
        rows = [post_json("/jobs", body, key) for body in bodies * 8]
        with ThreadPoolExecutor(len(rows)) as pool:
            answers = list(pool.map(running.send, rows))
        accepted = [answer for answer in answers if answer.status == 202]
        refused = [answer for answer in answers if answer.status != 202]
        assert len({answer.body for answer in accepted}) == 1
        assert len(refused) == (0 if bodies[0] == bodies[1] else 8)
        for answer in refused:
            check_problem(answer, 422, "key-reused")


def test_the_largest_job_fits_into_an_event(running: Running) -> None:
    """Oversize is refused at the door, so that what passes it never fails at the broker."""
    digest = running.send(request("POST", "/media", body=picture())).json["digest"]
    labels = {f"{n:064d}": "\U0001f4f7" * 256 for n in range(32)}
    answer = running.send(post_json("/jobs", job(inputs=[{"media": digest}] * 100, labels=labels)))
    assert answer.status == 202, answer.body
    record = running.record_of(answer)
    assert len(record.value or b"") < 2**17
