"""Bodies of the answers, for the API document. Answers are made in present.py; a test holds the two together."""

from typing import Any

from marshmallow import INCLUDE, Schema, fields, validate

from darkroom.query_api.arguments import STATUSES


def text(**metadata: Any) -> fields.String:
    return fields.String(required=True, metadata=metadata)


def time(**metadata: Any) -> fields.String:
    return fields.String(required=True, metadata={"format": "date-time", **metadata})


def maybe_time(**metadata: Any) -> fields.String:
    return fields.String(required=True, allow_none=True, metadata={"format": "date-time", **metadata})


def number(**metadata: Any) -> fields.Float:
    return fields.Float(required=True, metadata=metadata)


def whole(**metadata: Any) -> fields.Integer:
    return fields.Integer(required=True, metadata=metadata)


def free(**metadata: Any) -> fields.Dict:
    return fields.Dict(required=True, keys=fields.String(), metadata=metadata)


def position() -> fields.String:
    return text(description="Opaque; hand it back as `after`.")


class ProblemOfRun(Schema):
    """Why a run, or one input, has no result."""

    type = text()
    title = text()
    detail = text()


class ModelRef(Schema):
    name = text()
    version = text()
    digest = text()


class Input(Schema):
    digest = text()
    media_type = text()
    size_bytes = whole()
    width_px = whole(description="of the upright picture")
    height_px = whole(description="of the upright picture")


class ScoredClass(Schema):
    index = whole()
    label = text()
    score = number()


class Detection(Schema):
    label = text()
    class_index = whole()
    score = number()
    box = fields.List(
        fields.Float(),
        required=True,
        validate=validate.Length(equal=4),
        metadata={"description": "[x, y, width, height] in pixels of the upright input, from its top left"},
    )


class Result(Schema):
    """The result for one input: `classes`, `detections` or `error`."""

    input = whole(description="index of the input")
    kind = fields.String(validate=validate.OneOf(["classification", "detection"]))
    classes = fields.List(fields.Nested(ScoredClass))
    detections = fields.List(fields.Nested(Detection))
    error = fields.Nested(ProblemOfRun)


class Urls(Schema):
    get = text(format="uri")
    result = text(format="uri", description="`get` with the position as `after`")
    events = text(format="uri")
    runs = text(format="uri")
    web = text(format="uri")
    cancel = text(format="uri", description="POST there, at the command API")


class JobSummary(Schema):
    id = text(format="uuid")
    tenant = text()
    status = fields.String(required=True, validate=validate.OneOf(STATUSES))
    version = whole(description="how many events the job has accepted")
    position = position()
    model = fields.Nested(ModelRef, required=True)
    created_at = time()
    updated_at = time()
    labels = fields.Dict(required=True, keys=fields.String(), values=fields.String())
    inputs = fields.List(fields.Nested(Input), required=True)
    run = whole(description="number of the latest run, 0 before the first")
    attempt = whole()
    error = fields.Nested(ProblemOfRun, required=True, allow_none=True)
    timing = free(description="milliseconds by stage")
    urls = fields.Nested(Urls, required=True)


class Job(JobSummary):
    """A job as read."""

    results = fields.List(
        fields.Nested(Result),
        required=True,
        allow_none=True,
        metadata={"description": "of the latest run, one per input, in order; null while there are none"},
    )
    provenance = free(description="what is needed to get the same result again")


class JobList(Schema):
    items = fields.List(fields.Nested(JobSummary), required=True)
    next = fields.String(required=True, allow_none=True, metadata={"description": "`cursor` of the next page"})


class Attempt(Schema):
    attempt = whole()
    executor = text()
    started_at = time()
    ended_at = maybe_time()
    outcome = fields.String(
        required=True,
        validate=validate.OneOf(["running", "succeeded", "failed", "expired", "cancelled"]),
    )
    reason = fields.Nested(ProblemOfRun, required=True, allow_none=True)


class RunSummary(Schema):
    run = whole()
    status = text()
    model = fields.Nested(ModelRef, required=True)
    parameters = free()
    deadline_s = number()
    max_attempts = whole()
    requested_at = time()
    started_at = maybe_time()
    finished_at = maybe_time()
    attempt = whole()
    attempts = fields.List(fields.Nested(Attempt), required=True)
    progress = fields.Dict(required=True, allow_none=True, keys=fields.String(), values=fields.Integer())
    error = fields.Nested(ProblemOfRun, required=True, allow_none=True)
    timing = free()


class Run(RunSummary):
    inputs = fields.List(fields.Nested(Input), required=True)
    results = fields.List(fields.Nested(Result), required=True, allow_none=True)
    provenance = free()


class RunList(Schema):
    items = fields.List(fields.Nested(RunSummary), required=True)


class Event(Schema):
    """A CloudEvent as it stands in the log (its other attributes too), and where it stands."""

    class Meta:
        unknown = INCLUDE

    specversion = fields.String()
    id = fields.String()
    source = fields.String()
    type = text()
    subject = fields.String(metadata={"description": "the job's id"})
    time = fields.String(metadata={"format": "date-time"})
    data = fields.Raw(allow_none=True, metadata={"description": "absent once the job is deleted"})
    streamversion = fields.Integer()
    position = position()
    partition = whole()
    offset = whole()
    void = fields.Boolean(required=True, metadata={"description": "it lost a race and changed nothing"})
    status = text(description="where the job stood after it")


class EventList(Schema):
    items = fields.List(fields.Nested(Event), required=True)
    next = fields.String(required=True, allow_none=True)


class ModelVersion(Schema):
    version = text()
    digest = text(description="of the model's file")
    kind = text()
    runtime = text()
    status = fields.String(required=True, validate=validate.OneOf(["active", "retired"]))
    source = free()
    artifact = free()
    input = free()
    output = free()
    labels = fields.List(
        fields.String(), required=True, allow_none=True, metadata={"description": "names by class index"}
    )
    labels_digest = fields.String(required=True, allow_none=True)
    registered_at = time()
    retired_at = maybe_time()


class Model(Schema):
    name = text()
    versions = fields.List(fields.Nested(ModelVersion), required=True)


class ModelList(Schema):
    items = fields.List(fields.Nested(Model), required=True)


class JobCounts(Schema):
    total = whole()
    by_status = fields.Dict(required=True, keys=fields.String(), values=fields.Integer())


class MeanDurations(Schema):
    queued = fields.Float(required=True, allow_none=True)
    running = fields.Float(required=True, allow_none=True)
    inference = fields.Float(required=True, allow_none=True)


class ModelStats(Schema):
    model = text()
    version = text()
    events = fields.Dict(required=True, keys=fields.String(), values=fields.Integer())
    void = whole()
    finished = whole(description="runs that succeeded; those that failed are in `events`")
    mean_ms = fields.Nested(
        MeanDurations, required=True, metadata={"description": "means over the `finished` runs, in milliseconds"}
    )


class Stats(Schema):
    jobs = fields.Nested(JobCounts, required=True)
    models = fields.List(fields.Nested(ModelStats), required=True)


class PartitionProgress(Schema):
    partition = whole()
    position = fields.String(
        required=True, allow_none=True, metadata={"description": "of the last event that was folded"}
    )
    next = whole(description="offset of the next event to fold")
    end_seen = whole(description="end offset of the log that the projector last saw")
    end_seen_at = maybe_time(description="when the projector saw it; null: it never has")
    lag = whole(description="events seen and not yet folded")


class Projection(Schema):
    read_model = text()
    family = text(description="read models of one family stand at the same checkpoints and are switched together")
    generation = whole()
    kept = fields.List(fields.Integer(), required=True)
    building = fields.Integer(required=True, allow_none=True)
    fold_version = fields.Integer(required=True, allow_none=True)
    topic = fields.String(required=True, allow_none=True)
    quarantined = whole(description="records of its family's topic that no fold could read")
    lag = whole()
    partitions = fields.List(fields.Nested(PartitionProgress), required=True)


class ProjectionList(Schema):
    items = fields.List(fields.Nested(Projection), required=True)
