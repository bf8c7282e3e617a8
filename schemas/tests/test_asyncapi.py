"""The AsyncAPI document: valid by the official schema of AsyncAPI 3.0, fresh, and true of its own examples.

asyncapi-3.0.0.schema.json is the AsyncAPI Initiative's own (package @asyncapi/specs 6.11.1, Apache-2.0), only
without white space.
"""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from darkroom.schemas.asyncapi import asyncapi_document, read_golden, rendered
from darkroom.schemas.eventdata import SCHEMAS
from darkroom.schemas.jsonschema import event_types

HERE = Path(__file__).parent
PUBLISHED = HERE.parents[1] / "docs" / "asyncapi.json"
GOLDEN = read_golden(HERE.parent / "golden")


@pytest.fixture(scope="module")
def official() -> jsonschema.Draft7Validator:
    return jsonschema.Draft7Validator(json.loads((HERE / "asyncapi-3.0.0.schema.json").read_text()))


def test_the_published_document_is_fresh() -> None:
    assert PUBLISHED.read_text() == rendered(GOLDEN), (
        "docs/asyncapi.json: python -m darkroom.schemas.asyncapi schemas/golden > docs/asyncapi.json"
    )


def test_the_document_is_valid(official: jsonschema.Draft7Validator) -> None:
    official.validate(asyncapi_document(GOLDEN))


def test_the_official_schema_would_find_a_fault(official: jsonschema.Draft7Validator) -> None:
    document = asyncapi_document(GOLDEN)
    document["operations"]["appendJobEvent"]["action"] = "publish"
    assert not official.is_valid(document)


def test_every_reference_leads_somewhere() -> None:
    document = asyncapi_document(GOLDEN)

    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [r for value in node.values() for r in references(value)]
        return [r for value in node for r in references(value)] if isinstance(node, list) else []

    found = references(document)
    assert found
    for reference in found:
        target: Any = document
        for name in reference.removeprefix("#/").split("/"):
            target = target[name]


def test_every_message_is_in_a_channel_and_every_channel_is_sent_and_received() -> None:
    document = asyncapi_document(GOLDEN)
    in_channels = [m for channel in document["channels"].values() for m in channel["messages"]]
    assert sorted(in_channels) == sorted(document["components"]["messages"])
    assert {m["name"] for m in document["components"]["messages"].values()} == set(event_types())
    used = [(o["channel"]["$ref"], o["action"]) for o in document["operations"].values()]
    assert sorted(used) == sorted((f"#/channels/{c}", a) for c in document["channels"] for a in ("send", "receive"))


def test_the_examples_fit_their_schemas() -> None:
    messages = asyncapi_document(GOLDEN)["components"]["messages"].values()
    examples = 0
    for message in messages:
        for part in ("headers", "payload"):
            schema = message[part]["schema"]
            jsonschema.Draft202012Validator.check_schema(schema)
            for example in message.get("examples", []):
                jsonschema.Draft202012Validator(schema).validate(example[part])
                examples += 1
    assert examples == 2 * len(SCHEMAS)
