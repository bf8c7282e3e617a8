"""No record of any content makes a fold raise, or gives a document that the database cannot hold."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import bson
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.projector.projections.families import JOBS, MODELS, Family
from darkroom.projector.testing import LOST, SPEC, Chain, Kept
from darkroom.runtime.eventlog.port import Record
from darkroom.schemas import job, model

SIZE_BYTES_MAX = 16 * 2**20
DESCRIPTION = model.Description(
    "m",
    "1",
    "detection",
    "litert",
    {"type": "upload"},
    {"digest": "sha256:1"},
    {"width_px": None},
    {},
    {"count": 3},
)


def story(family: Family) -> list[Record]:
    """One aggregate's past: what the mutated records continue, or come before."""
    chain = Chain("m" if family is MODELS else "0b7c2b9e-7a0f-4c35-9d80-3d5f0a6f5e11", 1)
    if family is MODELS:
        events: list[Any] = [model.Registered(DESCRIPTION), model.Retired("m", "1"), model.Registered(DESCRIPTION)]
    else:
        timing = {"inference_ms": 12.25}
        events = [
            job.Created(SPEC, {"a": "1"}, True),
            job.ExecutionStarted(1, 1, "x", 15.0),
            job.AttemptExpired(1, 1, LOST),
            job.ExecutionStarted(1, 2, "x", 15.0),
            job.ExecutionSucceeded(1, 2, ({"input": 0, "classes": []},), None, timing, {"a": {"b": [1]}}),
            job.ExecutionRequested(2, SPEC),
            job.ExecutionFailed(2, 0, LOST),
            job.Deleted(2),
        ]
    return [replace(chain.record(event, f"e{i}"), offset=i) for i, event in enumerate(events)]


STORIES = {family.name: story(family) for family in (JOBS, MODELS)}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    ["a.b", "$where", "\0", "run"]
)
NUMBER = st.sampled_from([0, -1, 2**31, 2**53 + 1, 2**62, 2**64, -(2**63) - 1, 1e308, -1e-308, True])
TIME = st.sampled_from(["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "2026-11-01T09:00:00+23:59", "x"])
VALUE = st.recursive(
    st.none() | NUMBER | TEXT | TIME,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
DEEP = st.integers(1, 300).map(lambda n: orjson.loads(b'{"a":[' * n + b"1" + b"]}" * n))


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inner for place in places(item, (*path, key)))]


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(copy[path[0]], path[1:], new)
    return copy


@st.composite
def mutated(draw: st.DrawFn, record: Record) -> Record:
    """The record with something in it that nobody wrote: anywhere in its body, its headers, its key, its time."""
    body = orjson.loads(record.value or b"{}")
    for _ in range(draw(st.integers(0, 2))):
        body = changed(body, draw(st.sampled_from(places(body))), draw(VALUE | DEEP))
    try:
        value: bytes | None = orjson.dumps(body)
    except TypeError:  # a number that JSON writers refuse
        value = str(body).replace("'", '"').replace("True", "true").replace("None", "null").encode()
    headers = [
        (name, draw(st.none() | st.binary(max_size=4) | st.just(b"9" * 9)) if draw(st.integers(0, 30)) == 0 else v)
        for name, v in record.headers
    ]
    return replace(
        record,
        key=draw(st.sampled_from([record.key] * 9 + [None, b"", b"\xff", b"other"])),
        value=draw(st.sampled_from([value] * 9 + [None, b"", b"{", (value or b"")[:-1]])),
        headers=draw(st.sampled_from([headers] * 9 + [[], [("\ud800", b"\xff"), *headers]])),
        timestamp_ms=draw(st.sampled_from([record.timestamp_ms, -1, 0, 2**62])),
    )


@settings(max_examples=250, deadline=None)
@given(st.data(), st.sampled_from([JOBS, MODELS]))
def test_no_record_stops_a_fold_or_gives_what_the_database_cannot_hold(data: st.DataObject, family: Family) -> None:
    kept = Kept()
    records = STORIES[family.name]
    at = data.draw(st.integers(0, len(records) - 1))
    strange = data.draw(mutated(records[at]))
    again = data.draw(mutated(records[min(at + 1, len(records) - 1)]))
    for offset, record in enumerate([*records[:at], strange, again, *records[at:]]):
        changes = family.fold("t", 1, [replace(record, offset=offset)], kept.load)
        kept.take(changes)  # encodes each document
    for read_model in family.read_models:
        for raw in kept.encoded(read_model):
            document = bson.decode(raw, bson.CodecOptions(tz_aware=True, tzinfo=UTC))
            assert len(raw) < SIZE_BYTES_MAX
            assert next(iter(document)) == "_id"
            assert not any("." in key or key.startswith("$") for key in keys_of(document))


def keys_of(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(key for item in value.values() for key in keys_of(item))]
    return [key for item in value for key in keys_of(item)] if isinstance(value, list) else []


def big(**data: Any) -> Callable[[Record], Record]:
    """The record's data with some large fields in it, as large as the log takes."""

    def edit(record: Record) -> Record:
        body = orjson.loads(record.value or b"")
        body["data"] |= data
        return replace(record, value=orjson.dumps(body))

    return edit


SMALL_NUMBERS = [0] * 500_000
LARGE: dict[str, list[tuple[Any, Callable[[Record], Record]]]] = {
    "arrays of small numbers": [
        (job.Created(SPEC, {}, True), big()),
        (job.ExecutionStarted(1, 1, "x", 15.0), big()),
        (job.ExecutionSucceeded(1, 1, (), None, {}, {}), big(provenance={"a": SMALL_NUMBERS})),
    ],
    "parameters, twice in a document": [
        (job.Created(SPEC, {"k" * 900_000: ""}, False), big()),
        (job.ExecutionRequested(1, replace(SPEC, parameters={"a": SMALL_NUMBERS})), big()),  # type: ignore[dict-item]
        (job.ExecutionStarted(1, 1, "x", 15.0), big()),
        (job.ExecutionSucceeded(1, 1, (), None, {}, {}), big(provenance={"a": SMALL_NUMBERS})),
    ],
    "attempts without end": [
        (job.Created(SPEC, {}, True), big()),
        *(
            event
            for n in range(1, 20)
            for event in (
                (job.ExecutionStarted(1, n, "x" * 900_000, 15.0), big()),
                (job.AttemptExpired(1, n, replace(LOST, detail="y" * 900_000)), big()),
            )
        ),
    ],
}


@pytest.mark.parametrize("events", LARGE.values(), ids=LARGE.keys())
def test_documents_stay_under_the_limit_of_the_database(events: Any) -> None:
    chain, kept = Chain("0b7c2b9e-7a0f-4c35-9d80-3d5f0a6f5e11", 1), Kept()
    for offset, (event, edit) in enumerate(events):
        record = replace(edit(chain.record(event, f"e{offset}")), offset=offset)
        kept.take(JOBS.fold("t", 1, [record], kept.load))
    sizes = {m: max(map(len, kept.encoded(m)), default=0) for m in JOBS.read_models}
    assert max(sizes.values()) < SIZE_BYTES_MAX, sizes
    (found,) = kept.documents("jobs")
    assert found["version"] == len(events)


def test_of_very_many_attempts_the_newest_are_kept() -> None:
    chain, kept = Chain("0b7c2b9e-7a0f-4c35-9d80-3d5f0a6f5e11", 1), Kept()
    events: list[job.Event] = [job.Created(SPEC, {}, True)]
    for n in range(1, 106):
        events += [job.ExecutionStarted(1, n, "x", 15.0), job.AttemptExpired(1, n, LOST)]
    records = [replace(chain.record(event, f"e{n}"), offset=n) for n, event in enumerate(events)]
    kept.take(JOBS.fold("t", 1, records, kept.load))
    assert [a["attempt"] for a in kept.documents("jobs")[0]["run"]["attempts"]] == list(range(6, 106))


def test_a_record_of_any_size_can_be_put_into_quarantine() -> None:
    chain, kept = Chain("0b7c2b9e-7a0f-4c35-9d80-3d5f0a6f5e11", 1), Kept()
    record = chain.record(job.Created(SPEC, {}, True), "e0")
    kept.take(JOBS.fold("t", 1, [replace(record, value=b"[" * 20_000_000)], kept.load))
    (poison,) = kept.documents("jobs_quarantine")
    assert (len(poison["value"]), poison["reason"]) == (4 * 2**20, "its value or its id is larger than any of ours")
    assert kept.documents("jobs")[0]["status"] == "queued"


def test_ids_of_events_are_bounded_for_they_stand_in_the_timeline() -> None:
    chain, kept = Chain("0b7c2b9e-7a0f-4c35-9d80-3d5f0a6f5e11", 1), Kept()
    events = [(job.Created(SPEC, {}, True), "e" * 201), (job.ExecutionRequested(2, SPEC), "e" * 200)]
    records = [replace(chain.record(event, id), offset=n) for n, (event, id) in enumerate(events)]
    kept.take(JOBS.fold("t", 1, records, kept.load))
    (found,) = kept.documents("jobs")
    assert (found["version"], [entry["offset"] for entry in found["timeline"]]) == (2, [1])


def test_a_model_has_room_for_so_many_versions_and_no_more() -> None:
    chain, kept = Chain("m", 1), Kept()
    large = replace(DESCRIPTION, source={"type": "x" * 11_000})
    records = [
        replace(chain.record(model.Registered(replace(large, version=str(n))), f"e{n}"), offset=n)
        for n in range(1_002)
    ]
    kept.take(MODELS.fold("t", 1, records, kept.load))
    assert max(map(len, kept.encoded("models"))) < SIZE_BYTES_MAX
    (found,) = kept.documents("models")
    assert (len(found["versions"]), found["version"]) == (1_000, 1_002)
    assert [p["reason"] for p in kept.documents("models_quarantine")] == ["the model has 1000 versions already"] * 2


def test_the_time_of_a_record_without_body_may_be_any_number() -> None:
    for time_ms in (-(2**63), 2**63 - 1):
        chain, kept = Chain("0b7c2b9e-7a0f-4c35-9d80-3d5f0a6f5e11", 1), Kept()
        record = chain.record(job.Created(SPEC, {}, True), "e0")
        kept.take(JOBS.fold("t", 1, [replace(record, value=None, timestamp_ms=time_ms)], kept.load))
        assert datetime(1970, 1, 1, tzinfo=UTC) <= kept.documents("jobs")[0]["created_at"]


def test_a_run_of_a_number_that_cannot_be_is_refused_before_a_deletion_counts_up_to_it() -> None:
    chain, kept = Chain("0b7c2b9e-7a0f-4c35-9d80-3d5f0a6f5e11", 1), Kept()
    events = [job.Created(SPEC, {}, True), job.ExecutionRequested(999_999_999, SPEC), job.Deleted(999_999_999)]
    for offset, event in enumerate(events):
        record = replace(chain.record(event, f"e{offset}"), offset=offset)
        kept.take(JOBS.fold("t", 1, [record], kept.load))
    assert [p["offset"] for p in kept.documents("jobs_quarantine")] == [1]
    assert (kept.documents("jobs")[0]["status"], kept.documents("runs")) == ("deleted", [])
