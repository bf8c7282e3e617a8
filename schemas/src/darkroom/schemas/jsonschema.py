"""JSON Schema (2020-12) of every event type, made from the marshmallow schemas that read the events.

`json_schema` describes an event's data, as its `dataschema` attribute says; `envelope_schema` the whole CloudEvent.
"""

import warnings
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from marshmallow import Schema

from darkroom.schemas.eventdata import HEARTBEAT, HEARTBEAT_SCHEMA, SCHEMAS

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_KNOWN = SCHEMAS | {HEARTBEAT: HEARTBEAT_SCHEMA}
_OPENAPI_PLACE = "#/components/schemas/"
_PLACE = "#/$defs/"


def schema_id(event_type: str) -> str:
    """The `dataschema` of an event type: a URN, for no host in it may be frozen for ever."""
    return f"urn:darkroom:schema:{event_type}"


def event_types() -> list[str]:
    """Every event type with its version: jobs, models, and the executor's sign of life."""
    return list(_KNOWN)


def json_schema(event_type: str) -> dict[str, Any]:
    """The self-contained schema of the data of `event_type`. Raises KeyError for an unknown type."""
    definitions = _definitions(_KNOWN[event_type])
    return {
        "$schema": DIALECT,
        "$id": schema_id(event_type),
        "title": event_type,
        **definitions.pop("Data"),
        "$defs": definitions,
    }


def envelope_schema(event_type: str) -> dict[str, Any]:
    """The self-contained schema of the whole CloudEvent of `event_type`. Raises KeyError for an unknown type.

    Further attributes may be there, with names as CloudEvents allows them.
    """
    definitions = _definitions(_KNOWN[event_type])
    text, word = {"type": "string"}, {"type": "string", "minLength": 1}
    properties: dict[str, Any] = {
        "specversion": {"const": "1.0"},
        "id": word | {"description": "fresh for every append"},
        "source": word | {"format": "uri-reference"},
        "type": {"const": event_type},
        "subject": word | {"description": "job id, model name or executor; the Kafka key too"},
        "time": {"type": "string", "format": "date-time", "description": "of the command; never orders"},
        "datacontenttype": {"const": "application/json"},
        "dataschema": {"const": schema_id(event_type)},
        "partitionkey": word | {"description": "as the subject"},
    }
    chained: dict[str, Any] = {
        "streamversion": _integer(1, "number of this event in its chain"),
        "previd": text | {"description": "id of the event that this one continues; empty for the first"},
        "commandid": word | {"description": "the command that made the event; the same when repeated"},
        "requesthash": word | {"description": "of the parsed request; tells a repeat from a reuse of a key"},
        "run": _integer(0, "the run that the job stands at after the event; 0: none so far"),
        "attempt": _integer(0, "the attempt of that run that the event speaks of; 0: none"),
        "correlationid": text,
        "causationid": text,
        "actor": text,
        "tenant": word,
    }
    if event_type in SCHEMAS:  # a sign of life is in no chain
        properties |= chained
    return {
        "$schema": DIALECT,
        "$id": f"{schema_id(event_type)}:event",
        "title": f"{event_type} as a CloudEvent",
        "type": "object",
        "properties": properties
        | {
            "traceparent": word | {"description": "W3C Trace Context"},
            "data": {"$ref": f"{_PLACE}Data"},
        },
        "required": [*properties, "data"],
        "propertyNames": {"pattern": "^[a-z0-9]+$"},
        "$defs": definitions,
    }


def _definitions(schema: Schema) -> dict[str, Any]:
    """The schema under the name `Data`, and each schema nested in it under its own name."""
    spec = APISpec(title="", version="", openapi_version="3.1.0", plugins=[MarshmallowPlugin()])
    with warnings.catch_warnings():
        # A nested schema with and without allow_none is one definition here; apispec only warns of it.
        warnings.filterwarnings("ignore", "Multiple schemas resolved to the name", UserWarning)
        spec.components.schema("Data", schema=schema)
    definitions: dict[str, Any] = _moved(spec.to_dict()["components"]["schemas"])
    return definitions


def _integer(minimum: int, description: str) -> dict[str, Any]:
    return {"type": "integer", "minimum": minimum, "description": description}


def _moved(node: Any) -> Any:
    """The same with its references pointing into `$defs`."""
    match node:
        case dict():
            return {name: _moved(value) for name, value in node.items()}
        case list():
            return [_moved(value) for value in node]
        case str() if node.startswith(_OPENAPI_PLACE):
            return _PLACE + node.removeprefix(_OPENAPI_PLACE)
        case _:
            return node
