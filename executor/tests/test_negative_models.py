"""Models that cannot run are refused with a sentence that helps, by the description and by the child alike."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from darkroom.executor import tflitefile
from darkroom.executor.describe import DescribeError, describe_file
from darkroom.executor.digests import sha256_of
from darkroom.executor.outcomes import ModelRefused, Outcome, RunRequest, Succeeded
from darkroom.executor.pool import ChildPool
from darkroom.executor.problems import ModelError

EDGE_TPU = "models/negative/mobilenet_v1_0.25_128_quant_edgetpu.tflite"
BAD_QUANTIZATION = "models/negative/person_detect_tflm_bad_quant_dim.tflite"


@pytest.fixture
def run_file(pool: ChildPool, request_for: Callable[..., RunRequest], tmp_path: Path) -> Callable[..., Outcome]:
    """Run any bytes as the model of an otherwise good request."""

    def run(content: bytes, like: str = "vww_96_int8", **changes: Any) -> Outcome:
        good = request_for(like, ["images/banana.jpg"])
        path = tmp_path / "model"
        path.write_bytes(content)
        artifact = {**good.model["artifact"], "digest": sha256_of(content)}
        model = {**good.model, "artifact": artifact, **changes}
        outcome = pool.run(RunRequest("bad", model, path, good.labels_path, good.pictures, {}), 60.0)
        assert isinstance(pool.run(good, 60.0), Succeeded), "the child does not work any more"
        return outcome

    return run


def test_a_model_for_an_accelerator_is_unsupported(testdata: Path, run_file: Callable[..., Outcome]) -> None:
    outcome = run_file((testdata / EDGE_TPU).read_bytes())
    assert isinstance(outcome, ModelRefused)
    assert outcome.problem.type == "urn:darkroom:problem:model-unsupported"
    assert "edgetpu-custom-op" in outcome.problem.detail
    assert "accelerator" in outcome.problem.detail
    with pytest.raises(DescribeError, match="compiled for an Edge TPU"):
        describe_file(testdata / EDGE_TPU, testdata)


def test_a_model_that_litert_cannot_load_is_invalid(testdata: Path, run_file: Callable[..., Outcome]) -> None:
    outcome = run_file((testdata / BAD_QUANTIZATION).read_bytes())
    assert isinstance(outcome, ModelRefused)
    assert outcome.problem.type == "urn:darkroom:problem:model-invalid"
    assert "quantized_dimension" in outcome.problem.detail
    assert len(outcome.problem.detail) < 400
    with pytest.raises(DescribeError, match="not one RGB picture"):
        describe_file(testdata / BAD_QUANTIZATION, testdata)


@pytest.mark.parametrize(
    "content", [b"garbage" * 50, b"\0\0\0\0TFL3" + b"\xff" * 64], ids=["garbage", "only-the-name"]
)
def test_garbage_is_invalid(content: bytes, run_file: Callable[..., Outcome]) -> None:
    outcome = run_file(content)
    assert isinstance(outcome, ModelRefused), outcome
    assert outcome.problem.type == "urn:darkroom:problem:model-invalid"


def test_garbage_as_saved_model_is_invalid(run_file: Callable[..., Outcome]) -> None:
    outcome = run_file(b"garbage" * 50, like="savedmodel_vww_96_person")
    assert isinstance(outcome, ModelRefused), outcome
    assert outcome.problem.type == "urn:darkroom:problem:model-invalid"
    assert "archive" in outcome.problem.detail


def test_a_description_that_contradicts_the_model_is_refused(
    testdata: Path, run_file: Callable[..., Outcome]
) -> None:
    content = (testdata / "models/tflite/vww_96_int8.tflite").read_bytes()
    for change in (
        {"width_px": 97, "height_px": 96, "dtype": "int8"},
        {"width_px": 96, "height_px": 96, "dtype": "uint8"},
    ):
        outcome = run_file(content, input=change)
        assert isinstance(outcome, ModelRefused)
        assert "the model takes int8" in outcome.problem.detail


def test_the_wrong_kind_of_child_refuses(testdata: Path, run_file: Callable[..., Outcome]) -> None:
    content = (testdata / "models/tflite/vww_96_int8.tflite").read_bytes()
    outcome = run_file(content, kind="detection", output={"format": "tflite-detection"})
    assert isinstance(outcome, ModelRefused)
    assert "boxes, classes and scores" in outcome.problem.detail


def test_a_damaged_file_is_described_or_refused_and_nothing_else(testdata: Path) -> None:
    whole = (testdata / "models/tflite/vww_96_int8.tflite").read_bytes()
    rng = np.random.default_rng(3)
    refused = 0
    for cut in rng.integers(0, len(whole), 40):
        try:
            tflitefile.read(whole[:cut])
        except ModelError:
            refused += 1
    for _ in range(150):
        content = bytearray(whole)
        for at in rng.integers(0, 4000, 30):
            content[at] = rng.integers(0, 256)
        try:
            tflitefile.read(bytes(content))
        except ModelError:
            refused += 1
    assert refused >= 20
