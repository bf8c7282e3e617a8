"""Old event versions, lifted on reading: the chains of upcasters themselves, and what becomes of bad ones."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from darkroom.schemas.errors import Undecodable
from darkroom.schemas.eventdata import SCHEMAS
from darkroom.schemas.testing import STARTED, guard_for
from darkroom.schemas.upcasting import Upcaster, Versions
from darkroom.schemas.wire import Context, encode, read_envelope
from darkroom.schemas.wire import guard_headers as headers_of

TYPE = "darkroom.job.execution-started"
GOLDEN = {f"{TYPE}.v1": {"worker": "a"}, f"{TYPE}.v2": {"worker": {"name": "a", "host": ""}}}
CURRENT = {f"{TYPE}.v3": None}


def to_v2(data: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return f"{TYPE}.v2", data | {"worker": {"name": data["worker"], "host": ""}}


def to_v3(data: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return f"{TYPE}.v3", {"worker": data["worker"]["name"], "host": data["worker"]["host"]}


VERSIONS = Versions(CURRENT, {f"{TYPE}.v1": to_v2, f"{TYPE}.v2": to_v3})


@pytest.mark.parametrize("start", [1, 2, 3])
def test_data_are_lifted_step_by_step_to_the_current_type(start: int) -> None:
    data = {**GOLDEN, f"{TYPE}.v3": {"worker": "a", "host": ""}}[f"{TYPE}.v{start}"]
    assert VERSIONS.lift(f"{TYPE}.v{start}", data) == (f"{TYPE}.v3", {"worker": "a", "host": ""})


def raising(_: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    raise ZeroDivisionError("by 0")


BAD: dict[str, tuple[dict[str, Upcaster], str]] = {
    "raises": ({f"{TYPE}.v1": raising}, "cannot be lifted: ZeroDivisionError"),
    "misses a field": ({f"{TYPE}.v1": lambda d: (f"{TYPE}.v3", {"x": d["missing"]})}, "cannot be lifted: KeyError"),
    "is a circle": ({f"{TYPE}.v1": to_v2, f"{TYPE}.v2": lambda d: (f"{TYPE}.v1", d)}, "run in a circle"),
    "lifts to itself": ({f"{TYPE}.v1": lambda d: (f"{TYPE}.v1", d)}, "run in a circle"),
    "ends nowhere": ({f"{TYPE}.v1": to_v2}, "unknown event type"),
    "makes no object": ({f"{TYPE}.v1": lambda d: (f"{TYPE}.v3", [d])}, "no object"),  # type: ignore[dict-item, return-value]
    "returns nothing": ({f"{TYPE}.v1": lambda d: None}, "cannot be lifted: TypeError"),  # type: ignore[dict-item, return-value]
    "says that something else happened": (
        {f"{TYPE}.v1": lambda d: ("darkroom.job.cancelled.v3", d)},
        "what happened",
    ),
}


@pytest.mark.parametrize(("upcasters", "why"), BAD.values(), ids=BAD.keys())
def test_an_upcaster_that_is_wrong_leaves_the_event_undecodable(upcasters: dict[str, Upcaster], why: str) -> None:
    versions = Versions({**CURRENT, "darkroom.job.cancelled.v3": None}, upcasters)
    with pytest.raises(Undecodable, match=why):
        versions.lift(f"{TYPE}.v1", {"worker": "a"})
    assert [why in fault for fault in versions.faults(GOLDEN)][:1] == [True]


@pytest.mark.parametrize(
    ("versions", "golden", "fault"),
    [
        (VERSIONS, GOLDEN, None),
        (VERSIONS, {f"{TYPE}.v1": GOLDEN[f"{TYPE}.v1"]}, f"{TYPE}.v2 has no golden event"),
        (
            Versions({**CURRENT, f"{TYPE}.v2": None}, VERSIONS.upcasters),
            GOLDEN,
            f"{TYPE}.v2 is a current type, and is lifted nevertheless",
        ),
    ],
)
def test_a_registry_that_is_not_whole_is_found_out(
    versions: Versions, golden: dict[str, Any], fault: str | None
) -> None:
    assert versions.faults(golden) == ([fault] if fault else [])


def test_an_unknown_type_is_named() -> None:
    with pytest.raises(Undecodable, match=r"unknown event type 'darkroom.job.created.v9'"):
        Versions(SCHEMAS, {}).lift("darkroom.job.created.v9", {})


def test_an_event_is_read_as_its_current_version() -> None:
    old = guard_for(STARTED, 2, "e1")._replace(type=f"{TYPE}.v0")
    context = Context("s", datetime(2026, 1, 2, tzinfo=UTC), "a", "c", "c")
    key, value, _ = encode(guard_for(STARTED, 2, "e1"), STARTED, context)
    body = json.loads(value) | {"type": old.type}
    headers = [("content-type", b"application/cloudevents+json"), *headers_of(old)]
    versions = Versions(SCHEMAS, {old.type: lambda d: (f"{TYPE}.v1", d | {"lease_s": 2.0})})
    envelope = read_envelope(old, json.dumps(body).encode(), headers, versions)
    assert (envelope.guard.type, envelope.event.lease_s, key) == (f"{TYPE}.v1", 2.0, b"job")
