"""The catalogue of public models is well formed; that its entries run shows only where there is a network."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

MODELS = Path(__file__).resolve().parents[1]
CATALOGUE: dict[str, Any] = json.loads((MODELS / "catalogue.json").read_text())
ENTRIES: list[dict[str, Any]] = CATALOGUE["models"]
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
FORMATS = {
    ("classification", "litert"): "scores",
    ("classification", "tf-savedmodel"): "scores",
    ("detection", "litert"): "tflite-detection",
    ("detection", "tf-savedmodel"): "tf-detection",
}


def test_at_least_six_models_each_with_a_name_of_its_own() -> None:
    names = [entry["name"] for entry in ENTRIES]
    assert len(names) >= 6
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: str(entry["name"]))
def test_an_entry_says_all_that_running_it_needs(entry: dict[str, Any]) -> None:
    assert entry["output"]["format"] == FORMATS[entry["kind"], entry["runtime"]]
    assert entry["output"]["activation"] in {"none", "softmax", "sigmoid"}
    assert entry["input"].keys() == {"width_px", "height_px", "layout", "dtype", "normalization"}
    assert entry["labels"]["set"] in CATALOGUE["label_sets"]
    assert entry["licence"]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: str(entry["name"]))
def test_an_entry_says_where_its_files_are(entry: dict[str, Any]) -> None:
    source = entry["source"]
    if source["type"] == "hub":
        assert source["handle"].startswith("https://tfhub.dev/")
        assert source["handle"].endswith(f"/{entry['version']}")
    else:
        # A plain file may change under its address: only its digest names it.
        assert source["type"] == "url"
        assert source["url"].startswith("https://")
        assert DIGEST.fullmatch(entry["artifact"]["digest"])
        assert entry["artifact"]["size_bytes"] > 0


@pytest.mark.parametrize("name", CATALOGUE["label_sets"])
def test_label_sets_are_pinned(name: str) -> None:
    labels = CATALOGUE["label_sets"][name]
    assert DIGEST.fullmatch(labels["digest"])
    assert labels["count"] > 0
