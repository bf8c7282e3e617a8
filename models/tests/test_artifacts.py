"""The committed artifacts: accurate on pictures they never saw, small, and truly described."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter  # type: ignore[import-untyped]
from PIL import Image
from shapes.evaluation import MATCH_IOU, iou, litert_classifier, litert_detector, mean_average_precision, top_1
from shapes.outlines import CLASSES, DETECTED

MODELS = Path(__file__).resolve().parents[1]
BUNDLED = MODELS / "bundled"
SAMPLES = MODELS / "samples"
NAMES = ("shapes-classifier", "shapes-classifier-tf", "shapes-detector")
SIZE_BYTES_MAX = 2_000_000
SAMPLES_BYTES_MAX = 150_000
SURE = 0.4


def described(name: str) -> dict[str, Any]:
    description: dict[str, Any] = json.loads((BUNDLED / name / "description.json").read_text())
    return description


def interpreter(name: str) -> Any:
    return Interpreter(model_content=(BUNDLED / name / "model.tflite").read_bytes())


def test_the_classifier_names_unseen_shapes() -> None:
    classify = litert_classifier(BUNDLED / "shapes-classifier" / "model.tflite")
    assert top_1(classify, pictures=320) >= 0.95


def test_the_detector_finds_unseen_shapes() -> None:
    detect = litert_detector(BUNDLED / "shapes-detector" / "model.tflite")
    assert mean_average_precision(detect, scenes=80) >= 0.9


def test_the_artifacts_are_small_together() -> None:
    files = [path for name in NAMES for path in (BUNDLED / name).iterdir() if path.name.startswith("model.")]
    assert len(files) == len(NAMES)
    assert sum(path.stat().st_size for path in files) < SIZE_BYTES_MAX


@pytest.mark.parametrize(
    ("name", "labels"),
    [("shapes-classifier", CLASSES), ("shapes-classifier-tf", CLASSES), ("shapes-detector", DETECTED)],
)
def test_descriptions_name_the_model_and_its_classes(name: str, labels: tuple[str, ...]) -> None:
    description = described(name)
    assert description["name"] == name
    assert description["labels"] == list(labels)


@pytest.mark.parametrize("name", ["shapes-classifier", "shapes-detector"])
def test_descriptions_agree_with_the_input_tensor(name: str) -> None:
    (entrance,) = interpreter(name).get_input_details()
    promised = described(name)["input"]
    assert list(entrance["shape"]) == [1, promised["height_px"], promised["width_px"], 3]
    assert np.dtype(entrance["dtype"]).name == promised["dtype"]


def test_raw_pixels_are_the_classifiers_quantised_input() -> None:
    (entrance,) = interpreter("shapes-classifier").get_input_details()
    scale, zero = entrance["quantization"]
    assert described("shapes-classifier")["input"]["normalization"] is None
    assert scale * (np.array([0, 255]) - zero) == pytest.approx([-1, 1], abs=0.01)


def test_the_detector_answers_as_public_tflite_detectors_do() -> None:
    model = interpreter("shapes-detector")
    shapes = [tuple(exit_["shape"]) for exit_ in model.get_output_details()]
    most = shapes[1][1]
    assert shapes == [(1, most, 4), (1, most), (1, most), (1,)]


def test_an_empty_picture_holds_no_certain_shape() -> None:
    detect = litert_detector(BUNDLED / "shapes-detector" / "model.tflite")
    _, _, scores = detect(Image.new("RGB", (200, 150), (90, 120, 160)))
    assert not (scores >= SURE).any()


def expected_pictures() -> dict[str, Any]:
    pictures: dict[str, Any] = json.loads((SAMPLES / "expected.json").read_text())["pictures"]
    return pictures


@pytest.mark.parametrize(("file_name", "truth"), expected_pictures().items())
def test_samples_are_recognised(file_name: str, truth: dict[str, Any]) -> None:
    with Image.open(SAMPLES / file_name) as opened:
        picture = opened.convert("RGB")
    path = BUNDLED / truth["model"] / "model.tflite"
    if "label" in truth:
        assert CLASSES[int(litert_classifier(path)(picture).argmax())] == truth["label"]
        return
    boxes, labels, scores = litert_detector(path)(picture)
    sure = scores >= SURE
    assert sorted(DETECTED[label] for label in labels[sure]) == sorted(s["label"] for s in truth["shapes"])
    for shape in truth["shapes"]:
        x, y, w, h = shape["box"]
        drawn = np.array([y, x, y + h, x + w], np.float32) / np.tile(picture.size[::-1], 2)
        assert iou(drawn, boxes[sure][labels[sure] == DETECTED.index(shape["label"])]).max() >= MATCH_IOU


def test_samples_are_small_and_all_described() -> None:
    pictures = [path for path in SAMPLES.iterdir() if path.suffix in {".jpg", ".png"}]
    assert {path.name for path in pictures} == set(expected_pictures())
    assert sum(path.stat().st_size for path in pictures) < SAMPLES_BYTES_MAX
