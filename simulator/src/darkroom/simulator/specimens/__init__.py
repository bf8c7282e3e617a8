"""Models that misbehave on purpose: what a service must survive, and show, can only be seen with one of these."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from random import Random
from typing import Any

LABELS = ("yes", "no")


@dataclass(frozen=True, slots=True)
class Specimen:
    """A model as it is registered: `description` as in a bundled model's description.json, `data` its file."""

    description: Mapping[str, Any]
    data: bytes


def garbage(size_bytes: int = 4096, seed: int = 1) -> Specimen:
    """Calls itself a TensorFlow Lite file and goes on with noise: registered, and then refused by the runtime."""
    return Specimen(
        _description("garbage"),
        b"\x1c\x00\x00\x00TFL3" + Random(seed).randbytes(size_bytes),
    )


def endless() -> Specimen:
    """Computes for ever: its runs end by a cancel or at their deadline, never by themselves. Made by
    tools/make_endless.py."""
    return Specimen(
        _description("endless"),
        files(__package__).joinpath("endless.tflite").read_bytes(),
    )


def _description(name: str) -> Mapping[str, Any]:
    return {
        "name": name,
        "version": "1",
        "kind": "classification",
        "runtime": "litert",
        "input": {"width_px": 8, "height_px": 8, "layout": "NHWC", "dtype": "float32", "normalization": None},
        "output": {"format": "scores", "activation": "none", "label_offset": 0},
        "labels": list(LABELS),
    }
