"""Every classifier and detector of the test data, run on its photos in real children, agrees with expected.json."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from PIL import Image

from darkroom.executor.outcomes import RunRequest, Succeeded
from darkroom.executor.pool import ChildPool

CLASSIFIERS = [
    "mobilenet_v2_1.0_224_quant",
    "mobilenet_v2_1.0_224_quant_logits",
    "mobilenet_v1_0.25_224_quant_metadata",
    "mobilenet_v1_0.25_224_float_metadata",
    "mobilenet_v1_0.25_224_float",
    "mobilenet_v2_int8_nchw_1000",
    "vww_96_int8",
    "vww_96_float",
    "savedmodel_mobilenet_v1_025_224_classification",
    "savedmodel_vww_96_person",
]
DETECTORS = [
    "ssd_mobilenet_v1_coco_quant_metadata",
    "ssd_mobilenet_v1_coco_quant",
    "savedmodel_ssd_mobilenet_v1_coco",
]
SCORE_TOLERANCE = 0.0005  # expected.json has four digits
FLOAT_TOLERANCE = 0.002
DEADLINE_S = 60.0


def test_no_model_of_these_kinds_is_left_out(expected: Mapping[str, Any]) -> None:
    kinds = {name: model["kind"] for name, model in expected["models"].items()}
    assert sorted(name for name, kind in kinds.items() if kind == "classification") == sorted(CLASSIFIERS)
    assert sorted(name for name, kind in kinds.items() if kind == "detection") == sorted(DETECTORS)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_agrees(
    name: str, expected: Mapping[str, Any], pool: ChildPool, request_for: Callable[..., RunRequest]
) -> None:
    wanted = _wanted(expected, name)
    outcome = pool.run(request_for(name, [row["image"] for row in wanted]), DEADLINE_S)
    assert isinstance(outcome, Succeeded), outcome
    assert len(outcome.results) == len(wanted) > 20
    stable = 0
    for row, result in zip(wanted, outcome.results, strict=True):
        top = result["classes"][0]
        if row["stable_top1"]:
            stable += 1
            low, high = row["top1_score_range"]
            assert top["label"] == row["top5"][0]["label"], row["image"]
            assert low - SCORE_TOLERANCE <= top["score"] <= high + SCORE_TOLERANCE, row["image"]
        if "float" in name or "savedmodel" in name:  # these do not depend on the kernels: compare all five
            for got, want in zip(result["classes"], row["top5"], strict=True):
                assert got["score"] == pytest.approx(want["score"], abs=FLOAT_TOLERANCE), row["image"]
    assert stable >= 3


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_agrees(
    name: str, expected: Mapping[str, Any], testdata: Any, pool: ChildPool, request_for: Callable[..., RunRequest]
) -> None:
    wanted = _wanted(expected, name)
    outcome = pool.run(request_for(name, [row["image"] for row in wanted], min_score=0.2), DEADLINE_S)
    assert isinstance(outcome, Succeeded), outcome
    checked = 0
    for row, result in zip(wanted, outcome.results, strict=True):
        with Image.open(testdata / row["image"]) as image:
            turned = image.getexif().get(0x0112, 1) >= 5
            width, height = (image.height, image.width) if turned else image.size
        for want in row["detections"]:
            # The SavedModel's entries carry no `stable`; its float results do not depend on the kernels.
            if not want.get("stable", want["score"] >= 0.45):
                continue
            checked += 1
            box = _pixels(want["box"], width, height)
            same = [got for got in result["detections"] if got["label"] == want["label"]]
            best = max((_overlap(got["box"], box) for got in same), default=0.0)
            assert best >= 0.6, (row["image"], want, result["detections"])
            near = [got for got in same if _overlap(got["box"], box) >= 0.6]
            assert any(got["class_index"] == want["class_index"] for got in near)
            assert any(abs(got["score"] - want["score"]) <= 0.05 for got in near), (row["image"], want, near)
        for got in result["detections"]:
            x, y, w, h = got["box"]
            assert x >= 0
            assert y >= 0
            assert w > 0
            assert h > 0
            assert x + w <= width + 0.02
            assert y + h <= height + 0.02
    assert checked >= 50


def test_what_a_result_says_of_its_making(pool: ChildPool, request_for: Callable[..., RunRequest]) -> None:
    request = request_for("vww_96_int8", ["images/grace_hopper.jpg"], top_k=1)
    first, second = (pool.run(request, DEADLINE_S) for _ in range(2))
    assert isinstance(first, Succeeded)
    assert isinstance(second, Succeeded)
    assert first.results == second.results
    assert first.provenance == second.provenance
    assert second.timing["model_load_ms"] == 0.0 < second.timing["decode_ms"]
    assert second.timing["inference_ms"] > 0
    provenance = second.provenance
    assert provenance["model"]["digest"].removeprefix("sha256:").startswith("597a384c8c2c8a12")
    assert provenance["labels"] == request.model["labels"]["digest"]
    assert provenance["inputs"] == ["sha256:a8ca6d734765703b09728ab47fe59f473d93ae3967fc24c7c0288c3c7adb7130"]
    assert {"ai-edge-litert", "numpy", "pillow"} == set(provenance["runtime"]["versions"])
    assert provenance["preprocessing"]["resize"] == {"to_px": [96, 96], "filter": "bilinear"}
    assert provenance["parameters"]["top_k"] == 1 == len(second.results[0]["classes"])


def _wanted(expected: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    rows = [row for row in expected["results"] if row.get("model") == name]
    return [row for row in rows if "#" not in row["image"]]  # "#exif_ignored": what this service must not give


def _pixels(box: list[float], width: int, height: int) -> list[float]:
    top, left, bottom, right = (min(max(side, 0.0), 1.0) for side in box)
    return [left * width, top * height, (right - left) * width, (bottom - top) * height]


def _overlap(a: list[float], b: list[float]) -> float:
    """Intersection over union of two boxes [x, y, w, h]."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (a[2] * a[3] + b[2] * b[3] - width * height)
