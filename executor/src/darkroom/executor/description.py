"""The model description of the catalogue, parsed into frozen values; one place that knows its keys."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from darkroom.executor.problems import ModelError, model_invalid

KINDS = ("classification", "detection")
RUNTIMES = ("litert", "tf-savedmodel")
FORMATS = ("scores", "tflite-detection", "tf-detection")
ACTIVATIONS = ("none", "softmax", "sigmoid")
LAYOUTS = ("NHWC", "NCHW")
DTYPES = ("uint8", "int8", "float32")
MIN_SCORE_DEFAULT = {"classification": 0.0, "detection": 0.25}


@dataclass(frozen=True)
class Normalization:
    """Per channel (r, g, b), on pixel values 0..255: (x - mean) / std."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class InputSpec:
    """How a picture becomes the input tensor; without sizes the model takes pictures at full size."""

    width_px: int | None
    height_px: int | None
    layout: str
    dtype: str
    normalization: Normalization | None


@dataclass(frozen=True)
class OutputSpec:
    """How raw outputs become entries; a class id minus ``label_offset`` is its row of the label map."""

    format: str
    activation: str
    label_offset: int


@dataclass(frozen=True)
class ModelDescription:
    """What a model says of itself. Digests are ``sha256:<hex>``."""

    name: str
    version: str
    kind: str
    runtime: str
    artifact_digest: str
    artifact_format: str
    input: InputSpec
    output: OutputSpec
    labels_digest: str


@dataclass(frozen=True)
class Parameters:
    """Parameters of a run. ``min_score`` None: 0 for classification, 0.25 for detection."""

    top_k: int = 5
    min_score: float | None = None
    max_detections: int = 50

    def min_score_for(self, kind: str) -> float:
        return MIN_SCORE_DEFAULT[kind] if self.min_score is None else self.min_score


def parse_parameters(raw: Mapping[str, Any]) -> Parameters:
    """The parameters of a run; keys that no model here reads are left alone, limits were checked at the door."""
    min_score = raw.get("min_score")
    return Parameters(
        top_k=int(raw.get("top_k", 5)),
        min_score=None if min_score is None else float(min_score),
        max_detections=int(raw.get("max_detections", 50)),
    )


def parse_description(raw: Mapping[str, Any]) -> ModelDescription:
    """Parse a description from the catalogue. Raises ModelError (model-invalid) naming what is wrong."""
    try:
        return ModelDescription(
            name=str(raw["name"]),
            version=str(raw["version"]),
            kind=_one_of("kind", raw["kind"], KINDS),
            runtime=_one_of("runtime", raw["runtime"], RUNTIMES),
            artifact_digest=str(raw["artifact"]["digest"]),
            artifact_format=str(raw["artifact"]["format"]),
            input=_input(raw["input"]),
            output=_output(raw["output"], str(raw["kind"])),
            labels_digest=str(raw["labels"]["digest"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(model_invalid(f"The model's description is incomplete or wrong: {error!r}")) from error


def _input(raw: Mapping[str, Any]) -> InputSpec:
    width_px, height_px = raw.get("width_px"), raw.get("height_px")
    if (width_px is None) != (height_px is None):
        raise ValueError("give both of width_px and height_px, or neither")
    for size_px in (width_px, height_px):
        if size_px is not None and not 1 <= size_px <= 8192:
            raise ValueError(f"an input side of {size_px} pixels")
    norm = raw.get("normalization")
    normalization = None if norm is None else Normalization(_rgb(norm["mean"]), _rgb(norm["std"]))
    if normalization is not None and 0.0 in normalization.std:
        raise ValueError("a std of 0")
    return InputSpec(
        width_px=width_px,
        height_px=height_px,
        layout=_one_of("layout", raw.get("layout", "NHWC"), LAYOUTS),
        dtype=_one_of("dtype", raw["dtype"], DTYPES),
        normalization=normalization,
    )


def _output(raw: Mapping[str, Any], kind: str) -> OutputSpec:
    form = _one_of("output format", raw["format"], FORMATS)
    if (form == "scores") != (kind == "classification"):
        raise ValueError(f"output format {form!r} does not go with kind {kind!r}")
    activation = _one_of("activation", raw.get("activation", "none"), ACTIVATIONS)
    return OutputSpec(form, activation, int(raw.get("label_offset", 0)))


def _rgb(values: Any) -> tuple[float, float, float]:
    r, g, b = (float(value) for value in values)
    return (r, g, b)


def _one_of(what: str, value: Any, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ValueError(f"{what} is {value!r}, not one of {', '.join(allowed)}")
    return str(value)
