"""What a model's file says of itself is found in it; what it does not say is asked for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from darkroom.executor.describe import PREPROCESSING, DescribeError, describe_file
from darkroom.executor.description import Normalization

NAMES = {
    "uint8": "raw",
    "none_uint8_full_size": "raw",
    "float_pm1": "minus-one-to-one",
    "float_01": "zero-to-one",
    "int8_minus128": "zero-to-one",
    "nchw_imagenet_int8": "imagenet",
}
SILENT = {"mobilenet_v1_0.25_224_float", "vww_96_float"}  # float TFLite files without metadata


def test_all_of_a_description_but_silent_preprocessing_is_found_in_the_files(
    testdata: Path, expected: Mapping[str, Any], tmp_path: Path
) -> None:
    seen = 0
    for name, model in expected["models"].items():
        if model["kind"] not in ("classification", "detection"):
            continue
        if name in SILENT:
            with pytest.raises(DescribeError, match="Give --preprocessing"):
                describe_file(testdata / model["path"], tmp_path, labels=testdata / model["labels"])
            continue
        seen += 1
        found = describe_file(testdata / model["path"], tmp_path, labels=testdata / model["labels"]).description
        assert found["kind"] == model["kind"], name
        wanted = PREPROCESSING[NAMES[model["preprocessing"]]]
        got = found["input"]["normalization"]
        assert (got and Normalization(tuple(got["mean"]), tuple(got["std"]))) == wanted, name
        assert found["output"]["activation"] == (
            "softmax" if "softmax" in model.get("postprocessing", "") else "none"
        ), name
        assert found["input"]["layout"] == ("NCHW" if "nchw" in name else "NHWC")
        shape = [
            1 if size in (None, -1) and at == 0 else size for at, size in enumerate(model["inputs"][0]["shape"])
        ]
        sizes = [found["input"]["height_px"], found["input"]["width_px"]]
        assert sizes == (shape[2:] if "nchw" in name else shape[1:3])
        assert found["input"]["dtype"] == model["inputs"][0]["dtype"]
    assert seen == 11


def test_labels_packed_with_the_model_are_used(testdata: Path, tmp_path: Path) -> None:
    path = testdata / "models/tflite/mobilenet_v1_0.25_224_quant_metadata.tflite"
    found = describe_file(path, tmp_path)
    assert found.description["labels"]["count"] == 1001
    assert b'"Egyptian cat"' in found.labels
    assert found.description["name"] == "mobilenet_v1_0.25_224_quant_metadata"
    assert found.artifact_path == path
    assert found.description["artifact"] == {
        "digest": "sha256:e480eb15572f86d3d5f1be6e83e35b3c7d509ab2bcec353707d1f614e14edca2",
        "size_bytes": 508_786,
        "format": "tflite",
    }


def test_a_background_class_that_the_labels_leave_out_becomes_an_offset(testdata: Path, tmp_path: Path) -> None:
    path = testdata / "models/tflite/mobilenet_v2_1.0_224_quant_logits.tflite"
    found = describe_file(path, tmp_path, labels=testdata / "models/labels/imagenet_labels_1000.txt")
    assert found.description["output"]["label_offset"] == 1
    with pytest.raises(DescribeError, match="1001 scores and there are 90 labels"):
        describe_file(path, tmp_path, labels=testdata / "models/labels/coco_labels_90.txt")


@pytest.mark.parametrize(
    ("path", "more", "words"),
    [
        ("models/tflite/ssd_mobilenet_v1_coco_quant.tflite", {}, "carries no labels"),
        ("models/savedmodel/vww_96_person", {}, "carries no labels"),
        ("models/tflite/deeplabv3_257_float_metadata.tflite", {}, "neither classes nor boxes"),
        ("models/tflite/movenet_singlepose_lightning_192_ptq.tflite", {}, "neither classes nor boxes"),
        ("models/tflite/vww_96_int8.tflite", {"kind": "detection"}, "no detection model"),
        ("models/tflite/vww_96_int8.tflite", {"kind": "poetry"}, "not one of"),
        ("models/tflite/vww_96_int8.tflite", {"labels": ["a", "b"], "preprocessing": "magic"}, "not one of"),
        ("models/tflite/vww_96_int8.tflite", {"labels": Path("/nowhere")}, "label file cannot be read"),
        ("models/labels", {}, "not a SavedModel"),
        ("images/banana.jpg", {}, "not a TFLite model"),
        ("nothing", {}, "There is no file or folder"),
    ],
)
def test_what_is_missing_or_wrong_is_said(
    path: str, more: dict[str, Any], words: str, testdata: Path, tmp_path: Path
) -> None:
    with pytest.raises(DescribeError, match=words):
        describe_file(testdata / path, tmp_path, **more)


def test_a_folder_and_an_archive_of_it_are_the_same_model(testdata: Path, tmp_path: Path) -> None:
    folder = describe_file(testdata / "models/savedmodel/vww_96_person", tmp_path, labels=["no", "yes"])
    assert folder.artifact_path.name == "vww_96_person.tar.gz"
    archive = describe_file(folder.artifact_path, tmp_path, labels=["no", "yes"])
    assert archive.description == folder.description
