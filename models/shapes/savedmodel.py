"""Runs the classifier's SavedModel for measuring; apart, so that measuring LiteRT needs no TensorFlow."""

import tarfile
import tempfile
from pathlib import Path

import numpy as np
import tensorflow_hub as hub  # type: ignore[import-untyped]
from PIL import Image

from .datasets import resized
from .evaluation import Classify, Scores


def savedmodel_classifier(archive: Path, side_px: int) -> Classify:
    """The classifier in a `.tar.gz` of a SavedModel, loaded from a folder by TensorFlow Hub."""
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
        model = hub.load(folder)

    def classify(picture: Image.Image) -> Scores:
        pixels = resized(picture, side_px).astype(np.float32) / 255
        return np.asarray(model(pixels[None])[0])

    return classify
