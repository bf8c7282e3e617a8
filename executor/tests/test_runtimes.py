"""The two runtimes' less common ways: free sizes on LiteRT, models without a signature on TensorFlow."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from darkroom.executor import archive
from darkroom.executor.digests import sha256_of_file
from darkroom.executor.litert import LiteRT
from darkroom.executor.outcomes import ModelRefused, RunRequest, Succeeded
from darkroom.executor.pool import ChildPool
from darkroom.executor.problems import ModelError


def test_litert_resizes_a_free_input_and_refuses_a_fixed_one(testdata: Path, tmp_path: Path) -> None:
    model = LiteRT(1).load((testdata / "models/tflite/vww_96_float.tflite").read_bytes(), tmp_path)
    assert model.input.shape == (None, 96, 96, 3)
    for batch in (1, 3, 1):
        (output,) = model.invoke(np.zeros((batch, 96, 96, 3), np.float32))
        assert output.values.shape == (batch, 2)
    with pytest.raises(ModelError, match="failed while running"):
        model.invoke(np.zeros((1, 95, 96, 3), np.float32))
    with pytest.raises(ModelError, match="failed while running"):
        model.invoke(np.zeros((1, 96, 96, 3), np.uint8))


@pytest.fixture
def without_signature(testdata: Path, tmp_path: Path) -> Callable[[str, RunRequest], RunRequest]:
    """A request for a SavedModel of the test data whose signatures are there under another name only."""

    def make(name: str, like: RunRequest) -> RunRequest:
        folder = tmp_path / name
        shutil.copytree(testdata / "models/savedmodel" / name, folder, copy_function=shutil.copyfile)
        folder.chmod(0o755)
        graph = folder / "saved_model.pb"
        content = graph.read_bytes()
        renamed = content.replace(b"\x12\nsignatures", b"\x12\nsignaturez")
        assert renamed != content
        graph.write_bytes(renamed)
        packed = tmp_path / f"{name}.tar.gz"
        with packed.open("wb") as into:
            archive.pack(folder, into)
        model = {**like.model, "artifact": {"digest": sha256_of_file(packed), "format": "tar.gz"}}
        return RunRequest(name, model, packed, like.labels_path, like.pictures, like.parameters)

    return make


def test_a_model_without_signature_is_called_as_it_is(
    pool: ChildPool,
    request_for: Callable[..., RunRequest],
    without_signature: Callable[[str, RunRequest], RunRequest],
) -> None:
    usual = request_for("savedmodel_mobilenet_v1_025_224_classification", ["images/pizza.jpg"], top_k=3)
    by_signature = pool.run(usual, 60.0)
    called = pool.run(without_signature("mobilenet_v1_025_224_classification", usual), 60.0)
    assert isinstance(by_signature, Succeeded), by_signature
    assert isinstance(called, Succeeded), called
    assert called.results == by_signature.results


def test_a_model_with_neither_is_refused(
    pool: ChildPool,
    request_for: Callable[..., RunRequest],
    without_signature: Callable[[str, RunRequest], RunRequest],
) -> None:
    outcome = pool.run(
        without_signature("vww_96_person", request_for("savedmodel_vww_96_person", ["images/pizza.jpg"])), 60.0
    )
    assert isinstance(outcome, ModelRefused), outcome
    assert "no serving_default signature" in outcome.problem.detail
