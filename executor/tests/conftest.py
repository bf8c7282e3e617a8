"""The real models and photos of the test data, described and ready to run; children shared by the whole session."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from darkroom.executor.describe import Described, describe_file
from darkroom.executor.outcomes import Picture, RunRequest
from darkroom.executor.pool import ChildPool, make_pool

PREPROCESSING = {
    "uint8": "raw",
    "none_uint8_full_size": "raw",
    "float_pm1": "minus-one-to-one",
    "float_01": "zero-to-one",
    "int8_minus128": "zero-to-one",
    "nchw_imagenet_int8": "imagenet",
}


@pytest.fixture(scope="session")
def testdata() -> Path:
    root = Path(__file__).resolve().parents[2]
    folder = Path(os.environ.get("DARKROOM_TESTDATA", root / "../shared/testdata")).resolve()
    if not (folder / "expected.json").is_file():
        pytest.fail(f"no test data at {folder}: set DARKROOM_TESTDATA to the folder that holds expected.json")
    return folder


@pytest.fixture(scope="session")
def expected(testdata: Path) -> Mapping[str, Any]:
    with (testdata / "expected.json").open() as file:
        return json.load(file)


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChildPool]:
    pool = make_pool(tmp_path_factory.mktemp("children"), litert_children=1)
    yield pool
    pool.close()


@pytest.fixture(scope="session")
def described(
    testdata: Path, expected: Mapping[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Described, Path]]:
    """A model of expected.json by name: its description, and the path of its label map."""
    known: dict[str, tuple[Described, Path]] = {}

    def describe(name: str) -> tuple[Described, Path]:
        if name not in known:
            work = tmp_path_factory.mktemp("described")
            model = expected["models"][name]
            result = describe_file(
                testdata / model["path"],
                work,
                name=name,
                labels=testdata / model["labels"],
                preprocessing=PREPROCESSING[model["preprocessing"]],
            )
            labels = work / "labels.json"
            labels.write_bytes(result.labels)
            known[name] = (result, labels)
        return known[name]

    return describe


@pytest.fixture(scope="session")
def request_for(described: Callable[[str], tuple[Described, Path]], testdata: Path) -> Callable[..., RunRequest]:
    """A request for a model of expected.json on pictures (paths in the test data, or bytes)."""

    def make(name: str, pictures: list[str | bytes], **parameters: Any) -> RunRequest:
        result, labels = described(name)
        contents = [
            picture if isinstance(picture, bytes) else (testdata / picture).read_bytes() for picture in pictures
        ]
        return RunRequest(
            key=name,
            model=result.description,
            artifact_path=result.artifact_path,
            labels_path=labels,
            pictures=tuple(Picture("", content) for content in contents),
            parameters=parameters,
        )

    return make
