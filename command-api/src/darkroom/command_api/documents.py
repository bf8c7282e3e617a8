"""What answers look like, for OpenAPI, and one example of each body."""

from typing import Any

from marshmallow import Schema, fields

from darkroom.command_api.bodies import Job, Run
from darkroom.runtime.headsfold import REMEMBERED_OFFSETS

JOB_ID = "01977f6e-7c1a-7d3e-9c55-3f2a4d5e6f70"
DIGEST = "sha256:5a9522051c3cec2bbd2f6323fccba32e8fbf3ddcc2b3e2fd46b04c720bc6f866"
MODEL_NAME = "my-classifier"
"""None that comes with the service: whoever tries \"retire\" out in Swagger UI keeps those."""
POSITION = "MS4zLjE3Lk5kTjB0"
_QUERY = "http://127.0.0.1:8081/api/v1/inference"
_COMMAND = "http://127.0.0.1:8080/api/v1/inference"


class JobUrls(Schema):
    """Where to go next."""

    get = fields.Url(required=True)
    result = fields.Url(required=True, metadata={"description": "`get`, waiting until it shows this command"})
    events = fields.Url(required=True)
    web = fields.Url(required=True)
    cancel = fields.Url(required=True)


class JobAccepted(Schema):
    """The log has acknowledged the command and it has taken effect."""

    id = fields.UUID(required=True)
    status = fields.String(required=True)
    version = fields.Integer(required=True)
    run = fields.Integer(required=True)
    position = fields.String(required=True, metadata={"description": "opaque; the query API's `after`"})
    urls = fields.Nested(JobUrls, required=True)


class ModelUrls(Schema):
    """Where to go next."""

    get = fields.Url(required=True)
    result = fields.Url(required=True)


class ModelAccepted(Schema):
    """The log has acknowledged the command and it has taken effect."""

    name = fields.String(required=True)
    version = fields.String(required=True)
    digest = fields.String(required=True)
    status = fields.String(required=True)
    position = fields.String(required=True)
    urls = fields.Nested(ModelUrls, required=True)


class MediaKept(Schema):
    """An upload; the same bytes always give the same digest."""

    digest = fields.String(required=True)
    media_type = fields.String(required=True)
    size_bytes = fields.Integer(required=True)
    width_px = fields.Integer(required=True, metadata={"description": "of the upright picture"})
    height_px = fields.Integer(required=True, metadata={"description": "of the upright picture"})


class PartitionEnd(Schema):
    """What one partition holds now."""

    topic = fields.String(required=True)
    partition = fields.Integer(required=True)
    end_offset = fields.Integer(required=True, metadata={"description": "the offset that the next event gets"})
    position = fields.String(
        required=True, allow_none=True, metadata={"description": "of its last event; null: it has none"}
    )


class Positions(Schema):
    """What the log holds now."""

    items = fields.List(fields.Nested(PartitionEnd), required=True)


def job_accepted(status: str, version: int, run: int) -> dict[str, Any]:
    """An example of the 202 of a command on a job."""
    get = f"{_QUERY}/jobs/{JOB_ID}"
    return {
        "id": JOB_ID,
        "status": status,
        "version": version,
        "run": run,
        "position": POSITION,
        "urls": {
            "get": get,
            "result": f"{get}?after={POSITION}",
            "events": f"{get}/events",
            "web": f"http://127.0.0.1:8081/jobs/{JOB_ID}",
            "cancel": f"{_COMMAND}/jobs/{JOB_ID}/cancel",
        },
    }


def model_accepted(status: str) -> dict[str, Any]:
    """An example of the 202 of a command on a model."""
    get = f"{_QUERY}/models/{MODEL_NAME}"
    return {
        "name": MODEL_NAME,
        "version": "1",
        "digest": DIGEST,
        "status": status,
        "position": POSITION,
        "urls": {"get": get, "result": f"{get}?after={POSITION}"},
    }


MEDIA_EXAMPLE = {
    "digest": DIGEST,
    "media_type": "image/jpeg",
    "size_bytes": 163759,
    "width_px": 768,
    "height_px": 576,
}
POSITIONS_EXAMPLE = {
    "items": [{"topic": "darkroom.jobs.v1", "partition": 3, "end_offset": 18, "position": POSITION}]
}
_PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElF"
    "TkSuQmCC"
)
JOB_EXAMPLE = {
    "model": "shapes-classifier",
    "inputs": [{"data": _PIXEL}],
    "parameters": {"top_k": 3},
    "labels": {"batch": "42"},
    "execute": True,
    "deadline_s": 60,
}
DESCRIPTION_EXAMPLE = {
    "kind": "classification",
    "runtime": "litert",
    "input": {"width_px": 64, "height_px": 64, "layout": "NHWC", "dtype": "uint8", "normalization": None},
    "output": {"format": "scores", "activation": "none", "label_offset": 0},
    "labels": ["circle", "square", "triangle"],
}

CREATE_BODY = {
    "required": True,
    "content": {
        "application/json": {"schema": Job, "example": JOB_EXAMPLE},
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["model", "file"],
                "additionalProperties": False,
                "properties": {
                    "model": {"type": "string", "description": "`name`, or `name@version`"},
                    "parameters": {"type": "string", "description": "a JSON object, as in the JSON body"},
                    "labels": {"type": "string", "description": "a JSON object of strings"},
                    "execute": {"type": "string", "enum": ["true", "false"], "default": "true"},
                    "deadline_s": {"type": "string", "description": "seconds, as a JSON number"},
                    "file": {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": 100,
                        "items": {"type": "string", "format": "binary"},
                        "description": "the pictures",
                    },
                },
            },
            "example": {"model": "shapes-classifier", "parameters": '{"top_k": 3}'},
        },
    },
}
RUN_BODY = {
    "required": False,
    "content": {
        "application/json": {
            "schema": Run,
            "example": {"model": "shapes-classifier@1", "parameters": {"top_k": 1}},
        }
    },
}
_FILE = {"type": "string", "format": "binary"}
MEDIA_BODY = {
    "required": True,
    "content": {
        "application/octet-stream": {"schema": _FILE},
        "image/*": {"schema": _FILE},
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "additionalProperties": False,
                "properties": {"file": _FILE},
            },
        },
    },
}
MODEL_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["description", "file"],
                "additionalProperties": False,
                "properties": {
                    "description": {
                        "type": "string",
                        "contentMediaType": "application/json",
                        "description": "what the model says of itself: see the schema ModelDescription",
                    },
                    "file": {**_FILE, "description": "a .tflite file, or a .tar.gz of a SavedModel"},
                },
            },
        },
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["source"],
                "properties": {"source": {"type": "object", "description": "not fetched yet: 422"}},
            },
            "example": {"source": {"type": "url", "reference": "https://models.example/m.tflite"}},
        },
    },
}
_LEFT_OUT = {"none": {"summary": "left out", "value": ""}}
"""Swagger UI fills the first example in: a fixed key would make every second try a repetition of the first."""
KEY_PARAMETER = {
    "in": "header",
    "name": "Idempotency-Key",
    "required": False,
    "description": "Names this command: repeated under its key, it gives the first answer again. Creations are "
    f"remembered for ever, other commands for the next {REMEMBERED_OFFSETS:,} events of the job's partition.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[!-+\--~]+$"},
    "examples": {**_LEFT_OUT, "a key": {"value": "order-4711"}},
}
CONDITION_PARAMETER = {
    "in": "header",
    "name": "If-Match",
    "required": False,
    "description": "The job's version as read (the query API's ETag), or `*`. 412 if the job stands elsewhere.",
    "schema": {"type": "string"},
    "examples": {**_LEFT_OUT, "a version": {"value": '"1"'}},
}
PREFER_PARAMETER = {
    "in": "header",
    "name": "Prefer",
    "required": False,
    "description": "`wait=N`: answer when the run has ended, if it ends within N seconds (at most 60).",
    "schema": {"type": "string"},
    "examples": {**_LEFT_OUT, "up to ten seconds": {"value": "wait=10"}},
}
MODEL_KEY_PARAMETER = {
    **KEY_PARAMETER,
    "description": "Names this command. Registering the same content again, and retiring again under the same key, "
    "give the first answer again.",
}
TRACE_PARAMETER = {
    "in": "header",
    "name": "Traceparent",
    "required": False,
    "description": "W3C trace context; carried into the event.",
    "schema": {"type": "string"},
    "examples": {
        **_LEFT_OUT,
        "a trace": {"value": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
    },
}
ACCEPTED_HEADERS = {
    "Location": {"schema": {"type": "string", "format": "uri"}, "description": "`urls.result`"},
    "Retry-After": {"schema": {"type": "integer"}, "description": "seconds to wait before looking"},
}
ENDED = "Prefer: wait was given, and the run has ended: the result is at Location"
ENDED_HEADERS = {
    "Location": {"schema": {"type": "string", "format": "uri"}, "description": "`urls.result`"},
    "Preference-Applied": {"schema": {"type": "string"}, "description": "the wait that was asked for"},
}
