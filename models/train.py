"""Trains, packs and measures the bundled models.

    python models/train.py                   # all three models and the samples
    python models/train.py --only detector   # one of: classifier, detector, samples
    python models/train.py --evaluate        # measures the artifacts as they stand, trains nothing

Everything is drawn and trained from fixed seeds. TensorFlow is imported late: the processes that only draw
import this file too, and must stay light.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shapes import samples
from shapes.bundle import flat_archive, write_artifact
from shapes.datasets import TRAINING_SEED, training_scenes, training_singles
from shapes.outlines import CLASSES, DETECTED

HERE = Path(__file__).resolve().parent
BUNDLED = HERE / "bundled"
THREADS = 2

SINGLES = 9_600
SINGLES_EPOCHS = 14
SCENES = 4_800
SCENES_EPOCHS = 14
UNSEEN_PICTURES = 1_600
UNSEEN_SCENES = 500


def description(name: str, kind: str, runtime: str, labels: tuple[str, ...], **parts: Any) -> dict[str, Any]:
    """A model's `description.json`: what it says of itself; digests are taken when it is registered."""
    return {"name": name, "version": "1", "kind": kind, "runtime": runtime, **parts, "labels": list(labels)}


def square(side_px: int, dtype: str, normalization: dict[str, list[float]] | None) -> dict[str, Any]:
    """The `input` part of a description."""
    return {
        "width_px": side_px,
        "height_px": side_px,
        "layout": "NHWC",
        "dtype": dtype,
        "normalization": normalization,
    }


def output(form: str) -> dict[str, Any]:
    """The `output` part of a description; all bundled models give probabilities, labels from row 0."""
    return {"format": form, "activation": "none", "label_offset": 0}


def prepare_tensorflow() -> None:
    """Fixed seeds, deterministic kernels, two threads. Before anything of TensorFlow runs."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras  # type: ignore[import-untyped]
    import tensorflow as tf  # type: ignore[import-untyped]

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(TRAINING_SEED)


def make_classifiers() -> None:
    """Trains one net and writes it as `shapes-classifier` and `shapes-classifier-tf`."""
    prepare_tensorflow()
    from shapes import classifier

    pictures, labels = training_singles(SINGLES, classifier.INPUT_PX)
    say(f"{len(pictures)} pictures drawn")
    net = classifier.train(pictures, labels, SINGLES_EPOCHS)
    say("classifier trained")
    write_artifact(
        BUNDLED / "shapes-classifier",
        "model.tflite",
        classifier.int8_flatbuffer(net, pictures),
        description(
            "shapes-classifier",
            "classification",
            "litert",
            CLASSES,
            input=square(classifier.INPUT_PX, "uint8", None),
            output=output("scores"),
        ),
    )
    with tempfile.TemporaryDirectory() as folder:
        classifier.save_savedmodel(net, Path(folder))
        archive = flat_archive(Path(folder))
    zero_to_one = {"mean": [0.0, 0.0, 0.0], "std": [255.0, 255.0, 255.0]}
    write_artifact(
        BUNDLED / "shapes-classifier-tf",
        "model.tar.gz",
        archive,
        description(
            "shapes-classifier-tf",
            "classification",
            "tf-savedmodel",
            CLASSES,
            input=square(classifier.INPUT_PX, "float32", zero_to_one),
            output=output("scores"),
        ),
    )
    say("classifier written")


def make_detector() -> None:
    """Trains and writes `shapes-detector`."""
    prepare_tensorflow()
    from shapes import detector

    pictures, scenes = training_scenes(SCENES, detector.INPUT_PX)
    say(f"{len(pictures)} scenes drawn")
    net = detector.train(pictures, scenes, SCENES_EPOCHS)
    say("detector trained")
    minus_one_to_one = {"mean": [127.5, 127.5, 127.5], "std": [127.5, 127.5, 127.5]}
    write_artifact(
        BUNDLED / "shapes-detector",
        "model.tflite",
        detector.flatbuffer(net),
        description(
            "shapes-detector",
            "detection",
            "litert",
            DETECTED,
            input=square(detector.INPUT_PX, "float32", minus_one_to_one),
            output=output("tflite-detection"),
        ),
    )
    say("detector written")


def evaluate() -> None:
    """Prints accuracy and size of each bundled artifact, on pictures of the unseen seed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from shapes import evaluation
    from shapes.classifier import INPUT_PX
    from shapes.savedmodel import savedmodel_classifier

    classifier = BUNDLED / "shapes-classifier" / "model.tflite"
    savedmodel = BUNDLED / "shapes-classifier-tf" / "model.tar.gz"
    detector = BUNDLED / "shapes-detector" / "model.tflite"

    def report(path: Path, figure: str) -> None:
        print(f"{path.relative_to(HERE)}  {path.stat().st_size:,} bytes  {figure}", flush=True)

    top_1 = evaluation.top_1(evaluation.litert_classifier(classifier), UNSEEN_PICTURES)
    report(classifier, f"top-1 {top_1:.4f} on {UNSEEN_PICTURES} pictures")
    top_1 = evaluation.top_1(savedmodel_classifier(savedmodel, INPUT_PX), UNSEEN_PICTURES)
    report(savedmodel, f"top-1 {top_1:.4f} on {UNSEEN_PICTURES} pictures")
    precision = evaluation.mean_average_precision(evaluation.litert_detector(detector), UNSEEN_SCENES)
    report(detector, f"mAP@0.5 {precision:.4f} on {UNSEEN_SCENES} scenes")


def say(what: str) -> None:
    """A line of progress with the seconds since the start."""
    print(f"[{time.monotonic() - _STARTED:5.0f} s] {what}", flush=True)


_STARTED = time.monotonic()

PARTS: dict[str, Callable[[], None]] = {
    "classifier": make_classifiers,
    "detector": make_detector,
    "samples": lambda: samples.write(HERE / "samples"),
}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Trains, packs and measures the bundled models.")
    parser.add_argument("--evaluate", action="store_true", help="only measure the artifacts as they stand")
    parser.add_argument("--only", choices=sorted(PARTS), help="make one part only")
    chosen = parser.parse_args()
    if not chosen.evaluate:
        for name, make in PARTS.items():
            if chosen.only in (None, name):
                make()
    if chosen.only != "samples":
        evaluate()
    say("done")


if __name__ == "__main__":
    main()
