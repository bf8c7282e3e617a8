"""Measures artifacts as the service runs them: Pillow's resize, then the artifact itself."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter  # type: ignore[import-untyped]
from numpy.typing import NDArray
from PIL import Image

from .datasets import UNSEEN_SEED, UNSEEN_SIDE_PX, Boxes, Labels, Pixels, resized, scene, single
from .outlines import DETECTED

Scores = NDArray[np.float32]
Classify = Callable[[Image.Image], Scores]
Detect = Callable[[Image.Image], tuple[Boxes, Labels, Scores]]

MATCH_IOU = 0.5


def litert_classifier(path: Path) -> Classify:
    """The classifier in a `.tflite` file with uint8 input and output: picture to probabilities."""
    run, side_px = _litert(path)

    def classify(picture: Image.Image) -> Scores:
        scores: Scores = run(resized(picture, side_px))[0][0]
        return scores

    return classify


def litert_detector(path: Path) -> Detect:
    """The detector in a `.tflite` file with float32 input in -1..1: picture to boxes, classes and scores."""
    run, side_px = _litert(path)

    def detect(picture: Image.Image) -> tuple[Boxes, Labels, Scores]:
        boxes, classes, scores, count = run((resized(picture, side_px).astype(np.float32) - 127.5) / 127.5)
        found = int(count[0])
        return boxes[0, :found], classes[0, :found].astype(np.int64), scores[0, :found]

    return detect


def top_1(classify: Classify, pictures: int, seed: int = UNSEEN_SEED) -> float:
    """The share of `pictures` pictures of `seed` whose best class is the drawn one."""
    hits = 0
    for number in range(pictures):
        picture, label = single(seed, UNSEEN_SIDE_PX, number)
        hits += int(classify(picture).argmax()) == label
    return hits / pictures


def mean_average_precision(detect: Detect, scenes: int, seed: int = UNSEEN_SEED) -> float:
    """mAP at IoU 0.5 over `scenes` scenes: the mean over classes of the area under precision/recall.

    The area is that under the interpolated curve at all points, as in Pascal VOC 2010 and later.
    """
    expected: list[tuple[Boxes, Labels]] = []
    found: list[tuple[Boxes, Labels, Scores]] = []
    for number in range(scenes):
        picture, boxes, labels = scene(seed, UNSEEN_SIDE_PX, number)
        expected.append((boxes, labels))
        found.append(detect(picture))
    return float(np.mean([_average_precision(expected, found, label) for label in range(len(DETECTED))]))


def _average_precision(
    expected: list[tuple[Boxes, Labels]], found: list[tuple[Boxes, Labels, Scores]], label: int
) -> float:
    wanted = [boxes[labels == label] for boxes, labels in expected]
    claims = [
        (float(score), number, box)
        for number, (boxes, labels, scores) in enumerate(found)
        for box, claimed, score in zip(boxes, labels, scores, strict=True)
        if claimed == label
    ]
    claims.sort(key=lambda claim: -claim[0])
    taken = [np.zeros(len(boxes), dtype=bool) for boxes in wanted]
    hits = np.zeros(len(claims))
    for rank, (_, number, box) in enumerate(claims):
        overlaps = iou(box, wanted[number]) * ~taken[number]  # each drawn shape counts once
        if len(overlaps) and overlaps.max() >= MATCH_IOU:
            taken[number][overlaps.argmax()] = True
            hits[rank] = 1
    total = sum(len(boxes) for boxes in wanted)
    precision = np.cumsum(hits) / np.arange(1, len(claims) + 1)
    ceiling = np.maximum.accumulate(precision[::-1])[::-1]
    return float((ceiling * hits).sum() / total)


def iou(box: Boxes, others: Boxes) -> NDArray[np.float32]:
    """How far `box`, `[4]`, and each of `others`, `[n, 4]`, cover each other, 0..1."""
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[2:], others[:, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    area = np.prod(box[2:] - box[:2]) + np.prod(others[:, 2:] - others[:, :2], axis=1)
    return np.asarray(shared / (area - shared), dtype=np.float32)


def _litert(path: Path) -> tuple[Callable[[Pixels | Scores], list[Scores]], int]:
    """Runs one input to all outputs, de-quantised and in order; and the input's side in pixels."""
    interpreter = Interpreter(model_content=path.read_bytes(), num_threads=1)
    interpreter.allocate_tensors()
    (entrance,) = interpreter.get_input_details()

    def run(pixels: Pixels | Scores) -> list[Scores]:
        interpreter.set_tensor(entrance["index"], pixels[None].astype(entrance["dtype"]))
        interpreter.invoke()
        return [
            _plain(interpreter.get_tensor(e["index"]), e["quantization"]) for e in interpreter.get_output_details()
        ]

    return run, int(entrance["shape"][1])


def _plain(values: NDArray[np.generic], quantization: tuple[float, int]) -> Scores:
    scale, zero = quantization
    plain = values.astype(np.float32)
    return (plain - np.float32(zero)) * np.float32(scale) if scale else plain
