"""What the demonstration shows: its jobs, and for each of them the one outcome that is right."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darkroom.cli.modelfiles import ModelFile, described, models_folder
from darkroom.simulator.pictures import Picture, read_file
from darkroom.simulator.specimens import Specimen

Job = Mapping[str, Any]
Check = Callable[[Job], str | None]
"""None if the job is as it should be, otherwise what is wrong."""

IOU_MIN = 0.5


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One job. `status` it has to end with, and a `check` of what it then holds."""

    title: str
    model: str
    pictures: Sequence[Picture]
    status: str
    check: Check
    parameters: Mapping[str, float] | None = None


def bundled_exhibits() -> list[Exhibit]:
    """Jobs for the bundled models, on the repository's sample pictures with their ground truth."""
    folder = models_folder() / "samples"
    truth = json.loads((folder / "expected.json").read_text("utf-8"))["pictures"]
    shapes = [name for name, one in truth.items() if "label" in one]
    scenes = [name for name, one in truth.items() if "shapes" in one]
    labels = [truth[name]["label"] for name in shapes]
    boxes = [truth[name]["shapes"] for name in scenes]
    pictures = {name: read_file(folder / name) for name in truth}
    return [
        Exhibit(
            "classification",
            "shapes-classifier",
            [pictures[shapes[0]]],
            "succeeded",
            top_labels(labels[:1]),
        ),
        Exhibit("detection", "shapes-detector", [pictures[scenes[0]]], "succeeded", boxes_at(boxes[:1])),
        Exhibit(
            f"classification, {len(shapes)} pictures",
            "shapes-classifier",
            [pictures[name] for name in shapes],
            "succeeded",
            top_labels(labels),
            {"top_k": 3},
        ),
        Exhibit(
            f"detection, {len(scenes)} pictures",
            "shapes-detector",
            [pictures[name] for name in scenes],
            "succeeded",
            boxes_at(boxes),
        ),
        Exhibit(
            "classification on TensorFlow",
            "shapes-classifier-tf",
            [pictures[name] for name in shapes],
            "succeeded",
            top_labels(labels),
        ),
    ]


def broken_exhibit(pictures: Sequence[Picture]) -> Exhibit:
    """A model whose file is rubbish: accepted at the door, for nobody runs models there, and then failed."""

    def check(job: Job) -> str | None:
        found = (job.get("error") or {}).get("type")
        expected = "urn:darkroom:problem:model-invalid"
        return None if found == expected else f"its problem is {found}, not {expected}"

    return Exhibit("a model that is broken", "garbage", pictures, "failed", check)


@dataclass(frozen=True, slots=True)
class RealModels:
    """Two public models and what they say of a few photos."""

    models: Sequence[ModelFile]
    exhibits: Sequence[Exhibit]


def real_models(work_folder: Path) -> RealModels | None:
    """Real models and photos from the test data (DARKROOM_TESTDATA), if it is there."""
    root = Path(os.environ.get("DARKROOM_TESTDATA") or Path(__file__).resolve().parents[5] / "shared" / "testdata")
    tflite, images, names = root / "models/tflite", root / "images", root / "models/labels"
    if not tflite.is_dir() or not images.is_dir():
        return None
    classifier = described(
        tflite / "mobilenet_v2_1.0_224_quant.tflite",
        work_folder,
        name="mobilenet-v2",
        labels=names / "imagenet_labels_1001.txt",
    )
    detector = described(
        tflite / "ssd_mobilenet_v1_coco_quant.tflite",
        work_folder,
        name="ssd-mobilenet-coco",
        kind="detection",
        labels=names / "coco_labels_90.txt",
    )
    faces = [read_file(images / name) for name in ("grace_hopper.jpg", "cat_720p.jpg", "parrot_macaw.jpg")]
    streets = [read_file(images / name) for name in ("two_beagles.jpg", "dog_bicycle_car.jpg")]
    return RealModels(
        [classifier, detector],
        [
            Exhibit(
                "photos, MobileNet V2",
                "mobilenet-v2",
                faces,
                "succeeded",
                top_labels(["military uniform", "Egyptian cat", "macaw"]),
            ),
            Exhibit(
                "photos, SSD MobileNet",
                "ssd-mobilenet-coco",
                streets,
                "succeeded",
                labels_found([["dog", "dog"], ["bicycle", "car", "person"]]),
                {"min_score": 0.4},
            ),
        ],
    )


def specimen_file(specimen: Specimen, folder: Path) -> ModelFile:
    """A specimen as a file that can be registered."""
    path = folder / f"{specimen.description['name']}.tflite"
    path.write_bytes(specimen.data)
    return ModelFile(specimen.description, path)


def top_labels(expected: Sequence[str]) -> Check:
    """The best class of each input is the expected one."""

    def check(job: Job) -> str | None:
        found = [(r.get("classes") or [{}])[0].get("label") for r in job.get("results") or []]
        return None if found == list(expected) else f"the top classes are {found}, not {list(expected)}"

    return check


def labels_found(expected: Sequence[Sequence[str]]) -> Check:
    """At least these objects were found in each input, each as often as it is named."""

    def check(job: Job) -> str | None:
        results = job.get("results") or []
        if len(results) != len(expected):
            return f"{len(results)} results for {len(expected)} pictures"
        for result, labels in zip(results, expected, strict=True):
            found = [d["label"] for d in result.get("detections") or []]
            missing = [label for label in labels if found.count(label) < list(labels).count(label)]
            if missing:
                return f"{missing} not among {found}"
        return None

    return check


def boxes_at(expected: Sequence[Sequence[Mapping[str, Any]]]) -> Check:
    """Each shape was found where it is: same label, IoU of at least IOU_MIN."""

    def check(job: Job) -> str | None:
        results = job.get("results") or []
        if len(results) != len(expected):
            return f"{len(results)} results for {len(expected)} pictures"
        for result, shapes in zip(results, expected, strict=True):
            found = result.get("detections") or []
            for shape in shapes:
                if not any(d["label"] == shape["label"] and iou(d["box"], shape["box"]) >= IOU_MIN for d in found):
                    return f"the {shape['label']} at {shape['box']} was not found in picture {result.get('input')}"
        return None

    return check


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes [x, y, width, height]."""
    width = max(0.0, min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1]))
    union = a[2] * a[3] + b[2] * b[3] - width * height
    return width * height / union if union > 0 else 0.0
