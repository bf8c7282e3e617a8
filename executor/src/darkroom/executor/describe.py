"""Makes the description of a model from its file, for ``darkroom models add``; what it cannot know, it asks for."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darkroom.executor import archive, savedmodelfile, tflitefile
from darkroom.executor.description import KINDS, Normalization, parse_description
from darkroom.executor.digests import sha256_of, sha256_of_file
from darkroom.executor.problems import ModelError
from darkroom.executor.tensors import Quantization

_IMAGENET = Normalization((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
# Names for what models are commonly trained on; on pixel values 0..255.
PREPROCESSING: Mapping[str, Normalization | None] = {
    "raw": None,
    "zero-to-one": Normalization((0.0, 0.0, 0.0), (255.0, 255.0, 255.0)),
    "minus-one-to-one": Normalization((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
    "imagenet": _IMAGENET,
}
# The range of real values that a quantised input can hold tells what it was trained on.
_RANGES = {"zero-to-one": (0.0, 1.0), "minus-one-to-one": (-1.0, 1.0), "imagenet": (-2.118, 2.64)}
_RANGE_TOLERANCE = 0.03
_BUILT_IN_CUSTOM_OPS = {"TFLite_Detection_PostProcess"}


class DescribeError(ValueError):
    """The file does not say enough, or cannot be used; the message says what to give or to change."""


@dataclass(frozen=True)
class Described:
    """``description`` as in the catalogue; ``artifact_path`` the file for the blob store (for a folder the archive
    made of it); ``labels`` the label map's JSON bytes."""

    description: dict[str, Any]
    artifact_path: Path
    labels: bytes


@dataclass(frozen=True)
class _Facts:
    kind: str
    runtime: str
    format: str
    input: dict[str, Any]
    quantization: Quantization | None
    output_format: str
    activation: str
    label_offset: int
    normalization: Normalization | str | None  # a str: why it is not known
    labels: Sequence[str] | None
    outputs_count: int | None


def describe_file(
    path: Path,
    work_folder: Path,
    *,
    name: str | None = None,
    version: str = "1",
    kind: str | None = None,
    labels: Sequence[str] | Path | None = None,
    preprocessing: str | Normalization | None = None,
    activation: str | None = None,
    label_offset: int | None = None,
) -> Described:
    """Describe a ``.tflite`` file, a SavedModel folder, or a .tar.gz of one; arguments override what is found.

    ``labels``: the names, or a text file with one per line. ``preprocessing``: a name of PREPROCESSING. Archives
    are written and unpacked in ``work_folder``. Raises DescribeError.
    """
    try:
        facts, artifact_path = _facts(path, work_folder, kind)
    except ModelError as error:
        raise DescribeError(f"{path}: {error.problem.detail}") from error
    rows = _labels(labels, facts)
    offset = facts.label_offset if label_offset is None else label_offset
    if label_offset is None and facts.outputs_count == len(rows) + 1:
        offset = 1  # a class for the background, which the label map leaves out
    labels_json = json.dumps(list(rows), ensure_ascii=False, separators=(",", ":")).encode()
    normalization = _normalization(preprocessing, facts)
    description: dict[str, Any] = {
        "name": name or path.name.removesuffix(".gz").removesuffix(".tar").removesuffix(".tflite"),
        "version": version,
        "kind": facts.kind,
        "runtime": facts.runtime,
        "source": {"type": "upload"},
        "artifact": {
            "digest": sha256_of_file(artifact_path),
            "size_bytes": artifact_path.stat().st_size,
            "format": facts.format,
        },
        "input": {
            **facts.input,
            "normalization": normalization and {"mean": list(normalization.mean), "std": list(normalization.std)},
        },
        "output": {
            "format": facts.output_format,
            "activation": facts.activation if activation is None else activation,
            "label_offset": offset,
        },
        "labels": {"digest": sha256_of(labels_json), "count": len(rows)},
    }
    try:
        parse_description(description)
    except ModelError as error:
        raise DescribeError(f"{path}: {error.problem.detail}") from error
    if facts.outputs_count is not None and facts.outputs_count - offset != len(rows):
        raise DescribeError(
            f"{path} gives {facts.outputs_count} scores and there are {len(rows)} labels (label_offset {offset}): "
            "give the label file that belongs to the model (--labels)."
        )
    return Described(description, artifact_path, labels_json)


def _facts(path: Path, work_folder: Path, kind: str | None) -> tuple[_Facts, Path]:
    if kind is not None and kind not in KINDS:
        raise DescribeError(f"kind {kind!r} is not one of {', '.join(KINDS)}.")
    if path.is_dir():
        packed = work_folder / f"{path.name}.tar.gz"
        with packed.open("wb") as into:
            archive.pack(path, into)
        return _saved_model_facts(path, kind), packed
    if not path.is_file():
        raise DescribeError(f"There is no file or folder {path}.")
    if path.name.endswith((".tar.gz", ".tgz")):
        into_folder = work_folder / "unpacked"
        into_folder.mkdir()
        return _saved_model_facts(archive.unpack(path.read_bytes(), into_folder), kind), path
    return _tflite_facts(path, kind), path


def _tflite_facts(path: Path, kind: str | None) -> _Facts:
    file = tflitefile.read(path.read_bytes())
    foreign = sorted(set(file.custom_ops) - _BUILT_IN_CUSTOM_OPS)
    if foreign:
        raise DescribeError(
            f"{path} needs the custom operator {', '.join(foreign)}, which LiteRT on a CPU does not have"
            + (": it is compiled for an Edge TPU; take the original." if "edgetpu-custom-op" in foreign else ".")
        )
    tensor = _only(path, file.inputs)
    shape = tuple(None if size < 0 else size for size in tensor.shape)
    detector = "TFLite_Detection_PostProcess" in file.custom_ops
    if len(file.outputs) == 1 and any(size not in (1, -1) for size in file.outputs[0].shape[:-1]):
        raise DescribeError(
            f"{path} gives one output of shape {list(file.outputs[0].shape)}: neither classes nor boxes. "
            f"Kinds that can be run: {', '.join(KINDS)}."
        )
    found = kind or ("detection" if detector or len(file.outputs) == 4 else "classification")
    if (found == "detection") != (len(file.outputs) == 4):
        raise DescribeError(f"{path} has {len(file.outputs)} outputs; that is no {found} model.")
    normalization: Normalization | str | None
    if tensor.dtype == "float32":
        normalization = file.normalization or "a float model without metadata does not say how it wants its pixels"
    else:
        normalization = _quantized_input(tensor.dtype, tensor.quantization)
    output = file.outputs[0]
    return _Facts(
        kind=found,
        runtime="litert",
        format="tflite",
        input=_input(path, shape, tensor.dtype),
        quantization=tensor.quantization,
        output_format="tflite-detection" if found == "detection" else "scores",
        activation="none"
        if found == "detection"
        else _activation(file.final_op, output.dtype, output.quantization),
        label_offset=0,
        normalization=normalization,
        labels=file.labels,
        outputs_count=output.shape[-1] if found == "classification" else None,
    )


def _saved_model_facts(folder: Path, kind: str | None) -> _Facts:
    file = savedmodelfile.read_folder(folder)
    tensor = _only(folder, file.inputs)
    names = {output.name for output in file.outputs}
    detector = {"detection_boxes", "detection_classes", "detection_scores"} <= names
    found = kind or ("detection" if detector else "classification")
    if (found == "detection") != detector:
        raise DescribeError(f"{folder} gives {sorted(names)}; that is no {found} model.")
    output = file.outputs[0]
    if found == "classification" and (len(file.outputs) != 1 or output.shape is None or len(output.shape) != 2):
        raise DescribeError(f"{folder} gives {sorted(names)}, not one row of scores: no classifier.")
    if tensor.shape is None:
        raise DescribeError(f"{folder} does not say the shape of its input.")
    return _Facts(
        kind=found,
        runtime="tf-savedmodel",
        format="tar.gz",
        input=_input(folder, tensor.shape, tensor.dtype),
        quantization=None,
        output_format="tf-detection" if found == "detection" else "scores",
        activation="none" if found == "detection" or file.final_op else "softmax",
        label_offset=1 if found == "detection" else 0,  # the Object Detection API counts classes from 1
        # TensorFlow Hub's convention for its image models: floats from 0 to 1.
        normalization=PREPROCESSING["zero-to-one"] if tensor.dtype == "float32" else None,
        labels=None,
        outputs_count=output.shape[-1] if found == "classification" and output.shape else None,
    )


def _input(path: Path, shape: Sequence[int | None], dtype: str) -> dict[str, Any]:
    layout = "NCHW" if len(shape) == 4 and shape[1] == 3 and shape[3] != 3 else "NHWC"
    if len(shape) != 4 or (shape[3] if layout == "NHWC" else shape[1]) not in (3, None):
        raise DescribeError(f"{path} takes {list(shape)}, not one RGB picture.")
    height_px, width_px = (shape[1], shape[2]) if layout == "NHWC" else (shape[2], shape[3])
    return {"width_px": width_px, "height_px": height_px, "layout": layout, "dtype": dtype}


def _quantized_input(dtype: str, quantization: Quantization | None) -> Normalization | str | None:
    if dtype == "uint8" or quantization is None:
        return None  # quantised so that the pixel values are its stored values
    lowest, highest = (quantization.scale * (stored - quantization.zero_point) for stored in (-128, 127))
    for name, (low, high) in _RANGES.items():
        if max(abs(lowest - low), abs(highest - high)) <= _RANGE_TOLERANCE * (high - low):
            return PREPROCESSING[name]
    return f"its input holds values from {lowest:.3g} to {highest:.3g}, which no usual preprocessing gives"


def _activation(final_op: str | None, dtype: str, quantization: Quantization | None) -> str:
    """What is still to be applied: nothing after a softmax or sigmoid inside, or where scores are 0 to 1 anyway."""
    if final_op:
        return "none"
    if quantization is not None and dtype in ("uint8", "int8"):
        lowest_stored = 0 if dtype == "uint8" else -128
        if quantization.zero_point == lowest_stored and abs(quantization.scale - 1 / 256) < 1e-4:
            return "none"
    return "softmax"


def _normalization(wanted: str | Normalization | None, facts: _Facts) -> Normalization | None:
    if isinstance(wanted, Normalization):
        return wanted
    if wanted is not None:
        if wanted not in PREPROCESSING:
            raise DescribeError(f"preprocessing {wanted!r} is not one of {', '.join(PREPROCESSING)}.")
        return PREPROCESSING[wanted]
    if isinstance(facts.normalization, str):
        raise DescribeError(f"Give --preprocessing ({', '.join(PREPROCESSING)}): {facts.normalization}.")
    return facts.normalization


def _labels(wanted: Sequence[str] | Path | None, facts: _Facts) -> Sequence[str]:
    if isinstance(wanted, Path):
        try:
            wanted = wanted.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DescribeError(f"The label file cannot be read: {error}") from error
    rows = facts.labels if wanted is None else wanted
    if not rows:
        raise DescribeError("The model carries no labels: give a text file with one per line (--labels).")
    return rows


def _only(path: Path, inputs: Sequence[Any]) -> Any:
    if len(inputs) != 1:
        raise DescribeError(f"{path} has {len(inputs)} inputs; one picture is what it would get.")
    return inputs[0]
