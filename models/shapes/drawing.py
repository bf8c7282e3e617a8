"""Draws pictures of shapes: one shape for the classifier, scenes of several for the detector.

Every picture is a pure function of its generator, so a seed and a number name it for ever.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from .outlines import CLASSES, DETECTED, Points, hole, outline
from .surfaces import Colour, Surface, colour, contrasting_colour, surface

Vector = NDArray[np.float64]

OVERSAMPLING = 2  # masks are drawn this much larger and reduced: soft, antialiased edges
SCENE_SHAPES_MAX = 6
PLACING_TRIES = 40


@dataclass(frozen=True)
class Scene:
    """A picture and what is drawn in it: boxes `(x, y, w, h)` in pixels, and a label per box."""

    picture: Image.Image
    boxes: list[tuple[float, float, float, float]]
    labels: list[str]


def draw_single(rng: np.random.Generator, label: str, side_px: tuple[int, int]) -> Image.Image:
    """One shape over 50 to 90 % of a picture whose sides lie within `side_px`.

    Raises ValueError if there is no such shape.
    """
    if label not in CLASSES:
        raise ValueError(f"no such shape: {label}")
    extent = _extent(rng, side_px)
    ground = colour(rng)
    canvas = surface(rng, int(extent[0]), int(extent[1]), ground, 30)
    pose = _pose(rng, label, float(extent.min()) * rng.uniform(0.5, 0.9))
    points = outline(label) @ pose
    centre = _between(rng, -points.min(axis=0), extent - points.max(axis=0))
    _paint(rng, canvas, ground, label, pose, centre)
    return _finished(rng, canvas)


def draw_scene(rng: np.random.Generator, side_px: tuple[int, int]) -> Scene:
    """One to six shapes of the detector's classes, each 16 to 45 % of the picture, their boxes apart."""
    extent = _extent(rng, side_px)
    ground = colour(rng)
    canvas = surface(rng, int(extent[0]), int(extent[1]), ground, 30)
    boxes: list[tuple[float, float, float, float]] = []
    labels: list[str] = []
    wanted = int(rng.integers(1, SCENE_SHAPES_MAX + 1))
    for _ in range(PLACING_TRIES):
        if len(labels) == wanted:
            break
        label = DETECTED[rng.integers(len(DETECTED))]
        pose = _pose(rng, label, float(extent.min()) * rng.uniform(0.16, 0.45))
        points = outline(label) @ pose
        centre = _between(rng, -points.min(axis=0), extent - points.max(axis=0))
        x, y = centre + points.min(axis=0)
        w, h = np.ptp(points, axis=0)
        box = (float(x), float(y), float(w), float(h))
        if any(_overlap(box, other) for other in boxes):
            continue
        _paint(rng, canvas, ground, label, pose, centre)
        boxes.append(box)
        labels.append(label)
    return Scene(_finished(rng, canvas), boxes, labels)


def _extent(rng: np.random.Generator, side_px: tuple[int, int]) -> Vector:
    """Width and height: the aspect ratio within 3:4 and 4:3, as a resize that ignores it must bear."""
    long_side = rng.integers(side_px[0], side_px[1] + 1)
    short_side = max(side_px[0], int(long_side * rng.uniform(0.75, 1)))
    sides = [long_side, short_side]
    return np.array(sides if rng.random() < 0.5 else sides[::-1], dtype=np.float64)


def _pose(rng: np.random.Generator, label: str, diameter_px: float) -> Vector:
    """A 2 x 2 matrix: slight stretch, any rotation, and the box's longer side is `diameter_px`."""
    turn = rng.uniform(0, 2 * np.pi)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    mirror = 1 if rng.random() < 0.5 else -1
    pose = np.diag([rng.uniform(0.88, 1.12) * mirror, 1.0]) @ rotation
    scaled: Vector = pose * diameter_px / np.ptp(outline(label) @ pose, axis=0).max()
    return scaled


def _between(rng: np.random.Generator, low: Vector, high: Vector) -> Vector:
    return low + rng.random(2) * np.maximum(high - low, 0)


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    across = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    down = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return across > 0 and down > 0


def _paint(
    rng: np.random.Generator, canvas: Surface, ground: Colour, label: str, pose: Vector, centre: Vector
) -> None:
    """Blends the shape into `canvas`, in place, within its own box and a margin for its soft edge."""
    points = outline(label) @ pose + centre
    cut = hole(label)
    margin_px = 4
    height_px, width_px = canvas.shape[:2]
    left, top = np.maximum(np.floor(points.min(axis=0)).astype(int) - margin_px, 0)
    right, bottom = np.minimum(np.ceil(points.max(axis=0)).astype(int) + margin_px, [width_px, height_px])
    origin = np.array([left, top])
    size = (int(right - left), int(bottom - top))

    mask = Image.new("L", (size[0] * OVERSAMPLING, size[1] * OVERSAMPLING), 0)
    pen = ImageDraw.Draw(mask)
    pen.polygon(_pixels(points - origin), fill=255)
    if cut is not None:
        pen.polygon(_pixels(cut @ pose + centre - origin), fill=0)
    mask = mask.resize(size, Image.Resampling.BOX)
    if rng.random() < 0.5:
        mask = mask.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.3)))

    alpha = (np.asarray(mask, dtype=np.float32) / 255)[:, :, None]
    fill = surface(rng, size[0], size[1], contrasting_colour(rng, ground), 18)
    region = canvas[top:bottom, left:right]
    region += (fill - region) * alpha


def _pixels(points: Points) -> list[tuple[float, float]]:
    return [(x * OVERSAMPLING, y * OVERSAMPLING) for x, y in points]


def _finished(rng: np.random.Generator, canvas: Surface) -> Image.Image:
    """Adds light and sensor noise and rounds to 8 bits."""
    brightness = np.float32(rng.uniform(0.8, 1.15))
    noise = rng.standard_normal(canvas.shape, dtype=np.float32) * np.float32(rng.uniform(0, 10))
    return Image.fromarray(np.clip(canvas * brightness + noise, 0, 255).astype(np.uint8))
