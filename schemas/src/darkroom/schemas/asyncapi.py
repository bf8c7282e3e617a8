"""The AsyncAPI 3.0 document of the log: three topics, who sends and who receives, and every message.

`python -m darkroom.schemas.asyncapi GOLDEN_FOLDER` prints it, with the golden events as examples; it stands in
docs/asyncapi.json, and a test keeps it fresh.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from darkroom.schemas.chain import short_type
from darkroom.schemas.eventdata import HEARTBEAT, JOB_SCHEMAS, MODEL_SCHEMAS
from darkroom.schemas.jsonschema import envelope_schema
from darkroom.schemas.wire import GUARD_HEADERS

JSON_SCHEMA_FORMAT = "application/schema+json;version=2020-12"
_CHANNELS = {
    "jobs": ("darkroom.jobs.v1", list(JOB_SCHEMAS), "The truth about jobs, kept for ever. Key: the job id."),
    "models": (
        "darkroom.models.v1",
        list(MODEL_SCHEMAS),
        "The catalogue of models, kept for ever. Key: the name.",
    ),
    "heartbeats": (
        "darkroom.heartbeats.v1",
        [HEARTBEAT],
        "Signs of life of executors, kept for an hour. Key: the executor.",
    ),
}
_OPERATIONS = {
    "appendJobEvent": ("send", "jobs", "The command API and the executors append what they decided."),
    "foldJobEvents": (
        "receive",
        "jobs",
        "Every service folds them: an event counts only if it continues its chain.",
    ),
    "appendModelEvent": ("send", "models", "The command API registers and retires models."),
    "foldModelEvents": ("receive", "models", "Command API, executors and projector fold the catalogue."),
    "sendHeartbeat": ("send", "heartbeats", "An executor says which attempts it is working on."),
    "hearHeartbeats": ("receive", "heartbeats", "Executors hear which attempts of others are alive."),
}


def asyncapi_document(golden: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The document as a JSON object. `golden`: per event type a record {"key", "headers", "value"} as example."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Darkroom's log",
            "version": "1.0.0",
            "description": (
                "Events are CloudEvents 1.0 in structured JSON mode. Their guard fields stand in Kafka headers "
                "too, and every fold takes its verdict from the headers alone: an event that does not continue "
                "the chain of its key is void and changes nothing."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/cloudevents+json",
        "channels": {name: _channel(*channel) for name, channel in _CHANNELS.items()},
        "operations": {name: _operation(*operation) for name, operation in _OPERATIONS.items()},
        "components": {
            "messages": {
                message_name(event_type): _message(event_type, golden.get(event_type))
                for _, event_types, _ in _CHANNELS.values()
                for event_type in event_types
            }
        },
    }


def message_name(event_type: str) -> str:
    """`darkroom.job.execution-started.v1` -> `job-execution-started-v1`: what a component may be called."""
    return event_type.removeprefix("darkroom.").replace(".", "-")


def _channel(address: str, event_types: list[str], description: str) -> dict[str, Any]:
    return {
        "address": address,
        "description": description,
        "messages": {message_name(t): {"$ref": f"#/components/messages/{message_name(t)}"} for t in event_types},
        "bindings": {"kafka": {"topic": address, "bindingVersion": "0.5.0"}},
    }


def _operation(action: str, channel: str, summary: str) -> dict[str, Any]:
    return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}, "summary": summary}


def _message(event_type: str, example: Mapping[str, Any] | None) -> dict[str, Any]:
    chained = event_type != HEARTBEAT
    message: dict[str, Any] = {
        "name": event_type,
        "title": short_type(event_type),
        "contentType": "application/cloudevents+json",
        "headers": {"schemaFormat": JSON_SCHEMA_FORMAT, "schema": header_schema(chained=chained)},
        "payload": {"schemaFormat": JSON_SCHEMA_FORMAT, "schema": _inlined(envelope_schema(event_type))},
        "bindings": {"kafka": {"key": {"type": "string"}, "bindingVersion": "0.5.0"}},
    }
    if example is not None:
        message["examples"] = [{"headers": example["headers"], "payload": example["value"]}]
    return message


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without references: tools of AsyncAPI would look for their targets in the whole document."""
    definitions = schema.pop("$defs")

    def inlined(node: Any) -> Any:
        match node:
            case {"$ref": str(place)}:
                return inlined(definitions[place.removeprefix("#/$defs/")])
            case dict():
                return {name: inlined(value) for name, value in node.items()}
            case list():
                return [inlined(value) for value in node]
            case _:
                return node

    whole: dict[str, Any] = inlined(schema)
    return whole


def header_schema(*, chained: bool) -> dict[str, Any]:
    """JSON Schema of a record's Kafka headers, each as the text that its bytes are in UTF-8."""
    names = ["content-type", *(GUARD_HEADERS if chained else ())]
    return {
        "type": "object",
        "properties": {
            name: {"type": "string", "pattern": "^[0-9]{1,9}$"}
            if name in ("streamversion", "run", "attempt")
            else {"type": "string"}
            for name in names
        },
        "required": names,
    }


def read_golden(folder: Path) -> dict[str, dict[str, Any]]:
    """The golden records of a folder by event type."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def rendered(golden: Mapping[str, Mapping[str, Any]]) -> str:
    """The document as the text of its file."""
    return json.dumps(asyncapi_document(golden), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(rendered(read_golden(Path(sys.argv[1])) if len(sys.argv) > 1 else {}))
