"""The published JSON Schemas are valid, self-contained, and say the same as the readers."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, strategies

from darkroom.schemas import eventdata
from darkroom.schemas.errors import Undecodable
from darkroom.schemas.eventdata import HEARTBEAT, SCHEMAS
from darkroom.schemas.jsonschema import envelope_schema, event_types, json_schema

GOLDEN = {p.stem: json.loads(p.read_text()) for p in (Path(__file__).parents[1] / "golden").glob("*.json")}
VALIDATORS = {t: jsonschema.Draft202012Validator(json_schema(t)) for t in SCHEMAS}


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of everything in a JSON value."""
    yield path
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, child in children:
        yield from places(child, (*path, name))


def changed(node: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    node = copy.deepcopy(node)
    inner = node
    for name in path[:-1]:
        inner = inner[name]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return node


def test_every_type_has_a_schema() -> None:
    assert set(event_types()) == set(SCHEMAS) | {HEARTBEAT}


@pytest.mark.parametrize("event_type", event_types())
def test_schemas_are_valid_and_self_contained(event_type: str) -> None:
    for schema in (json_schema(event_type), envelope_schema(event_type)):
        jsonschema.Draft202012Validator.check_schema(schema)
        parts = [part for path in places(schema) if isinstance(part := at(schema, path), dict)]
        references = [part["$ref"] for part in parts if "$ref" in part]
        assert all(r.removeprefix("#/$defs/") in schema["$defs"] for r in references)
    assert json_schema(event_type)["$id"] == f"urn:darkroom:schema:{event_type}"


def at(node: Any, path: tuple[Any, ...]) -> Any:
    for name in path:
        node = node[name]
    return node


@pytest.mark.parametrize("make", [json_schema, envelope_schema])
def test_an_unknown_type_is_a_key_error(make: Any) -> None:
    with pytest.raises(KeyError):
        make("darkroom.job.created.v0")


WRONG: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**31, 2**53, 2**63, -(2**63), 1.5, "", "1", "1.5", "classification", "litert"),
    *(
        [],
        {},
        [None],
        [1],
        {"x": 1},
        {"x": None},
        {"1": "2"},
        "sha256:" + "a" * 64 + "\n",
        "sha256:" + "a" * 63,
        ...,
    ),
]
"""Values to put in place of each part of an event's data; ... leaves it out."""


def check(event_type: str, mutated: Any) -> None:
    """The reader takes what the schema takes, and nothing else."""
    try:
        eventdata.load(event_type, mutated)
        loaded = True
    except Undecodable:
        loaded = False
    valid = VALIDATORS[event_type].is_valid(mutated)
    assert loaded == valid, f"reader: {loaded}, schema: {valid}: {mutated}"


@pytest.mark.parametrize("event_type", sorted(SCHEMAS))
def test_reader_and_schema_refuse_the_same_data(event_type: str) -> None:
    golden = GOLDEN[event_type]["value"]["data"]
    for path in places(golden):
        for wrong in WRONG if path else [w for w in WRONG if w is not ...]:
            check(event_type, changed(golden, path, wrong))
        if isinstance(at(golden, path), dict):
            check(event_type, changed(golden, (*path, "unknown"), 1))


JSON = strategies.recursive(
    strategies.none()
    | strategies.booleans()
    | strategies.integers()
    | strategies.floats(allow_nan=False, allow_infinity=False).filter(lambda f: not f.is_integer())
    | strategies.text(max_size=5),
    lambda inner: strategies.lists(inner, max_size=3) | strategies.dictionaries(strategies.text(max_size=5), inner),
    max_leaves=4,
)


@given(strategies.sampled_from(sorted(SCHEMAS)), strategies.data())
def test_reader_and_schema_refuse_the_same_random_data(event_type: str, data: strategies.DataObject) -> None:
    golden = GOLDEN[event_type]["value"]["data"]
    path = data.draw(strategies.sampled_from(list(places(golden))))
    check(event_type, changed(golden, path, data.draw(JSON)))


def test_a_fraction_of_zero_is_no_integer_to_us() -> None:
    """The one place where the reader is stricter than JSON Schema, to which 1.0 is an integer."""
    assert VALIDATORS["darkroom.job.cancelled.v1"].is_valid({"run": 1.0})
    with pytest.raises(Undecodable):
        eventdata.load("darkroom.job.cancelled.v1", {"run": 1.0})
