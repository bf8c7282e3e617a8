"""Fills for backgrounds and shapes: float32 `[height, width, 3]` arrays of RGB in 0..255."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Surface = NDArray[np.float32]
Colour = NDArray[np.float32]
Pattern = NDArray[Any]

CONTRAST_MIN = 130.0  # Euclidean distance in RGB between a shape and what it lies on


def colour(rng: np.random.Generator) -> Colour:
    """Any colour, all equally likely."""
    return np.asarray(rng.uniform(0, 255, 3), dtype=np.float32)


def contrasting_colour(rng: np.random.Generator, ground: Colour) -> Colour:
    """A colour at least CONTRAST_MIN away from `ground`; the farthest of 32 tries if none is."""
    tries = np.asarray(rng.uniform(0, 255, (32, 3)), dtype=np.float32)
    distances = np.linalg.norm(tries - ground, axis=1)
    far_enough = np.flatnonzero(distances >= CONTRAST_MIN)
    chosen: Colour = tries[far_enough[0] if len(far_enough) else distances.argmax()]
    return chosen


def surface(rng: np.random.Generator, width_px: int, height_px: int, base: Colour, strength: float) -> Surface:
    """A flat, graded, striped, chequered or cloudy surface around `base`.

    `strength` (0..255) bounds how far a pixel's channels stray from `base` before clipping.
    """
    offset = rng.uniform(-1, 1, 3) * strength
    kind = int(rng.integers(5))
    pixels: Pattern
    if kind == 0:
        pixels = np.tile(base, (height_px, width_px, 1))
    elif kind == 4:
        pixels = base + _clouds(rng, width_px, height_px) * strength
    else:
        pixels = base + _wave(rng, width_px, height_px, kind)[:, :, None] * offset
    return np.asarray(np.clip(pixels, 0, 255), dtype=np.float32)


def _wave(rng: np.random.Generator, width_px: int, height_px: int, kind: int) -> Pattern:
    """A pattern in -1..1: a gradient (1), stripes (2) or a chequerboard (3), at any angle."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:height_px, 0:width_px].astype(np.float32) / np.float32(max(width_px, height_px))
    along = x * np.cos(angle) + y * np.sin(angle)
    if kind == 1:
        return np.asarray(np.clip(along * 1.5 - 0.5, -1, 1))
    across = y * np.cos(angle) - x * np.sin(angle)
    frequency = rng.uniform(12, 50)
    if kind == 2:
        return np.asarray(np.sin(along * frequency))
    return np.asarray(np.sign(np.sin(along * frequency) * np.sin(across * frequency)))


def _clouds(rng: np.random.Generator, width_px: int, height_px: int) -> Pattern:
    """Soft blotches, each channel by itself, mostly in -1..1."""
    cells = int(rng.integers(3, 12))
    coarse = rng.uniform(-1, 1, (3, cells, cells)).astype(np.float32)
    size = (width_px, height_px)
    channels = [Image.fromarray(channel).resize(size, Image.Resampling.BICUBIC) for channel in coarse]
    return np.stack([np.asarray(channel) for channel in channels], axis=2)
