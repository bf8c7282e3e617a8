"""Seeded data sets: picture number `i` of a seed is the same on every machine and in any order of drawing."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .drawing import draw_scene, draw_single
from .outlines import CLASSES, DETECTED

Pixels = NDArray[np.uint8]  # [pictures, side, side, 3], RGB
Boxes = NDArray[np.float32]  # [shapes, 4]: ymin, xmin, ymax, xmax in 0..1 of the picture
Labels = NDArray[np.int64]

Drawn = TypeVar("Drawn")

TRAINING_SEED = 20_251
UNSEEN_SEED = 77_003  # measured figures come from here; nothing is ever trained or tuned on it
SAMPLES_SEED = 4_242

# The larger the pictures, the slower the drawing: training uses small ones, measuring the whole range.
TRAINING_SIDE_PX = (72, 200)
UNSEEN_SIDE_PX = (72, 320)

DRAWING_PROCESSES = 2


def generator(seed: int, number: int) -> np.random.Generator:
    """The source of randomness of one picture."""
    return np.random.default_rng([seed, number])


def resized(picture: Image.Image, side_px: int) -> Pixels:
    """What the service feeds a model of this input size: RGB, the whole picture, Pillow's bilinear filter."""
    small = picture.convert("RGB").resize((side_px, side_px), Image.Resampling.BILINEAR)
    return np.asarray(small, dtype=np.uint8)


def single(seed: int, side_px: tuple[int, int], number: int) -> tuple[Image.Image, int]:
    """Picture `number` with one shape, and its class; the classes take turns."""
    label = number % len(CLASSES)
    return draw_single(generator(seed, number), CLASSES[label], side_px), label


def scene(seed: int, side_px: tuple[int, int], number: int) -> tuple[Image.Image, Boxes, Labels]:
    """Scene `number`, with its boxes and their classes."""
    drawn = draw_scene(generator(seed, number), side_px)
    width_px, height_px = drawn.picture.size
    corners = [(y / height_px, x / width_px, (y + h) / height_px, (x + w) / width_px) for x, y, w, h in drawn.boxes]
    boxes = np.array(corners, dtype=np.float32).reshape(-1, 4)
    return (drawn.picture, boxes, np.array([DETECTED.index(label) for label in drawn.labels], dtype=np.int64))


def training_singles(count: int, input_px: int) -> tuple[Pixels, Labels]:
    """`count` pictures of the training seed, at the model's input size, and their classes."""
    drawn = _in_parallel(partial(_small_single, input_px), count)
    return np.stack([pixels for pixels, _ in drawn]), np.array([label for _, label in drawn])


def training_scenes(count: int, input_px: int) -> tuple[Pixels, list[tuple[Boxes, Labels]]]:
    """`count` scenes of the training seed, at the model's input size, with boxes and classes of each."""
    drawn = _in_parallel(partial(_small_scene, input_px), count)
    return np.stack([pixels for pixels, _, _ in drawn]), [(boxes, labels) for _, boxes, labels in drawn]


def _small_single(input_px: int, number: int) -> tuple[Pixels, int]:
    picture, label = single(TRAINING_SEED, TRAINING_SIDE_PX, number)
    return resized(picture, input_px), label


def _small_scene(input_px: int, number: int) -> tuple[Pixels, Boxes, Labels]:
    picture, boxes, labels = scene(TRAINING_SEED, TRAINING_SIDE_PX, number)
    return resized(picture, input_px), boxes, labels


def _in_parallel(draw: Callable[[int], Drawn], count: int) -> Sequence[Drawn]:
    # Spawned, not forked: the parent may hold TensorFlow's threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(DRAWING_PROCESSES, mp_context=context) as pool:
        return list(pool.map(draw, range(count), chunksize=100))
