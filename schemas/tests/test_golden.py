"""One frozen record of every event type and version, read by this test for ever. Never change a golden file."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from darkroom.schemas import eventdata, job, model
from darkroom.schemas.chain import accepts
from darkroom.schemas.eventdata import SCHEMAS
from darkroom.schemas.jsonschema import envelope_schema, json_schema
from darkroom.schemas.upcasting import UPCASTERS, VERSIONS
from darkroom.schemas.wire import Context, Envelope, Headers, encode, read_envelope, read_guard

FOLDER = Path(__file__).parents[1] / "golden"
FILES = sorted(FOLDER.glob("*.json"))
FIELDS: dict[str, dict[str, Any]] = {
    "darkroom.job.created.v1": {"labels": {"batch": "42", "größe": "übergroß"}, "execute": True},
    "darkroom.job.execution-requested.v1": {"run": 2},
    "darkroom.job.execution-started.v1": {"run": 1, "attempt": 1, "executor": "executor-7f3a", "lease_s": 15.0},
    "darkroom.job.execution-progressed.v1": {"run": 1, "attempt": 2, "done": 1, "total": 2},
    "darkroom.job.execution-succeeded.v1": {
        "attempt": 2,
        "results_blob": None,
        "timing": {"queued_ms": 12.5, "running_ms": 48.25, "decode_ms": 9.75, "inference_ms": 31.0},
    },
    "darkroom.job.execution-failed.v1": {
        "error": job.Problem(
            "urn:darkroom:problem:model-crashed",
            "The model's process ended without a result",
            "Signal SIGSEGV while input 1 was running — attempt 1.",
        )
    },
    "darkroom.job.attempt-expired.v1": {
        "reason": job.Problem(
            "urn:darkroom:problem:executor-lost",
            "The executor gave no sign of life",
            "No sign of life of executor-7f3a for 15 s.",
        )
    },
    "darkroom.job.cancelled.v1": {"run": 3},
    "darkroom.job.deleted.v1": {"run": 3},
    "darkroom.model.registered.v1": {},
    "darkroom.model.retired.v1": {"name": "shapes-detector", "version": "1"},
}
"""What some fields of each golden event are, written down by hand; the others are checked by encoding again."""


def read(path: Path) -> tuple[dict[str, Any], bytes, Headers]:
    """A golden file's value, and its record's key and headers as bytes."""
    golden = json.loads(path.read_text())
    headers = [(name, text.encode()) for name, text in golden["headers"].items()]
    return golden["value"], golden["key"].encode(), headers


def decoded(path: Path) -> Envelope:
    value, key, headers = read(path)
    return read_envelope(read_guard(key, headers), json.dumps(value).encode(), headers)


def test_every_event_type_and_every_older_version_has_a_golden_record() -> None:
    assert {path.stem for path in FILES} == set(SCHEMAS) | set(UPCASTERS)
    assert set(FIELDS) == {path.stem for path in FILES}
    assert VERSIONS.faults({path.stem: read(path)[0]["data"] for path in FILES}) == []


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_a_golden_record_is_read_as_it_was_meant(path: Path) -> None:
    envelope = decoded(path)
    event = envelope.event
    assert eventdata.type_of(event) == envelope.guard.type
    assert {name: getattr(event, name) for name in FIELDS[path.stem]} == FIELDS[path.stem]
    assert envelope.guard.tenant == "default"
    assert envelope.time == datetime(2026, 11, 22, 9, 30, envelope.guard.version, 250_000, tzinfo=UTC)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_a_golden_record_fits_its_published_schemas(path: Path) -> None:
    value, _, _ = read(path)
    for schema, instance in ((envelope_schema(path.stem), value), (json_schema(path.stem), value["data"])):
        jsonschema.Draft202012Validator(
            schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
        ).validate(instance)
    assert value["dataschema"] == json_schema(path.stem)["$id"]


@pytest.mark.parametrize("path", [p for p in FILES if p.stem in SCHEMAS], ids=lambda p: p.stem)
def test_encoding_a_golden_event_again_gives_the_same_record(path: Path) -> None:
    value, key, headers = read(path)
    envelope = decoded(path)
    attributes = envelope.attributes
    context = Context(
        source=envelope.source,
        time=envelope.time,
        actor=attributes["actor"],
        correlation_id=attributes["correlationid"],
        causation_id=attributes["causationid"],
        traceparent=attributes["traceparent"],
    )
    key_again, value_again, headers_again = encode(envelope.guard, envelope.event, context)
    assert (key_again, headers_again) == (key, headers)
    assert json.loads(value_again) == value


def test_the_golden_job_and_the_golden_model_are_chains_that_the_folds_accept() -> None:
    created, started = (decoded(FOLDER / f"darkroom.job.{n}.v1.json") for n in ("created", "execution-started"))
    head = job.evolve(None, created.guard, 0)
    assert accepts(head.version, head.last_event_id, started.guard)
    assert job.evolve(head, started.guard, 1).status is job.Status.RUNNING

    registered, retired = (decoded(FOLDER / f"darkroom.model.{n}.v1.json") for n in ("registered", "retired"))
    one = model.evolve(model.ModelHead(), registered.guard, registered.event, 0)
    entry = one.newest()
    assert entry is not None
    assert entry.description == registered.event.description
    assert accepts(one.version, one.last_event_id, retired.guard)
    assert model.evolve(one, retired.guard, retired.event, 1).newest() is None
