"""Bad JSON against the running service: each row with its status and problem; nothing appended, nothing logged."""

import gzip
import json
from typing import Any

import pytest

from .running import NULL, SECRET, Running, data_url, job, picture, post_json, request

S = SECRET.encode()
OK_DIGEST = "sha256:" + "0" * 64
JSON = "Content-Type: application/json"
NOWHERE = "00000000-0000-7000-8000-000000000000"
WHOLE = json.dumps(job()).encode()


def said(member: bytes) -> bytes:
    """A whole body with one more member, written as it is."""
    return WHOLE[:-1] + b", " + member + b"}"


NOT_STRICT = {
    "empty": b"",
    "blank": b"  \n",
    "cut off": WHOLE[:-1],
    "a brace": b"{",
    "trailing garbage": WHOLE + b" " + S,
    "two values": WHOLE + WHOLE,
    "two lines": WHOLE + b"\n" + WHOLE,
    "a comment": b"{/* " + S + b" */}",
    "a trailing comma": WHOLE[:-1] + b",}",
    "single quotes": b"{'model': '" + S + b"'}",
    "a byte order mark": b"\xef\xbb\xbf" + WHOLE,
    "UTF-16": json.dumps(job()).encode("utf-16"),
    "UTF-16 without a mark": json.dumps(job()).encode("utf-16-le"),
    "not UTF-8": said(b'"\xff": "' + S + b'"'),
    "an overlong slash": said(b'"x": "\xc0\xaf"'),
    "a surrogate in UTF-8": said(b'"x": "\xed\xa0\x80"'),
    "a lone high surrogate": said(b'"x": "\\ud800' + S + b'"'),
    "a lone low surrogate": said(b'"x": "\\udc00"'),
    "surrogates in the wrong order": said(b'"x": "\\udc00\\ud800"'),
    "NUL": said(b'"x": "' + S + b'\\u0000"'),
    "NUL in a key": said(b'"\\u0000": "1"'),
    "NUL as it is": said(b'"x": "\0"'),
    "a control character": said(b'"x": "a\nb"'),
    "a bad escape": said(b'"x": "\\x41"'),
    "NaN": said(b'"deadline_s": NaN'),
    "Infinity": said(b'"deadline_s": Infinity'),
    "-Infinity": said(b'"deadline_s": -Infinity'),
    "1e400": said(b'"deadline_s": 1e400'),
    "1e999999": said(b'"deadline_s": 1e999999'),
    "-1e400": said(b'"deadline_s": -1e400'),
    "a 5,000-digit integer": said(b'"deadline_s": ' + b"9" * 5000),
    "a leading zero": said(b'"deadline_s": 060'),
    "a leading plus": said(b'"deadline_s": +60'),
    "hexadecimal": said(b'"deadline_s": 0x3c'),
    "underscores": said(b'"deadline_s": 6_0'),
    "a key twice": said(b'"model": "n"'),
    "a key twice, escaped": said(b'"\\u006dodel": "n"'),
    "a key twice, below": said(b'"parameters": {"top_k": 1, "\\u0074op_k": 2}'),
    "100,000 levels": b"[" * 100_000 + b"]" * 100_000,
    "100,000 levels, open": b"[" * 100_000,
    "100,000 levels of objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "33 levels": b"[" * 33 + b"]" * 33,
    "100 levels below a field": said(b'"labels": ' + b'{"a":' * 100 + b"1" + b"}" * 100),
}


@pytest.mark.parametrize("case", NOT_STRICT)
def test_not_strict_json(running: Running, case: str) -> None:
    running.check_refused(post_json("/jobs", NOT_STRICT[case]), 400, "invalid-json")


NO_JOBS = {
    "an array": b'["' + S + b'"]',
    "null": b"null",
    "a string": b'"' + S + b'"',
    "a number": b"1",
    "true": b"true",
}


@pytest.mark.parametrize("case", NO_JOBS)
@pytest.mark.parametrize("path", ["/jobs", f"/jobs/{NOWHERE}/runs", f"/jobs/{NOWHERE}/cancel"])
def test_no_object(running: Running, case: str, path: str) -> None:
    running.check_refused(post_json(path, NO_JOBS[case]), 422, "invalid-request")


FIELDS: dict[str, tuple[Any, str]] = {
    "no model": (job(model=None), "#/model"),
    "no inputs": (job(inputs=None), "#/inputs"),
    "an unknown field": (job(nope=SECRET), "#/nope"),
    "status": (job(status="succeeded"), "#/status"),
    "tenant": (job(tenant="another"), "#/tenant"),
    "actor": (job(actor="root"), "#/actor"),
    "job_id": (job(job_id=NOWHERE), "#/job_id"),
    "id": (job(id=NOWHERE), "#/id"),
    "version": (job(version=7), "#/version"),
    "__proto__": (job(__proto__={"execute": False}), "#/__proto__"),
    "__class__": (job(__class__="x"), "#/__class__"),
    "_schema": (job(_schema="x"), "#"),
    "$where": (job(**{"$where": "sleep(9)"}), "#/$where"),
    "a dotted field": (job(**{"inputs.0.data": SECRET}), "#/inputs.0.data"),
    "a field like a pointer": (job(**{"a/b~c": 1}), "#/a~1b~0c"),
    "a field without a name": (job(**{"": 1}), "#/"),
    "60,000 unknown fields": ({f"k{n}": 1 for n in range(60_000)}, "#/model"),
    "a field's name of 500 kB": (job(**{"k" * 500_000: 1}), "#/" + "k" * 198),
    "an unknown parameter": (job(parameters={"nope": 1}), "#/parameters/nope"),
    "parameters null": (job(parameters=NULL), "#/parameters"),
    "parameters an array": (job(parameters=[]), "#/parameters"),
    "model null": (job(model=NULL), "#/model"),
    "model a number": (job(model=5), "#/model"),
    "model an operator": (job(model={"$ne": None}), "#/model"),
    "model a path": (job(model="../../etc/passwd"), "#/model"),
    "model in upper case": (job(model="M"), "#/model"),
    "model with a newline": (job(model="m\n"), "#/model"),
    "model with two versions": (job(model="m@1@2"), "#/model"),
    "model with an empty version": (job(model="m@"), "#/model"),
    "model in full-width letters": (job(model="\uff4d"), "#/model"),
    "model of 500 kB": (job(model="m" * 500_000), "#/model"),
    "inputs empty": (job(inputs=[]), "#/inputs"),
    "inputs null": (job(inputs=NULL), "#/inputs"),
    "inputs an object": (job(inputs={"0": {"data": data_url(picture())}}), "#/inputs"),
    "inputs a string": (job(inputs=SECRET), "#/inputs"),
    "101 inputs": (job(inputs=[{"media": OK_DIGEST}] * 101), "#/inputs"),
    "an input of nothing": (job(inputs=[{}]), "#/inputs/0"),
    "an input of two": (job(inputs=[{"media": OK_DIGEST, "data": data_url(picture())}]), "#/inputs/0"),
    "an input with an unknown field": (job(inputs=[{"media": OK_DIGEST, "x": SECRET}]), "#/inputs/0/x"),
    "an input a string": (job(inputs=[SECRET]), "#/inputs/0"),
    "an input null": (job(inputs=[None]), "#/inputs/0"),
    "the second of two": (job(inputs=[{"media": OK_DIGEST}, {}]), "#/inputs/1"),
    "media null": (job(inputs=[{"media": None}]), "#/inputs/0/media"),
    "media an operator": (job(inputs=[{"media": {"$gt": ""}}]), "#/inputs/0/media"),
    "a digest in upper case": (job(inputs=[{"media": "sha256:" + "A" * 64}]), "#/inputs/0/media"),
    "a digest too long": (job(inputs=[{"media": OK_DIGEST + "0"}]), "#/inputs/0/media"),
    "a digest with a newline": (job(inputs=[{"media": OK_DIGEST + "\n"}]), "#/inputs/0/media"),
    "a digest of another hash": (job(inputs=[{"media": "md5:" + "0" * 32}]), "#/inputs/0/media"),
    "a digest like a path": (job(inputs=[{"media": "sha256:../../" + SECRET}]), "#/inputs/0/media"),
    "data a number": (job(inputs=[{"data": 1}]), "#/inputs/0/data"),
    "data an array": (job(inputs=[{"data": [SECRET]}]), "#/inputs/0/data"),
    "top_k -1": (job(parameters={"top_k": -1}), "#/parameters/top_k"),
    "top_k 0": (job(parameters={"top_k": 0}), "#/parameters/top_k"),
    "top_k 1001": (job(parameters={"top_k": 1001}), "#/parameters/top_k"),
    "top_k 10^9": (job(parameters={"top_k": 10**9}), "#/parameters/top_k"),
    "top_k 2^63": (job(parameters={"top_k": 2**63}), "#/parameters/top_k"),
    "top_k 2^70": (job(parameters={"top_k": 2**70}), "#/parameters/top_k"),
    "top_k -2^63": (job(parameters={"top_k": -(2**63)}), "#/parameters/top_k"),
    "top_k 1.9": (job(parameters={"top_k": 1.9}), "#/parameters/top_k"),
    "top_k 5.0": (job(parameters={"top_k": 5.0}), "#/parameters/top_k"),
    "top_k true": (job(parameters={"top_k": True}), "#/parameters/top_k"),
    "top_k a string": (job(parameters={"top_k": "5"}), "#/parameters/top_k"),
    "top_k the secret": (job(parameters={"top_k": SECRET}), "#/parameters/top_k"),
    "top_k null": (job(parameters={"top_k": None}), "#/parameters/top_k"),
    "top_k an array": (job(parameters={"top_k": [5]}), "#/parameters/top_k"),
    "min_score 1.1": (job(parameters={"min_score": 1.1}), "#/parameters/min_score"),
    "min_score below 0": (job(parameters={"min_score": -5e-324}), "#/parameters/min_score"),
    "min_score a string": (job(parameters={"min_score": "0.5"}), "#/parameters/min_score"),
    "min_score NaN in words": (job(parameters={"min_score": "NaN"}), "#/parameters/min_score"),
    "min_score false": (job(parameters={"min_score": False}), "#/parameters/min_score"),
    "max_detections 1001": (job(parameters={"max_detections": 1001}), "#/parameters/max_detections"),
    "execute a string": (job(execute="yes"), "#/execute"),
    "execute 1": (job(execute=1), "#/execute"),
    "execute null": (job(execute=NULL), "#/execute"),
    "deadline_s 0": (job(deadline_s=0), "#/deadline_s"),
    "deadline_s -0": (said(b'"deadline_s": -0'), "#/deadline_s"),
    "deadline_s 3601": (job(deadline_s=3601), "#/deadline_s"),
    "deadline_s 1.7e308": (job(deadline_s=1.7e308), "#/deadline_s"),
    "deadline_s a duration": (job(deadline_s="PT1M"), "#/deadline_s"),
    "labels null": (job(labels=NULL), "#/labels"),
    "labels an array": (job(labels=[SECRET]), "#/labels"),
    "33 labels": (job(labels={str(n): "x" for n in range(33)}), "#/labels"),
    "a label's key with $": (job(labels={"$where": SECRET}), "#/labels/$where"),
    "a label's key with a colon": (job(labels={"a:b": SECRET}), "#/labels/a:b"),
    "a label's key with a blank": (job(labels={"a b": SECRET}), "#/labels/a b"),
    "a label's key with a newline": (job(labels={"a\n": SECRET}), "#/labels/a\n"),
    "a label's key of nothing": (job(labels={"": SECRET}), "#/labels/"),
    "a label's key of other letters": (job(labels={"\u0430": SECRET}), "#/labels/\u0430"),
    "a label's key too long": (job(labels={"a" * 65: SECRET}), "#/labels/" + "a" * 65),
    "a label's value too long": (job(labels={"a": SECRET * 10}), "#/labels/a"),
    "a label's value with an escape": (job(labels={"a": SECRET + "\x1b[31m"}), "#/labels/a"),
    "a label's value with a line break": (job(labels={"a": SECRET + "\r\nX: 1"}), "#/labels/a"),
    "a label's value that turns text": (job(labels={"a": SECRET + "\u202e"}), "#/labels/a"),
    "a label's value of no character": (job(labels={"a": "\uffff"}), "#/labels/a"),
    "a label's value a number": (job(labels={"a": 1}), "#/labels/a"),
    "a label's value null": (job(labels={"a": None}), "#/labels/a"),
    "a label's value an operator": (job(labels={"a": {"$gt": ""}}), "#/labels/a"),
}


@pytest.mark.parametrize("case", FIELDS)
def test_wrong_fields(running: Running, case: str) -> None:
    body, pointer = FIELDS[case]
    answer = running.check_refused(post_json("/jobs", body), 422, "invalid-request")
    found = [entry["pointer"] for entry in answer.json["errors"]]
    assert pointer in found
    assert len(found) <= 50


RUN_FIELDS: dict[str, tuple[Any, str]] = {
    "inputs": ({"inputs": [{"media": OK_DIGEST}]}, "#/inputs"),
    "labels": ({"labels": {"a": SECRET}}, "#/labels"),
    "run": ({"run": 7}, "#/run"),
    "attempt": ({"attempt": 1}, "#/attempt"),
    "model null": ({"model": None}, "#/model"),
    "model a path": ({"model": "../" + SECRET}, "#/model"),
    "top_k 0": ({"parameters": {"top_k": 0}}, "#/parameters/top_k"),
    "parameters null": ({"parameters": None}, "#/parameters"),
    "deadline_s true": ({"deadline_s": True}, "#/deadline_s"),
}


@pytest.mark.parametrize("case", RUN_FIELDS)
def test_wrong_fields_of_a_run(running: Running, case: str) -> None:
    body, pointer = RUN_FIELDS[case]
    answer = running.check_refused(post_json(f"/jobs/{NOWHERE}/runs", body), 422, "invalid-request")
    assert pointer in [entry["pointer"] for entry in answer.json["errors"]]


UNUSABLE: dict[str, tuple[Any, str, str]] = {
    "an unknown model": (job(model="nope"), "unknown-model", "#/model"),
    "an unknown version": (job(model="m@9"), "unknown-model", "#/model"),
    "unknown media": (job(inputs=[{"media": OK_DIGEST}]), "unknown-media", "#/inputs/0/media"),
    "a model's file as media": (job(inputs=[{"media": "sha256:" + "f" * 64}]), "unknown-media", "#/inputs/0/media"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_what_cannot_be_used(running: Running, case: str) -> None:
    body, name, pointer = UNUSABLE[case]
    answer = running.check_refused(post_json("/jobs", body), 422, name)
    assert [entry["pointer"] for entry in answer.json["errors"]] == [pointer]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", f"/jobs/{NOWHERE}/runs"),
        ("POST", f"/jobs/{NOWHERE}/cancel"),
        ("DELETE", f"/jobs/{NOWHERE}"),
        ("DELETE", "/models/m/versions/9"),
        ("PUT", "/jobs/94f4cb44-fa9c-46d5-896b-4ac6d6611d27"),
        ("PUT", "/models/n/versions/1"),
    ],
)
@pytest.mark.parametrize(
    ("data", "status", "name"),
    [
        (b"{", 400, "invalid-json"),
        (b'{"a": "\\ud800' + S + b'"}', 400, "invalid-json"),
        (b"[" * 100_000, 400, "invalid-json"),
        (b'["' + S + b'"]', 422, "invalid-request"),
        (b'{"nope": "' + S + b'"}', 422, "invalid-request"),
        (b'"' + S * 30_000 + b'"', 413, "body-too-large"),
    ],
    ids=["cut off", "surrogate", "deep", "array", "unknown", "too large"],
)
def test_other_commands(running: Running, method: str, path: str, data: bytes, status: int, name: str) -> None:
    if (method, path) == ("PUT", "/models/n/versions/1"):
        if status == 413:
            data *= 6  # models may be larger
        elif data.startswith(b'{"nope"'):
            name = "source-not-supported"
    running.check_refused(post_json(path, data, method=method), status, name)


MEDIA_TYPES = {
    "none": request("POST", "/jobs", body=WHOLE),
    "text": request("POST", "/jobs", "Content-Type: text/plain", body=WHOLE),
    "text/json": request("POST", "/jobs", "Content-Type: text/json", body=WHOLE),
    "XML": request("POST", "/jobs", "Content-Type: application/xml", body=b"<x>" + S),
    "a form without files": request("POST", "/jobs", "Content-Type: application/x-www-form-urlencoded", body=S),
    "nonsense": request("POST", "/jobs", "Content-Type: ;;;" + SECRET, body=WHOLE),
    "gzip": request("POST", "/jobs", JSON, "Content-Encoding: gzip", body=gzip.compress(WHOLE)),
    "a gzip bomb": request(
        "POST", "/jobs", JSON, "Content-Encoding: gzip", body=gzip.compress(b" " * 10_000_000 + WHOLE)
    ),
    "gzip under another name": request(
        "POST", "/jobs", JSON, "Content-Encoding: X-GZIP", body=gzip.compress(WHOLE)
    ),
    "two encodings": request("POST", "/jobs", JSON, "Content-Encoding: identity, br", body=WHOLE),
    "two headers of encodings": request(
        "POST", "/jobs", JSON, "Content-Encoding: identity", "Content-Encoding: br", body=WHOLE
    ),
    "a picture in gzip": request("POST", "/media", "Content-Encoding: gzip", body=gzip.compress(picture())),
    "UTF-16, so it says": request(
        "POST", "/jobs", JSON + "; charset=utf-16", body=json.dumps(job()).encode("utf-16")
    ),
    "UTF-7": request("POST", "/jobs", JSON + "; charset=utf-7", body=WHOLE),
    "a charset that nobody knows": request("POST", "/jobs", JSON + "; charset=" + SECRET, body=WHOLE),
    "text to cancel": request("POST", f"/jobs/{NOWHERE}/cancel", "Content-Type: text/plain", body=S),
    "text to delete": request("DELETE", f"/jobs/{NOWHERE}", "Content-Type: text/plain", body=S),
}


@pytest.mark.parametrize("case", MEDIA_TYPES)
def test_media_types(running: Running, case: str) -> None:
    running.check_refused(MEDIA_TYPES[case], 415, "unsupported-media-type")


def test_a_million_values(running: Running) -> None:
    """Small in bytes, but not in what becomes of them."""
    running.check_refused(post_json("/jobs", b'{"inputs": [' + b"{}," * 300_000 + b"{}]}"), 413, "body-too-large")


ACCEPTED = {
    "a charset": request("POST", "/jobs", JSON + "; charset=UTF-8", body=WHOLE),
    "blanks around it": post_json("/jobs", b"\r\n\t " + WHOLE + b"\n"),
    "a pair of surrogates": post_json("/jobs", WHOLE.replace(b'{"note"', b'{"smile": "\\ud83d\\ude00", "note"')),
    "min_score 1e-999": post_json("/jobs", said(b'"parameters": {"min_score": 1e-999}')),
    "min_score -0.0": post_json("/jobs", said(b'"parameters": {"min_score": -0.0}')),
    "deadline_s 6e1": post_json("/jobs", said(b'"deadline_s": 6e1')),
    "dotted labels": post_json("/jobs", job(labels={"a.b": SECRET, "__proto__": "x", "/": "{$gt: 1}"})),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_odd_but_right(running: Running, case: str) -> None:
    """The refusals above are not refusals of everything."""
    since = running.log_size_bytes
    answer = running.send(ACCEPTED[case])
    assert answer.status == 202, answer.body
    assert SECRET not in running.logged(since)
