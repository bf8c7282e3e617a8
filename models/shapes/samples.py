"""Writes a few sample pictures of an unseen seed, and what is drawn on them."""

import json
from itertools import islice
from pathlib import Path
from typing import Any

from .datasets import SAMPLES_SEED, generator
from .drawing import draw_scene, draw_single

SINGLES = ("star", "heart", "arrow")
SCENES = 3
SCENE_SHAPES_MIN = 3
SCENE_TRIES = 100
SINGLE_SIDE_PX = (240, 280)
SCENE_SIDE_PX = (320, 360)


def write(folder: Path) -> None:
    """The pictures and `expected.json`; boxes are `[x, y, w, h]` in pixels from the top left corner."""
    folder.mkdir(parents=True, exist_ok=True)
    expected: dict[str, Any] = {}
    for number, label in enumerate(SINGLES):
        picture = draw_single(generator(SAMPLES_SEED, number), label, SINGLE_SIDE_PX)
        name = f"{label}.jpg"
        picture.save(folder / name, quality=88)
        expected[name] = {"model": "shapes-classifier", "label": label}
    tried = (draw_scene(generator(SAMPLES_SEED, 100 + n), SCENE_SIDE_PX) for n in range(SCENE_TRIES))
    full = (drawn for drawn in tried if len(drawn.labels) >= SCENE_SHAPES_MIN)
    for number, drawn in enumerate(islice(full, SCENES), start=1):
        name = f"scene-{number}.jpg"
        drawn.picture.save(folder / name, quality=88)
        expected[name] = {
            "model": "shapes-detector",
            "shapes": [
                {"label": label, "box": [round(edge, 1) for edge in box]}
                for label, box in zip(drawn.labels, drawn.boxes, strict=True)
            ],
        }
    text = json.dumps({"pictures": expected}, indent=2)
    (folder / "expected.json").write_text(text + "\n", encoding="utf-8")
