"""Events on the wire: our reader against the CloudEvents SDK, both modes, and everything that is no event."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from unittest.mock import patch

import orjson
import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_structured_event, to_binary_event
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.schemas import job, model, wire
from darkroom.schemas.chain import Guard
from darkroom.schemas.errors import Undecodable
from darkroom.schemas.testing import EXPIRED, FAILED, PROGRESSED, QUEUED, STARTED, SUCCEEDED, guard_for
from darkroom.schemas.wire import Context, Headers, encode, guard_headers, read_envelope, read_guard

CONTEXT = Context(
    "/darkroom/test", datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC), "tester", "corr", "cause", "00-ab-cd-01"
)
GUARD = guard_for(STARTED, 2, "e1")
KEY, VALUE, HEADERS = encode(GUARD, STARTED, CONTEXT)
EVENTS = (QUEUED, STARTED, PROGRESSED, SUCCEEDED, FAILED, EXPIRED, job.Cancelled(1), job.Deleted(1))


def body(**changes: Any) -> bytes:
    """The structured event with some attributes changed, or left out where `...`."""
    changed = {**orjson.loads(VALUE), **changes}
    return orjson.dumps({name: value for name, value in changed.items() if value is not ...})


def headers(**changes: Any) -> Headers:
    changed = {**dict(HEADERS), **{name.replace("content_type", "content-type"): v for name, v in changes.items()}}
    return [(name, value) for name, value in changed.items() if value is not ...]


@pytest.mark.parametrize("event", EVENTS, ids=lambda e: type(e).__name__)
def test_what_is_written_is_read_and_the_sdk_agrees(event: job.Event) -> None:
    guard = guard_for(event, 3, "e2")
    key, value, written = encode(guard, event, CONTEXT)
    assert read_guard(key, written) == guard
    envelope = read_envelope(guard, value, written)
    assert (envelope.guard, envelope.source, envelope.time) == (guard, CONTEXT.source, CONTEXT.time)
    assert envelope.event == event

    by_sdk = from_structured_event(KafkaMessage(dict(written), key, value))
    attributes = by_sdk.get_attributes()
    assert attributes.pop("time") == envelope.time
    assert attributes == {n: v for n, v in envelope.attributes.items() if n != "time"}
    assert by_sdk.get_data() == envelope.data


def test_binary_mode_as_the_sdk_writes_it_is_read_without_any_other_header() -> None:
    structured = from_structured_event(KafkaMessage(dict(HEADERS), KEY, VALUE))
    binary = to_binary_event(structured)
    written = list(binary.headers.items())
    assert all(n == "content-type" or n.startswith("ce_") for n, _ in written)
    guard = read_guard(KEY, written)
    envelope = read_envelope(guard, binary.value, written)
    reference = read_envelope(GUARD, VALUE, HEADERS)
    assert guard == GUARD
    assert envelope[:4] == reference[:4]
    assert envelope.attributes == reference.attributes


def test_the_content_type_alone_decides_the_mode() -> None:
    both = [*headers(content_type=b"Application/CloudEvents+JSON"), ("ce_type", b"other"), ("ce_id", b"\xff")]
    guard = read_guard(KEY, both)
    assert guard == GUARD
    assert read_envelope(guard, VALUE, both).event == STARTED
    with pytest.raises(Undecodable):
        read_envelope(GUARD, VALUE, headers(content_type=b"application/json"))
    with pytest.raises(Undecodable):
        read_envelope(GUARD, VALUE, headers(content_type=...))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_does_not_have_is_refused_before_it_is_written(number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        encode(GUARD, replace(STARTED, lease_s=number), CONTEXT)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, ...) for name in wire.GUARD_HEADERS),
        *((name, None) for name in wire.GUARD_HEADERS),
        *((name, b"\xff") for name in wire.GUARD_HEADERS),
        *((name, b"") for name in ("id", "type", "tenant", "streamversion", "run", "attempt")),
        *(("streamversion", text) for text in (b"1.0", b"-1", b"+1", b"1_0", b" 1", b"\xd9\xa1", b"9" * 10)),
        *(("run", text) for text in (b"9" * 5000, b"0x1", b"1e3")),
    ],
)
def test_a_guard_that_cannot_be_read(name: str, value: Any) -> None:
    with pytest.raises(Undecodable):
        read_guard(KEY, headers(**{name: value}))


@pytest.mark.parametrize(
    ("key", "found"), [(None, HEADERS), (b"", HEADERS), (KEY, None), (KEY, []), (b"\xff", HEADERS)]
)
def test_a_record_without_key_or_headers(key: bytes | None, found: Headers | None) -> None:
    with pytest.raises(Undecodable):
        read_guard(key, found)


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"{",
        b"null",
        b"[]",
        b"7",
        b"\xff",
        b"[" * 100_000,
        VALUE.replace(b"15.0", b"NaN"),
        VALUE.replace(b"15.0", b"1e999"),
        VALUE.replace(b"executor-1", b"\\ud800"),
        VALUE.replace(b"executor-1", b"\xc3\x28"),
        body(specversion="2.0"),
        body(specversion=...),
        body(data=...),
        body(data=None),
        body(data=[]),
        body(data_base64="e30=", data=...),
        body(source=...),
        body(source=""),
        body(source=3),
        body(actor=None),
        body(actor={"$where": "1"}),
        body(correlationid=["x"]),
        body(correlationid=2**40),
        *(body(time=time) for time in (..., 7, "", "yesterday", "2026-01-02", "2026-01-02T03:04:05", "12:00Z")),
        *(
            body(time=time)
            for time in ("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-13-01T00:00:00Z")
        ),
    ],
)
def test_a_value_that_is_no_event(value: bytes | None) -> None:
    with pytest.raises(Undecodable):
        read_envelope(GUARD, value, HEADERS)


@pytest.mark.parametrize(
    "name", ["id", "type", "subject", "streamversion", "commandid", "requesthash", "run", "tenant"]
)
@pytest.mark.parametrize("value", ["other", 99, ...])
def test_a_body_that_contradicts_its_headers(name: str, value: Any) -> None:
    with pytest.raises(Undecodable, match=name):
        read_envelope(GUARD, body(**{name: value}), HEADERS)


@pytest.mark.parametrize("field", ["run", "attempt"])
def test_data_that_contradict_the_guard(field: str) -> None:
    data = orjson.loads(VALUE)["data"]
    with pytest.raises(Undecodable, match="run or attempt"):
        read_envelope(GUARD, body(data=data | {field: 7}), HEADERS)


def test_a_created_event_that_executes_says_so_in_its_guard() -> None:
    guard = guard_for(QUEUED, 1, "")._replace(run=0)
    key, value, written = encode(guard, QUEUED, CONTEXT)
    with pytest.raises(Undecodable, match="run or attempt"):
        _ = read_envelope(read_guard(key, written), value, written).event


def test_a_model_event_speaks_of_its_own_key() -> None:
    guard = Guard("cats", "e1", "darkroom.model.retired.v1", 1, "", "c", "h", "default")
    key, value, written = encode(guard, model.Retired("dogs", "1"), CONTEXT)
    with pytest.raises(Undecodable, match="dogs"):
        _ = read_envelope(read_guard(key, written), value, written).event


def test_an_unknown_type_keeps_its_guard_and_has_no_event() -> None:
    guard = GUARD._replace(type="darkroom.job.teleported.v1")
    changed = [(n, v) for n, v in guard_headers(guard)] + [("content-type", wire.CONTENT_TYPE)]
    assert read_guard(KEY, changed) == guard
    with pytest.raises(Undecodable, match="unknown event type"):
        read_envelope(guard, body(type=guard.type), changed)


def test_times_are_read_into_utc_whatever_their_offset() -> None:
    read = read_envelope(GUARD, body(time="2026-01-02T05:04:05.678+02:00"), HEADERS)
    assert read.time == CONTEXT.time
    assert read.time.utcoffset() == timedelta(0)
    elsewhere = replace(CONTEXT, time=CONTEXT.time.astimezone(timezone(timedelta(hours=-7))))
    assert encode(GUARD, STARTED, elsewhere)[1] == VALUE
    assert wire.rfc3339(elsewhere.time) == "2026-01-02T03:04:05.678Z"


@given(
    st.none() | st.binary(max_size=40),
    st.lists(st.tuples(st.sampled_from([n for n, _ in HEADERS]), st.binary(max_size=12))),
)
def test_reading_any_guard_raises_only_undecodable(key: bytes | None, junk: Headers) -> None:
    for found in (junk, [*HEADERS, *junk]):
        try:
            guard = read_guard(key, found)
        except Undecodable:
            continue
        assert guard.version >= 0
        assert guard.event_id


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200)
@given(st.dictionaries(st.sampled_from(sorted(orjson.loads(VALUE))) | st.text(max_size=6), JSON, max_size=4))
def test_reading_any_structured_body_raises_only_undecodable(junk: dict[str, Any]) -> None:
    try:
        value = orjson.dumps({**orjson.loads(VALUE), **junk})
    except TypeError:
        return  # an integer that JSON writers refuse, or a lone surrogate
    try:
        envelope = read_envelope(GUARD, value, HEADERS)
        _ = envelope.event
    except Undecodable:
        return
    assert all(isinstance(v, str | int) for v in envelope.attributes.values())


@settings(max_examples=200)
@given(
    st.integers(0, len(VALUE) - 1), st.binary(max_size=3), st.sampled_from([b"application/json", wire.CONTENT_TYPE])
)
def test_reading_damaged_bytes_raises_only_undecodable(place: int, junk: bytes, content_type: bytes) -> None:
    damaged = VALUE[:place] + junk + VALUE[place + len(junk) :]
    try:
        _ = read_envelope(GUARD, damaged, headers(content_type=content_type)).event
    except Undecodable:
        return
    assert orjson.loads(damaged)["id"] == GUARD.event_id


@settings(max_examples=300)
@given(
    st.dictionaries(st.sampled_from(sorted(orjson.loads(VALUE))) | st.text(max_size=6), JSON, max_size=3),
    st.sampled_from(["as it is", "spaced", "doubled", "cut", "escaped"]),
)
def test_the_quick_way_reads_what_the_slow_way_reads(junk: dict[str, Any], how: str) -> None:
    """Our reader takes events with our very attributes another way than all others: nobody may see which."""
    try:
        value = orjson.dumps({**orjson.loads(VALUE), **junk})
    except TypeError:
        return
    match how:
        case "spaced":
            value = b" " + value.replace(b",", b" , ") + b"\n"
        case "doubled":
            value = b'{"data":{"run":"\xff"},"id":"e9",' + value[1:]
        case "cut":
            value = value[:-1]
        case "escaped":
            value = value.replace(b"tester", b"t\\u00e9ster").replace(b"executor-1", b"\\ud83d\\ude00")

    def read() -> Any:
        try:
            envelope = read_envelope(GUARD, value, HEADERS)
        except Undecodable as error:
            return str(error)
        return envelope[:4], envelope.attributes

    quickly = read()
    with patch.object(wire, "_as_we_write_it", lambda _guard, _value: None):
        assert read() == quickly


def test_our_own_events_are_read_the_quick_way() -> None:
    with patch.object(wire, "_attributes_and_data", side_effect=AssertionError("the slow way")):
        assert read_envelope(GUARD, VALUE, HEADERS).event == STARTED
        with pytest.raises(AssertionError, match="slow"):
            read_envelope(GUARD, body(another="attribute"), HEADERS)
