"""The data of each event type: its marshmallow schema, its current version, and the dataclass it stands for.

JSON Schema, AsyncAPI and OpenAPI are made from these. Data is a plain JSON object; `load` raises Undecodable.
"""

from dataclasses import fields as fields_of
from dataclasses import is_dataclass
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, post_load, validate

from darkroom.schemas import job, model
from darkroom.schemas.errors import Undecodable

DIGEST = [
    validate.Length(equal=71),  # `$` alone would let a newline follow
    validate.Regexp(r"^sha256:[0-9a-f]{64}$", error="Not a digest of the form sha256:<64 hex digits>."),
]
INTEGER_MAX = 2**53 - 1
"""What every JSON reader and every database holds exactly."""


class Strict(Schema):
    """Unknown fields are refused; a subclass names the dataclass that it makes in `makes`."""

    makes: Any = None

    class Meta:
        unknown = RAISE

    @post_load
    def _make(self, data: dict[str, Any], **_: Any) -> Any:
        return self.makes(**data) if self.makes else data


class Tuple(fields.List[Any]):
    """A JSON array that loads as a tuple, for the frozen dataclasses."""

    def _deserialize(self, *args: Any, **more: Any) -> Any:
        return tuple(super()._deserialize(*args, **more))


class Number(fields.Float):
    """A JSON number, never NaN or infinite, and never read from a string."""

    def _deserialize(self, value: Any, *args: Any, **more: Any) -> Any:
        if not isinstance(value, int | float):
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, *args, **more)


class Quantity(fields.Float):
    """A JSON number that stays what it is: an integer is not made a float."""

    def __init__(self, **more: Any) -> None:
        super().__init__(validate=validate.Range(min=-INTEGER_MAX, max=INTEGER_MAX), **more)

    def _deserialize(self, value: Any, *args: Any, **more: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.make_error("invalid", input=value)
        return value


class Truth(fields.Boolean):
    """A JSON boolean; 0 and 1 are none."""

    def _deserialize(self, value: Any, *args: Any, **more: Any) -> Any:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


def integer(minimum: int = 0, **more: Any) -> fields.Integer:
    """A JSON integer of at least `minimum`, never rounded from a fraction."""
    return fields.Integer(required=True, strict=True, validate=validate.Range(min=minimum, max=INTEGER_MAX), **more)


def number(**more: Any) -> fields.Float:
    """A JSON number, never NaN or infinite."""
    return Number(required=True, allow_nan=False, **more)


def text(**more: Any) -> fields.String:
    """A required string."""
    return fields.String(required=True, **more)


class MediaSchema(Strict):
    makes = job.Media
    digest = text(validate=DIGEST, metadata={"description": "sha256 of the bytes in the blob store"})
    media_type = text()
    size_bytes = integer(1)
    width_px = integer(1, metadata={"description": "of the upright picture"})
    height_px = integer(1, metadata={"description": "of the upright picture"})


class ModelRefSchema(Strict):
    makes = job.ModelRef
    name = text()
    version = text()
    digest = text(validate=DIGEST)


class ProblemSchema(Strict):
    makes = job.Problem
    type = text(metadata={"description": "stable URN of the kind of problem"})
    title = text()
    detail = text()


class BlobRefSchema(Strict):
    makes = job.BlobRef
    digest = text(validate=DIGEST)
    size_bytes = integer(1)


class RunSpecSchema(Strict):
    makes = job.RunSpec
    model = fields.Nested(ModelRefSchema, required=True)
    inputs = Tuple(fields.Nested(MediaSchema), required=True, validate=validate.Length(min=1))
    parameters = fields.Dict(keys=fields.String(), values=Quantity(), required=True)
    deadline_s = number()
    max_attempts = integer(1)


class CreatedSchema(Strict):
    makes = job.Created
    spec = fields.Nested(RunSpecSchema, required=True)
    labels = fields.Dict(keys=fields.String(), values=fields.String(), required=True)
    execute = Truth(required=True)


class ExecutionRequestedSchema(Strict):
    makes = job.ExecutionRequested
    run = integer(1)
    spec = fields.Nested(RunSpecSchema, required=True)


class ExecutionStartedSchema(Strict):
    makes = job.ExecutionStarted
    run = integer(1)
    attempt = integer(1)
    executor = text()
    lease_s = number()


class ExecutionProgressedSchema(Strict):
    makes = job.ExecutionProgressed
    run = integer(1)
    attempt = integer(1)
    executor = text()
    lease_s = number()
    done = integer()
    total = integer(1)


class ExecutionSucceededSchema(Strict):
    makes = job.ExecutionSucceeded
    run = integer(1)
    attempt = integer(1)
    results = Tuple(fields.Dict(keys=fields.String()), required=True)
    results_blob = fields.Nested(BlobRefSchema, required=True, allow_none=True)
    timing = fields.Dict(keys=fields.String(), values=Number(allow_nan=False), required=True)
    provenance = fields.Dict(keys=fields.String(), required=True)


class ExecutionFailedSchema(Strict):
    makes = job.ExecutionFailed
    run = integer(1)
    attempt = integer()
    error = fields.Nested(ProblemSchema, required=True)


class AttemptExpiredSchema(Strict):
    makes = job.AttemptExpired
    run = integer(1)
    attempt = integer(1)
    reason = fields.Nested(ProblemSchema, required=True)


class CancelledSchema(Strict):
    makes = job.Cancelled
    run = integer(1)


class DeletedSchema(Strict):
    makes = job.Deleted
    run = integer()


class DescriptionSchema(Strict):
    makes = model.Description
    name = text()
    version = text()
    kind = text(validate=validate.OneOf(["classification", "detection"]))
    runtime = text(validate=validate.OneOf(["litert", "tf-savedmodel"]))
    source = fields.Dict(keys=fields.String(), required=True)
    artifact = fields.Dict(keys=fields.String(), required=True)
    input = fields.Dict(keys=fields.String(), required=True)
    output = fields.Dict(keys=fields.String(), required=True)
    labels = fields.Dict(keys=fields.String(), required=True)


class RegisteredSchema(Strict):
    makes = model.Registered
    description = fields.Nested(DescriptionSchema, required=True)


class RetiredSchema(Strict):
    makes = model.Retired
    name = text()
    version = text()


JOB_SCHEMAS: dict[str, Strict] = {
    "darkroom.job.created.v1": CreatedSchema(),
    "darkroom.job.execution-requested.v1": ExecutionRequestedSchema(),
    "darkroom.job.execution-started.v1": ExecutionStartedSchema(),
    "darkroom.job.execution-progressed.v1": ExecutionProgressedSchema(),
    "darkroom.job.execution-succeeded.v1": ExecutionSucceededSchema(),
    "darkroom.job.execution-failed.v1": ExecutionFailedSchema(),
    "darkroom.job.attempt-expired.v1": AttemptExpiredSchema(),
    "darkroom.job.cancelled.v1": CancelledSchema(),
    "darkroom.job.deleted.v1": DeletedSchema(),
}
MODEL_SCHEMAS: dict[str, Strict] = {
    "darkroom.model.registered.v1": RegisteredSchema(),
    "darkroom.model.retired.v1": RetiredSchema(),
}
SCHEMAS: dict[str, Strict] = JOB_SCHEMAS | MODEL_SCHEMAS


class AttemptSchema(Strict):
    job = text()
    run = integer(1)
    attempt = integer(1)


class HeartbeatSchema(Strict):
    """An executor's sign of life: passing, in no chain, and on a topic of its own."""

    executor = text()
    attempts = fields.List(fields.Nested(AttemptSchema), required=True)
    lease_s = number()


HEARTBEAT = "darkroom.executor.heartbeat.v1"
HEARTBEAT_SCHEMA = HeartbeatSchema()

_TYPE_OF: dict[type, str] = {schema.makes: name for name, schema in SCHEMAS.items()}


def type_of(event: job.Event | model.ModelEvent) -> str:
    """The current event type, version included, under which an event is appended."""
    return _TYPE_OF[type(event)]


def dump(event: job.Event | model.ModelEvent) -> dict[str, Any]:
    """The event's data as a plain JSON object. It may share parts with the event: encode it, do not change it."""
    return {name: _plain(getattr(event, name)) for name in _field_names(type(event))}


def _plain(value: Any) -> Any:
    """`dataclasses.asdict`, which copies every leaf deeply, takes ten times as long."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if is_dataclass(value):
        return {name: _plain(getattr(value, name)) for name in _field_names(type(value))}
    return value


def _field_names(kind: Any) -> tuple[str, ...]:
    names = _NAMES.get(kind)
    if names is None:
        names = _NAMES[kind] = tuple(field.name for field in fields_of(kind))
    return names


_NAMES: dict[Any, tuple[str, ...]] = {}


def load(event_type: str, data: Any) -> Any:
    """The event that `data` of the (current) `event_type` stands for. Raises Undecodable."""
    schema = SCHEMAS.get(event_type)
    if schema is None:
        raise Undecodable(f"unknown event type {event_type!r}")
    try:
        return schema.load(data)
    except ValidationError as error:
        raise Undecodable(f"data of {event_type}: {error.messages}") from None
