"""The shapes of request bodies: what may be said, and within which bounds. OpenAPI is made from them."""

import re
from typing import Any

from marshmallow import ValidationError, fields, validate, validates_schema

from darkroom.runtime.http.fields import Flag, Number, Strict, WholeNumber
from darkroom.schemas.eventdata import DIGEST

MODEL_NAME = r"[a-z0-9][a-z0-9._-]{0,63}"
MODEL_VERSION = r"[A-Za-z0-9._-]{1,32}"
INPUTS_MAX = 100
LABELS_MAX = 32
LABEL_ROWS_MAX = 100_000
_LABEL_KEY = re.compile(r"[A-Za-z0-9_.\-/]{1,64}")
_LABEL_VALUE_LENGTH_MAX = 256


def _printable(value: str) -> None:
    if not value.isprintable():
        raise ValidationError("Holds characters that cannot be printed.")


class Parameters(Strict):
    """What a run may be told. `min_score`: 0 for classification and 0.25 for detection, if absent."""

    top_k = WholeNumber(1, 1000, load_default=5, metadata={"description": "classes per picture"})
    min_score = Number(0, 1, metadata={"description": "leaves out what scores less; default 0 or 0.25, by kind"})
    max_detections = WholeNumber(1, 1000, load_default=50, metadata={"description": "boxes per picture"})


_PARAMETERS = Parameters()  # making a schema costs more than loading with one


class Input(Strict):
    """One picture: exactly one of the three."""

    media = fields.String(validate=DIGEST, metadata={"description": "digest of an earlier upload"})
    data = fields.String(metadata={"description": "`data:image/…;base64,…`"})
    url = fields.String(validate=validate.Length(max=2000), metadata={"description": "not supported yet: 422"})

    @validates_schema
    def _one_of_three(self, data: dict[str, Any], **_: Any) -> None:
        if len(data) != 1:
            raise ValidationError("Give exactly one of media, data and url.")


def model_reference(**more: Any) -> fields.String:
    """`name`, or `name@version`."""
    return fields.String(
        validate=validate.Regexp(
            rf"^{MODEL_NAME}(@{MODEL_VERSION})?\Z", error="Not a model's name, or name@version."
        ),
        metadata={"description": "`name`, or `name@version`; without a version the newest"},
        **more,
    )


def deadline_s(**more: Any) -> Number:
    """The longest that a run may take, in seconds."""
    return Number(1, 3600, metadata={"description": "the run fails if it takes longer"}, **more)


def labels_of_job() -> fields.Dict:
    """The client's own labels, to filter by."""
    return fields.Dict(
        keys=fields.String(validate=validate.Regexp(_LABEL_KEY.pattern + r"\Z", error="Not a label's key.")),
        values=fields.String(validate=[validate.Length(max=_LABEL_VALUE_LENGTH_MAX), _printable]),
        validate=validate.Length(max=LABELS_MAX),
        load_default=dict,
        metadata={"description": f"at most {LABELS_MAX}, keys of letters, digits and `_.-/`"},
    )


class Job(Strict):
    """A job to create."""

    model = model_reference(required=True)
    inputs = fields.List(fields.Nested(Input), required=True, validate=validate.Length(min=1, max=INPUTS_MAX))
    parameters = fields.Nested(Parameters, load_default=lambda: _PARAMETERS.load({}))
    labels = labels_of_job()
    execute = Flag(load_default=True, metadata={"description": "false: only create it"})
    deadline_s = deadline_s(load_default=60.0)


class Run(Strict):
    """Another run; what is absent stays as the job was created. `parameters` replace the earlier ones whole."""

    model = model_reference()
    parameters = fields.Nested(Parameters)
    deadline_s = deadline_s()


class Normalization(Strict):
    """Per channel, on pixel values 0 to 255: (x - mean) / std."""

    mean = fields.List(Number(-1e6, 1e6), required=True, validate=validate.Length(equal=3))
    std = fields.List(Number(1e-6, 1e6), required=True, validate=validate.Length(equal=3))


class ModelInput(Strict):
    """How a picture becomes the input tensor. Both sizes null: the model takes pictures of any size."""

    width_px = WholeNumber(1, 8192, required=True, allow_none=True)
    height_px = WholeNumber(1, 8192, required=True, allow_none=True)
    layout = fields.String(load_default="NHWC", validate=validate.OneOf(["NHWC", "NCHW"]))
    dtype = fields.String(required=True, validate=validate.OneOf(["uint8", "int8", "float32"]))
    normalization = fields.Nested(Normalization, load_default=None, allow_none=True)

    @validates_schema
    def _both_sizes(self, data: dict[str, Any], **_: Any) -> None:
        if (data.get("width_px") is None) != (data.get("height_px") is None):
            raise ValidationError("Give both of width_px and height_px, or null for both.")


class ModelOutput(Strict):
    """How raw outputs become results."""

    format = fields.String(required=True, validate=validate.OneOf(["scores", "tflite-detection", "tf-detection"]))
    activation = fields.String(load_default="none", validate=validate.OneOf(["none", "softmax", "sigmoid"]))
    label_offset = WholeNumber(0, 1, load_default=0)


class Source(Strict):
    """Where the uploaded file came from: told, never fetched."""

    type = fields.String(
        required=True, validate=validate.OneOf(["upload", "file", "folder", "archive", "url", "hub"])
    )
    reference = fields.String(validate=[validate.Length(max=500), _printable])


class Artifact(Strict):
    """What the client believes to send; refused if it is something else."""

    digest = fields.String(validate=DIGEST)
    size_bytes = WholeNumber(1, 2**40)
    format = fields.String(validate=validate.OneOf(["tflite", "tar.gz"]))


class ModelDescription(Strict):
    """What a model says of itself. `name` and `version`, if given, are those of the path."""

    name = fields.String()
    version = fields.String()
    kind = fields.String(required=True, validate=validate.OneOf(["classification", "detection"]))
    runtime = fields.String(required=True, validate=validate.OneOf(["litert", "tf-savedmodel"]))
    source = fields.Nested(Source, load_default=lambda: {"type": "upload"})
    artifact = fields.Nested(Artifact, load_default=dict)
    input = fields.Nested(ModelInput, required=True)
    output = fields.Nested(ModelOutput, required=True)
    labels = fields.List(
        fields.String(validate=[validate.Length(max=200), _printable]),
        required=True,
        validate=validate.Length(min=1, max=LABEL_ROWS_MAX),
        metadata={"description": "the label map: row by row, the name of each class"},
    )

    @validates_schema
    def _fits(self, data: dict[str, Any], **_: Any) -> None:
        output = data.get("output", {}).get("format")
        if output and (output == "scores") != (data.get("kind") == "classification"):
            raise ValidationError(
                {"output": {"format": ["`scores` goes with classification, the others with detection."]}}
            )
