"""Raw outputs → the ``classes`` or ``detections`` of a result. Pure functions on arrays."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.executor.description import OutputSpec, Parameters
from darkroom.executor.problems import ModelError, model_unsupported
from darkroom.executor.tensors import RawTensor

Floats = NDArray[np.float64]


def classes(
    outputs: Sequence[RawTensor], spec: OutputSpec, labels: Sequence[str], parameters: Parameters
) -> list[dict[str, Any]]:
    """At most ``top_k`` classes by descending score (ties by index), none under ``min_score``.

    Raises ModelError when the output is not one score per class, or the label map does not fit it.
    """
    values = [output.values for output in outputs]
    if len(values) != 1 or values[0].shape[:1] != (1,) or values[0].size - spec.label_offset != len(labels):
        shapes = ", ".join(str(value.shape) for value in values)
        raise ModelError(
            model_unsupported(
                f"The model gives {shapes}, which is not one score for each of {len(labels)} labels "
                f"(label_offset {spec.label_offset}). Give it the label map and offset that belong to it."
            )
        )
    scores = _activate(outputs[0].real().reshape(-1), spec.activation)
    scores = scores[spec.label_offset :]
    min_score = parameters.min_score_for("classification")
    best = np.argsort(-scores, kind="stable")[: parameters.top_k]
    return [
        {"index": int(row), "label": labels[row], "score": round(float(scores[row]), 6)}
        for row in best
        if scores[row] >= min_score
    ]


def detections(
    outputs: Sequence[RawTensor],
    spec: OutputSpec,
    labels: Sequence[str],
    parameters: Parameters,
    size_px: tuple[int, int],
) -> list[dict[str, Any]]:
    """Boxes [x, y, w, h] in pixels of a picture of ``size_px`` (width, height), clipped to it, best first.

    Boxes with nothing left inside the picture are dropped. Raises ModelError when the outputs have another form.
    """
    boxes, ids, scores = _tflite_outputs(outputs) if spec.format == "tflite-detection" else _tf_outputs(outputs)
    min_score = parameters.min_score_for("detection")
    found: list[dict[str, Any]] = []
    for at in np.argsort(-scores, kind="stable"):
        if scores[at] < min_score or len(found) == parameters.max_detections:
            break
        box = _box_px(boxes[at], size_px)
        if box is None:
            continue
        row = round(float(ids[at])) - spec.label_offset
        label = labels[row] if 0 <= row < len(labels) else f"class {row}"
        found.append({"label": label, "class_index": row, "score": round(float(scores[at]), 6), "box": box})
    return found


def _activate(values: Floats, activation: str) -> Floats:
    if activation == "softmax":
        powers: Floats = np.exp(values - values.max())
        values = powers / powers.sum()
    elif activation == "sigmoid":
        values = 0.5 * (1.0 + np.tanh(0.5 * values))  # never overflows, as 1 / (1 + exp(-x)) would
    return values


def _box_px(box: Floats, size_px: tuple[int, int]) -> list[float] | None:
    top, left, bottom, right = (float(side) for side in np.clip(box, 0.0, 1.0))
    width_px, height_px = size_px
    x, y = left * width_px, top * height_px
    w, h = right * width_px - x, bottom * height_px - y
    if w <= 0 or h <= 0:
        return None
    return [round(side, 2) for side in (x, y, w, h)]


def _tflite_outputs(outputs: Sequence[RawTensor]) -> tuple[Floats, Floats, Floats]:
    # The fourth output, the count, is always N in real files: the scores alone say what was found.
    if len(outputs) < 3:
        raise ModelError(
            model_unsupported(f"A detector gives boxes, classes and scores; this one {len(outputs)} output.")
        )
    return _checked(outputs[0].real(), outputs[1].real(), outputs[2].real())


def _tf_outputs(outputs: Sequence[RawTensor]) -> tuple[Floats, Floats, Floats]:
    named: Mapping[str, RawTensor] = {output.name: output for output in outputs}
    try:
        boxes, ids, scores = (named[f"detection_{name}"].real() for name in ("boxes", "classes", "scores"))
    except KeyError as error:
        raise ModelError(
            model_unsupported(f"The model lacks the output {error}; it has {sorted(named)}.")
        ) from error
    if "num_detections" in named:
        count = int(named["num_detections"].real().reshape(-1)[0])
        boxes, ids, scores = boxes[:, :count], ids[:, :count], scores[:, :count]
    return _checked(boxes, ids, scores)


def _checked(boxes: Floats, ids: Floats, scores: Floats) -> tuple[Floats, Floats, Floats]:
    count = scores.shape[-1] if scores.ndim == 2 else -1
    if boxes.shape != (1, count, 4) or ids.shape != (1, count) or scores.shape != (1, count):
        raise ModelError(
            model_unsupported(
                "A detector's outputs are boxes [1,N,4], classes [1,N] and scores [1,N] in this order; "
                f"this one gives {boxes.shape}, {ids.shape} and {scores.shape}."
            )
        )
    return boxes[0], ids[0], scores[0]
