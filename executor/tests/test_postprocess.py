"""Raw outputs become ordered, bounded, finite entries."""

import numpy as np
import pytest

from darkroom.executor import postprocess
from darkroom.executor.description import OutputSpec, Parameters
from darkroom.executor.problems import ModelError
from darkroom.executor.tensors import Quantization, RawTensor

LABELS = ["person", "???", "dog"]
SCORES = OutputSpec("scores", "none", 0)
TFLITE = OutputSpec("tflite-detection", "none", 0)
TF = OutputSpec("tf-detection", "none", 1)


def row(*values: float, quantization: Quantization | None = None, dtype: type = np.float32) -> list[RawTensor]:
    return [RawTensor("scores", np.array([values], dtype), quantization)]


def tflite(boxes: list[list[float]], ids: list[float], scores: list[float]) -> list[RawTensor]:
    arrays = [np.array([values], np.float32) for values in (boxes, ids, scores)]
    return [RawTensor(f"out:{at}", array) for at, array in enumerate([*arrays, np.array([10.0], np.float32)])]


def test_classes_come_best_first_ties_by_index_rounded() -> None:
    found = postprocess.classes(row(0.2, 0.6000001, 0.2), SCORES, LABELS, Parameters())
    assert [(entry["index"], entry["label"], entry["score"]) for entry in found] == [
        (1, "???", 0.6),
        (0, "person", 0.2),
        (2, "dog", 0.2),
    ]
    assert all(type(entry["score"]) is float and type(entry["index"]) is int for entry in found)


def test_top_k_and_min_score_cut() -> None:
    scores = row(0.5, 0.3, 0.2)
    assert len(postprocess.classes(scores, SCORES, LABELS, Parameters(top_k=1))) == 1
    assert len(postprocess.classes(scores, SCORES, LABELS, Parameters(min_score=0.3 - 1e-6))) == 2
    assert postprocess.classes(scores, SCORES, LABELS, Parameters(min_score=1.0)) == []


def test_quantised_logits_are_dequantised_before_the_softmax() -> None:
    outputs = row(58, 68, 58, quantization=Quantization(0.1, 58), dtype=np.uint8)
    found = postprocess.classes(outputs, OutputSpec("scores", "softmax", 0), LABELS, Parameters())
    e = np.exp(1.0)
    assert found[0]["score"] == pytest.approx(e / (e + 2), abs=1e-6)
    assert sum(entry["score"] for entry in found) == pytest.approx(1.0, abs=3e-6)


def test_activations_do_not_overflow() -> None:
    for activation in ("softmax", "sigmoid"):
        found = postprocess.classes(row(1e30, -1e30, 0), OutputSpec("scores", activation, 0), LABELS, Parameters())
        assert [found[0]["score"], found[-1]["score"]] == [1.0, 0.0]
    half = postprocess.classes(row(0, 0, 0), OutputSpec("scores", "sigmoid", 0), LABELS, Parameters())
    assert {entry["score"] for entry in half} == {0.5}


def test_a_label_offset_leaves_the_background_out() -> None:
    found = postprocess.classes(
        row(0.9, 0.1, 0.0, 0.0), OutputSpec("scores", "none", 1), LABELS, Parameters(top_k=1)
    )
    assert found == [{"index": 0, "label": "person", "score": pytest.approx(0.1)}]


@pytest.mark.parametrize("values", [(0.1, 0.2), (0.1, 0.2, 0.3, 0.4)])
def test_a_label_map_of_another_length_is_refused_not_guessed(values: tuple[float, ...]) -> None:
    with pytest.raises(ModelError) as caught:
        postprocess.classes(row(*values), SCORES, LABELS, Parameters())
    assert caught.value.problem.type.endswith(":model-unsupported")
    assert "3 labels" in caught.value.problem.detail


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_the_models_error(bad: float) -> None:
    with pytest.raises(ModelError, match="not numbers"):
        postprocess.classes(row(bad, 0.1, 0.2), SCORES, LABELS, Parameters())
    with pytest.raises(ModelError, match="not numbers"):
        postprocess.detections(tflite([[0, 0, 1, 1]], [0], [bad]), TFLITE, LABELS, Parameters(), (10, 10))


def test_boxes_are_clipped_in_pixels_and_empty_ones_dropped() -> None:
    outputs = tflite(
        [[-0.1, -0.2, 0.5, 0.25], [0.5, 0.5, 0.4, 0.6], [1.1, 0, 1.2, 1], [0, 0, 0, 0], [0.1, 0.1, 0.9, 1.9]],
        [2, 0, 0, 0, 1],
        [0.5, 0.9, 0.8, 0.7, 0.6],
    )
    found = postprocess.detections(outputs, TFLITE, LABELS, Parameters(), (200, 100))
    assert found == [
        {"label": "???", "class_index": 1, "score": pytest.approx(0.6, abs=1e-6), "box": [20.0, 10.0, 180.0, 80.0]},
        {"label": "dog", "class_index": 2, "score": 0.5, "box": [0.0, 0.0, 50.0, 50.0]},
    ]


def test_detections_have_a_floor_and_a_bound() -> None:
    outputs = tflite([[0, 0, 1, 1]] * 4, [0, 0, 0, 7], [0.9, 0.3, 0.25, 0.24])
    run = postprocess.detections
    assert len(run(outputs, TFLITE, LABELS, Parameters(), (10, 10))) == 3
    assert len(run(outputs, TFLITE, LABELS, Parameters(max_detections=1), (10, 10))) == 1
    everything = run(outputs, TFLITE, LABELS, Parameters(min_score=0.0), (10, 10))
    assert everything[-1]["label"] == "class 7"


def test_tf_ids_count_from_one_and_num_detections_cuts() -> None:
    outputs = [
        RawTensor("detection_boxes", np.array([[[0, 0, 1, 1], [0, 0, 1, 1]]], np.float32)),
        RawTensor("detection_classes", np.array([[3.0, 1.0]], np.float32)),
        RawTensor("detection_scores", np.array([[0.7, 0.6]], np.float32)),
        RawTensor("num_detections", np.array([1.0], np.float32)),
    ]
    (found,) = postprocess.detections(outputs, TF, LABELS, Parameters(), (4, 4))
    assert (found["label"], found["class_index"], found["box"]) == ("dog", 2, [0.0, 0.0, 4.0, 4.0])
    with pytest.raises(ModelError, match="detection_scores"):
        postprocess.detections(outputs[:2], TF, LABELS, Parameters(), (4, 4))


def test_outputs_in_another_order_are_refused() -> None:
    boxes, ids, scores, count = tflite([[0, 0, 1, 1]], [0], [0.9])
    with pytest.raises(ModelError, match="in this order"):
        postprocess.detections([scores, boxes, count, ids], TFLITE, LABELS, Parameters(), (4, 4))
    with pytest.raises(ModelError, match="1 output"):
        postprocess.detections([boxes], TFLITE, LABELS, Parameters(), (4, 4))
