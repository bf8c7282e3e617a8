"""The model catalogue over HTTP: registering, retiring, and what is refused."""

import io
import json
from uuid import uuid4

import pytest

from darkroom.runtime.blobs import digest_of
from darkroom.runtime.http.api import PREFIX
from darkroom.schemas.wire import read_envelope, read_guard

TFLITE = b"\x1c\x00\x00\x00TFL3" + bytes(64)
TAR_GZ = b"\x1f\x8b\x08\x00" + bytes(64)
DESCRIPTION = {
    "kind": "detection",
    "runtime": "litert",
    "input": {"width_px": 300, "height_px": 300, "dtype": "uint8"},
    "output": {"format": "tflite-detection", "label_offset": 1},
    "labels": ["person", "???", "???"],
}


def _name() -> str:
    return f"m-{uuid4()}"


def _last_event(door):
    record = door.model_log.read_one(0, door.model_log.end_offset(0, 1) - 1, 1)
    return read_envelope(read_guard(record.key, record.headers), record.value, record.headers)


def test_register(door):
    name = _name()
    answer = door.register(name, "1.0", description=DESCRIPTION)
    assert answer.status_code == 202
    get = f"http://query.test{PREFIX}/models/{name}"
    assert answer.json == {
        "name": name,
        "version": "1.0",
        "digest": digest_of(TFLITE),
        "status": "registered",
        "position": answer.json["position"],
        "urls": {"get": get, "result": f"{get}?after={answer.json['position']}"},
    }
    assert answer.headers["Location"] == answer.json["urls"]["result"]
    event = _last_event(door)
    assert event.guard.key == name
    labels = json.dumps(DESCRIPTION["labels"], separators=(",", ":")).encode()
    assert event.data["description"] == {
        "name": name,
        "version": "1.0",
        "kind": "detection",
        "runtime": "litert",
        "source": {"type": "upload"},
        "artifact": {"digest": digest_of(TFLITE), "size_bytes": len(TFLITE), "format": "tflite"},
        "input": {
            "width_px": 300,
            "height_px": 300,
            "layout": "NHWC",
            "dtype": "uint8",
            "normalization": None,
        },
        "output": {"format": "tflite-detection", "activation": "none", "label_offset": 1},
        "labels": {"digest": digest_of(labels), "count": 3},
    }
    assert door.blobs.get(digest_of(TFLITE)) == TFLITE
    assert door.blobs.get(digest_of(labels)) == labels


def test_register_again(door):
    name = _name()
    first = door.register(name)
    before = len(door.records())
    assert door.register(name).json == first.json
    other = door.register(name, labels=["another"])
    assert (other.status_code, other.json["type"]) == (422, "urn:darkroom:problem:key-reused")
    assert len(door.records()) == before
    assert door.register(name, "2", labels=["another"]).status_code == 202


def test_retire(door):
    name = door.model()
    key = {"Idempotency-Key": str(uuid4())}
    first = door.delete(f"/models/{name}/versions/1", headers=key)
    assert (first.status_code, first.json["status"]) == (202, "retired")
    before = len(door.records())
    assert door.delete(f"/models/{name}/versions/1", headers=key).json == first.json
    again = door.delete(f"/models/{name}/versions/1")
    assert (again.status_code, again.json["type"]) == (410, "urn:darkroom:problem:model-retired")
    revived = door.register(name)
    assert (revived.status_code, revived.json["type"]) == (410, "urn:darkroom:problem:model-retired")
    assert len(door.records()) == before


@pytest.mark.parametrize("path", ["nope/versions/1", "m/versions/9", "%24where/versions/1"])
def test_retire_what_is_not_there(door, path):
    answer = door.delete(f"/models/{path}")
    assert (answer.status_code, answer.json["type"]) == (404, "urn:darkroom:problem:unknown-model")


def test_a_large_file_and_a_description_as_a_file(door):
    """Over the limit of other bodies, and over what goes up in one piece; `curl -F description=@file`."""
    name, file = _name(), TAR_GZ + bytes(2 * 2**20)
    description = {**DESCRIPTION, "runtime": "tf-savedmodel", "name": name, "version": "1"}
    answer = door.put_form(
        f"/models/{name}/versions/1",
        ("description", "d.json", json.dumps(description).encode()),
        ("file", "m.tar.gz", file),
    )
    assert answer.status_code == 202, answer.json
    assert _last_event(door).data["description"]["artifact"]["format"] == "tar.gz"
    assert door.blobs.get(digest_of(file)) == file


WRONG = {
    "an unknown field": ({"nope": 1}, "#/description/nope"),
    "another name": ({"name": "other"}, "#/description/name"),
    "another version": ({"version": "9"}, "#/description/version"),
    "an unknown kind": ({"kind": "pose"}, "#/description/kind"),
    "an unknown runtime": ({"runtime": "onnx"}, "#/description/runtime"),
    "the wrong runtime": ({"runtime": "tf-savedmodel"}, "#/description/runtime"),
    "a kind that does not fit": ({"kind": "detection"}, "#/description/output/format"),
    "no labels": ({"labels": []}, "#/description/labels"),
    "a label not a string": ({"labels": [1]}, "#/description/labels/0"),
    "a label not printable": ({"labels": ["a\x1b"]}, "#/description/labels/0"),
    "one size only": (
        {"input": {"width_px": 5, "height_px": None, "dtype": "uint8"}},
        "#/description/input",
    ),
    "no size": ({"input": {"dtype": "uint8"}}, "#/description/input/width_px"),
    "a bad dtype": (
        {"input": {"width_px": 5, "height_px": 5, "dtype": "float16"}},
        "#/description/input/dtype",
    ),
    "a std of 0": (
        {
            "input": {
                "width_px": 5,
                "height_px": 5,
                "dtype": "float32",
                "normalization": {"mean": [0, 0, 0], "std": [1, 0, 1]},
            }
        },
        "#/description/input/normalization/std/1",
    ),
    "an offset of 2": ({"output": {"format": "scores", "label_offset": 2}}, "#/description/output/label_offset"),
    "another digest": (
        {"artifact": {"digest": "sha256:" + "0" * 64}},
        "#/description/artifact/digest",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_descriptions(door, case):
    before = len(door.records())
    changes, pointer = WRONG[case]
    answer = door.register(_name(), description={**_described(), **changes})
    assert (answer.status_code, answer.json["type"]) == (422, "urn:darkroom:problem:invalid-request")
    assert pointer in [e["pointer"] for e in answer.json["errors"]], answer.json["errors"]
    assert len(door.records()) == before


def _described() -> dict:
    return {
        **DESCRIPTION,
        "kind": "classification",
        "output": {"format": "scores"},
    }


@pytest.mark.parametrize(
    ("form", "status", "problem"),
    [
        ({"description": "{", "file": TFLITE}, 400, "invalid-json"),
        ({"description": "{}", "file": TFLITE}, 422, "invalid-request"),
        ({"description": "[]", "file": TFLITE}, 422, "invalid-request"),
        ({"file": TFLITE}, 422, "invalid-request"),
        ({"description": json.dumps(_described())}, 422, "invalid-request"),
        ({"description": json.dumps(_described()), "file": b"garbage"}, 415, "unsupported-model"),
        ({"description": json.dumps(_described()), "file": b""}, 415, "unsupported-model"),
        ({"description": json.dumps(_described()), "file": TFLITE + bytes(3 * 2**20)}, 413, "body-too-large"),
        ({"description": json.dumps(_described()), "file": TFLITE, "nope": "1"}, 422, "invalid-request"),
    ],
)
def test_wrong_forms(door, form, status, problem):
    before = len(door.records())
    parts = [(k, "x", v) if isinstance(v, bytes) else (k, None, v.encode()) for k, v in form.items()]
    answer = door.put_form(f"/models/{_name()}/versions/1", *parts)
    assert (answer.status_code, answer.json["type"]) == (status, f"urn:darkroom:problem:{problem}")
    assert len(door.records()) == before


@pytest.mark.parametrize(
    "path", ["UPPER/versions/1", "m$/versions/1", "m/versions/a%20b", f"{'x' * 65}/versions/1"]
)
def test_wrong_names(door, path):
    answer = door.client.put(
        f"{PREFIX}/models/{path}", data={"description": "{}", "file": (io.BytesIO(TFLITE), "x")}
    )
    assert (answer.status_code, answer.json["type"]) == (422, "urn:darkroom:problem:invalid-request")


def test_sources_are_not_fetched_yet(door):
    answer = door.put("/models/x/versions/1", {"source": {"type": "url", "url": "http://169.254.169.254/"}})
    assert (answer.status_code, answer.json["type"]) == (422, "urn:darkroom:problem:source-not-supported")


def test_a_model_file_is_no_picture(door):
    door.model()
    answer = door.post("/jobs", {"model": "m", "inputs": [{"media": digest_of(TFLITE)}]})
    assert (answer.status_code, answer.json["type"]) == (422, "urn:darkroom:problem:unknown-media")
