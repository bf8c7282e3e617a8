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
        references = [schema_part["$ref"] for path in places(schema) if "$ref" in (schema_part := at(schema, path))]
        assert all(r.removeprefix("#/$defs/") in schema["$defs"] for r in references)
    assert json_schema(event_type)["$id"] == f"urn:darkroom:schema:{event_type}"


def at(node: Any, path: tuple[Any, ...]) -> Any:
    for name in path:
        node = node[name]
    return node if isinstance(node, dict) else {}


@pytest.mark.parametrize("make", [json_schema, envelope_schema])
def test_an_unknown_type_is_a_key_error(make: Any) -> None:
    with pytest.raises(KeyError):
        make("darkroom.job.created.v0")


JUNK = strategies.one_of(
    strategies.sampled_from([None, True, 0, -1, 1, 2**63, 1.5, "", "1", "1.5", [], {}, [None], {"x": 1}, ...]),
    strategies.sampled_from(["sha256:" + "a" * 64 + "\n", "sha256:" + "a" * 63, "classification"]),
    strategies.text(max_size=5),
    strategies.integers(),
    strategies.floats(allow_nan=False, allow_infinity=False),
)


@given(strategies.sampled_from(sorted(SCHEMAS)), strategies.data())
def test_reader_and_schema_refuse_the_same_data(event_type: str, data: strategies.DataObject) -> None:
    golden = GOLDEN[event_type]["value"]["data"]
    path = data.draw(strategies.sampled_from([p for p in places(golden) if p]))
    value = data.draw(JUNK)
    mutated = changed(golden, path, value)
    try:
        eventdata.load(event_type, mutated)
        loaded = True
    except Undecodable:
        loaded = False
    # 1.0 is an integer to JSON Schema, and not to us: the one place where the reader is stricter.
    if isinstance(value, float) and value.is_integer():
        assert VALIDATORS[event_type].is_valid(mutated) or not loaded
    else:
        assert loaded == VALIDATORS[event_type].is_valid(mutated)


@given(strategies.sampled_from(sorted(SCHEMAS)), strategies.recursive(JUNK, strategies.lists, max_leaves=4))
def test_the_reader_raises_undecodable_and_nothing_else(event_type: str, junk: Any) -> None:
    with pytest.raises(Undecodable):
        eventdata.load(event_type, junk)
