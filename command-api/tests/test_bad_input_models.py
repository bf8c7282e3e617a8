"""Bad models against the running service: hostile names, forms, descriptions and files."""

import gzip
import io
import json
import tarfile
from typing import Any
from uuid import uuid4

import pytest

from .running import DESCRIPTION, SECRET, TFLITE, Running, form, part, post_json, request, send_form

S = SECRET.encode()
FILE = part("file", TFLITE, SECRET + ".tflite")
DIGEST = "sha256:" + "0" * 64


def said(**changes: Any) -> bytes:
    """The description, with changes; None leaves a field out."""
    return part("description", json.dumps({k: v for k, v in (DESCRIPTION | changes).items() if v is not None}))


def put(*parts: bytes, path: str = "/models/n/versions/1") -> bytes:
    return send_form(path, *parts, method="PUT")


NAMES = {
    "upper case": "M/versions/1",
    "a dot first": ".m/versions/1",
    "two dots": "../versions/1",
    "a dollar": "$where/versions/1",
    "a blank": "a%20b/versions/1",
    "a newline": "m%0a/versions/1",
    "NUL": "m%00/versions/1",
    "bad UTF-8": "%ff%fe/versions/1",
    "another m": "%d0%bc/versions/1",
    "HTML": "%3cscript%3e/versions/1",
    "65 letters": "m" * 65 + "/versions/1",
    "the secret": SECRET + "/versions/1",
    "a version of two parts": "m/versions/1@2",
    "a version with a newline": "m/versions/1%0d%0aX:%201",
    "a version of 33": "m/versions/" + "1" * 33,
    "the secret for a version": "m/versions/" + SECRET + "%7b",
}


@pytest.mark.parametrize("case", NAMES)
def test_names(running: Running, case: str) -> None:
    path = "/models/" + NAMES[case]
    running.check_refused(put(said(), FILE, path=path), 422, "invalid-request")
    running.check_refused(request("DELETE", path), 404, "unknown-model")


@pytest.mark.parametrize(
    "path", ["/models/a%2fb/versions/1", "/models/..%2f..%2fx/versions/1", "/models//versions/1"]
)
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_names_that_are_paths(running: Running, method: str, path: str) -> None:
    running.check_refused(send_form(path, said(), FILE, method=method), 404, "not-found")


def test_an_unknown_model_is_not_retired(running: Running) -> None:
    running.check_refused(request("DELETE", "/models/nope/versions/1"), 404, "unknown-model")
    running.check_refused(request("DELETE", "/models/m/versions/nope"), 404, "unknown-model")


FORMS: dict[str, tuple[bytes, int, str, str | None]] = {
    "no file": (put(said()), 422, "invalid-request", "#/file"),
    "no description": (put(FILE), 422, "invalid-request", "#/description"),
    "two files": (put(said(), FILE, FILE), 422, "invalid-request", "#/file"),
    "two descriptions": (put(said(), said(), FILE), 422, "invalid-request", "#/description"),
    "two descriptions, one a file": (
        put(said(), part("description", "{}", "d.json"), FILE),
        422,
        "invalid-request",
        "#/description",
    ),
    "two descriptions, both files": (
        put(part("description", "{}", "d"), part("description", "{}", "d"), FILE),
        422,
        "invalid-request",
        "#/description",
    ),
    "the file as a text": (put(said(), part("file", TFLITE)), 422, "invalid-request", "#/file"),
    "an unknown text": (put(said(), FILE, part("nope", SECRET)), 422, "invalid-request", "#/nope"),
    "an unknown file": (put(said(), FILE, part("nope", S, SECRET)), 422, "invalid-request", "#/nope"),
    "a description cut off": (put(part("description", "{" + SECRET), FILE), 400, "invalid-json", "#/description"),
    "an empty description": (put(part("description", ""), FILE), 400, "invalid-json", "#/description"),
    "a deep description": (put(part("description", "[" * 100_000), FILE), 400, "invalid-json", "#/description"),
    "a deep description in a file": (
        put(part("description", "[" * 100_000, "d.json"), FILE),
        400,
        "invalid-json",
        "#/description",
    ),
    "a description in UTF-16": (
        put(part("description", json.dumps(DESCRIPTION).encode("utf-16"), "d.json"), FILE),
        400,
        "invalid-json",
        "#/description",
    ),
    "a description that is no UTF-8": (
        put(part("description", json.dumps(DESCRIPTION).encode()[:-2] + b'\xff"]}', "d.json"), FILE),
        400,
        "invalid-json",
        "#/description",
    ),
    "a description with a surrogate": (
        put(part("description", '{"name": "\\udfff' + SECRET + '"}'), FILE),
        400,
        "invalid-json",
        "#/description",
    ),
    "a description with a key twice": (
        put(part("description", '{"kind": 1, "kind": 2}'), FILE),
        400,
        "invalid-json",
        "#/description",
    ),
    "an array": (put(part("description", "[]"), FILE), 422, "invalid-request", "#/description"),
    "a description of 5 MB": (put(part("description", " " * 5_000_000 + "{}"), FILE), 413, "body-too-large", None),
    "a description of 5 MB in a file": (
        put(part("description", " " * 5_000_000 + "{}", "d.json"), FILE),
        413,
        "body-too-large",
        None,
    ),
    "a million values": (
        put(part("description", "[" + "{}," * 900_000 + "{}]"), FILE),
        413,
        "body-too-large",
        None,
    ),
    "more than a model may have": (
        put(said(), part("file", TFLITE + bytes(6 * 2**20), "m")),
        413,
        "body-too-large",
        None,
    ),
    "1,001 parts": (put(said(), *[part("file", S, "x")] * 1000), 413, "body-too-large", None),
    "no form": (
        request("PUT", "/models/n/versions/1", "Content-Type: application/octet-stream", body=TFLITE),
        415,
        "unsupported-media-type",
        None,
    ),
    "a form in gzip": (
        request(
            "PUT",
            "/models/n/versions/1",
            "Content-Type: multipart/form-data; boundary=b",
            "Content-Encoding: gzip",
            body=gzip.compress(form(said(), FILE)),
        ),
        415,
        "unsupported-media-type",
        None,
    ),
    "a JSON array": (post_json("/models/n/versions/1", [SECRET], method="PUT"), 422, "invalid-request", "#"),
}


@pytest.mark.parametrize("case", FORMS)
def test_forms(running: Running, case: str) -> None:
    raw, status, name, pointer = FORMS[case]
    answer = running.check_refused(raw, status, name)
    assert pointer is None or pointer in [entry["pointer"] for entry in answer.json["errors"]]


INPUT, OUTPUT = DESCRIPTION["input"], DESCRIPTION["output"]
FIELDS: dict[str, tuple[dict[str, Any], str]] = {
    "no kind": ({"kind": None}, "kind"),
    "another kind": ({"kind": SECRET}, "kind"),
    "kind an operator": ({"kind": {"$ne": 1}}, "kind"),
    "another runtime": ({"runtime": "onnx"}, "runtime"),
    "the other runtime": ({"runtime": "tf-savedmodel"}, "runtime"),
    "another name": ({"name": SECRET}, "name"),
    "another version": ({"version": "2"}, "version"),
    "name a number": ({"name": 1}, "name"),
    "an unknown field": ({"command": "rm -rf /"}, "command"),
    "__proto__": ({"__proto__": {"kind": "detection"}}, "__proto__"),
    "status": ({"status": "retired"}, "status"),
    "no input": ({"input": None}, "input"),
    "an input that is none": ({"input": SECRET}, "input"),
    "a width of 0": ({"input": INPUT | {"width_px": 0}}, "input/width_px"),
    "a width of 10^9": ({"input": INPUT | {"width_px": 10**9}}, "input/width_px"),
    "a width of 8.0": ({"input": INPUT | {"width_px": 8.0}}, "input/width_px"),
    "one size of two": ({"input": INPUT | {"width_px": None}}, "input"),
    "another layout": ({"input": INPUT | {"layout": "CHWN"}}, "input/layout"),
    "another dtype": ({"input": INPUT | {"dtype": "object"}}, "input/dtype"),
    "an unknown field of the input": ({"input": INPUT | {"x": SECRET}}, "input/x"),
    "a deviation of 0": (
        {"input": INPUT | {"normalization": {"mean": [0] * 3, "std": [0] * 3}}},
        "input/normalization/std/0",
    ),
    "two means": (
        {"input": INPUT | {"normalization": {"mean": [0] * 2, "std": [1] * 3}}},
        "input/normalization/mean",
    ),
    "another format": ({"output": {"format": "pickle"}}, "output/format"),
    "the format of another kind": ({"output": {"format": "tflite-detection"}}, "output/format"),
    "a label offset of 2": ({"output": OUTPUT | {"label_offset": 2}}, "output/label_offset"),
    "no labels": ({"labels": None}, "labels"),
    "labels empty": ({"labels": []}, "labels"),
    "labels an object": ({"labels": {"0": SECRET}}, "labels"),
    "100,001 labels": ({"labels": ["a"] * 100_001}, "labels"),
    "a label a number": ({"labels": ["a", 1]}, "labels/1"),
    "a label too long": ({"labels": ["a" * 201]}, "labels/0"),
    "a label with an escape": ({"labels": ["\x1b]0;" + SECRET]}, "labels/0"),
    "a label with a line break": ({"labels": ["a\n" + SECRET]}, "labels/0"),
    "another digest": ({"artifact": {"digest": DIGEST}}, "artifact/digest"),
    "a digest like a path": ({"artifact": {"digest": "sha256:../" + SECRET}}, "artifact/digest"),
    "another size": ({"artifact": {"size_bytes": 1}}, "artifact/size_bytes"),
    "another form": ({"artifact": {"format": "tar.gz"}}, "artifact/format"),
    "a path in the artifact": ({"artifact": {"path": "/etc/passwd"}}, "artifact/path"),
    "another source": ({"source": {"type": "ftp"}}, "source/type"),
    "a reference that is none": ({"source": {"type": "url", "reference": [SECRET]}}, "source/reference"),
    "a reference too long": ({"source": {"type": "url", "reference": SECRET * 20}}, "source/reference"),
    "a reference with a line break": ({"source": {"type": "url", "reference": "x\n" + SECRET}}, "source/reference"),
}


@pytest.mark.parametrize("case", FIELDS)
def test_descriptions(running: Running, case: str) -> None:
    changes, pointer = FIELDS[case]
    answer = running.check_refused(put(said(**changes), FILE), 422, "invalid-request")
    assert "#/description/" + pointer in [entry["pointer"] for entry in answer.json["errors"]]


FILES = {
    "empty": b"",
    "text": S,
    "HTML": b"<html>" + S,
    "a ZIP archive": b"PK\3\4" + S,
    "a tar archive": b"x".ljust(257, b"\0") + b"ustar\0" + S,
    "a pickle": b"\x80\4" + S,
    "a program": b"\x7fELF" + S,
    "HDF5": b"\x89HDF\r\n\x1a\n" + S,
    "a picture": b"\x89PNG\r\n\x1a\n" + S,
    "a model one byte late": b"\0" + TFLITE,
    "seven bytes": TFLITE[:7],
}


@pytest.mark.parametrize("case", FILES)
def test_files_that_are_no_models(running: Running, case: str) -> None:
    raw = put(said(), part("file", FILES[case], SECRET + ".tflite", "Content-Type: application/octet-stream"))
    answer = running.check_refused(raw, 415, "unsupported-model")
    assert [entry["pointer"] for entry in answer.json["errors"]] == ["#/file"]


def test_nothing_of_refused_models_is_left(running: Running) -> None:
    running.check_refused(put(said(), part("file", S, "x")), 415, "unsupported-model")
    assert list((running.folder / "incoming").iterdir()) == []


def archive_of(name: str) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(S)
        archive.addfile(member, io.BytesIO(S))
    return content.getvalue()


@pytest.mark.parametrize("name", ["../../../../tmp/" + SECRET, "/tmp/" + SECRET, "saved_model.pb"])
def test_an_archive_is_not_opened_here(running: Running, name: str) -> None:
    """It is taken as it is; the executor unpacks it, in a child."""
    model, since = f"a-{uuid4()}", running.log_size_bytes
    parts = said(runtime="tf-savedmodel"), part("file", archive_of(name), "../../" + SECRET + ".tar.gz")
    answer = running.send(put(*parts, path=f"/models/{model}/versions/1"))
    assert answer.status == 202, answer.body
    assert not [path for path in running.folder.rglob("*") if SECRET in path.name]
    assert SECRET not in running.logged(since)


def test_a_version_keeps_its_content(running: Running) -> None:
    path = f"/models/v-{uuid4()}/versions/1"
    assert running.send(put(said(), FILE, path=path)).status == 202
    running.check_refused(put(said(labels=["other", SECRET]), FILE, path=path), 422, "key-reused")
    running.check_refused(put(said(), part("file", TFLITE + S, "x"), path=path), 422, "key-reused")
    before = running.ends()
    assert running.send(put(said(), FILE, path=path)).status == 202
    assert running.ends() == before, "the same content again is no change"
    assert running.send(request("DELETE", path)).status == 202
    running.check_refused(request("DELETE", path), 410, "model-retired")
    running.check_refused(put(said(), FILE, path=path), 410, "model-retired")
