"""The outlines of the drawn shapes, as polygons in a unit frame.

Every outline lies within the square [-1, 1] x [-1, 1] around the origin, y pointing down.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

# The classes of the classifier, in the order of its scores.
CLASSES: tuple[str, ...] = (
    "arrow",
    "bar",
    "bolt",
    "chevron",
    "circle",
    "crescent",
    "cross",
    "drop",
    "heart",
    "hexagon",
    "hourglass",
    "ring",
    "semicircle",
    "square",
    "star",
    "triangle",
)

# The classes of the detector: few, so that a small net finds them among each other.
DETECTED: tuple[str, ...] = ("circle", "square", "star", "triangle")

ARC_POINTS = 48  # finer than a pixel for every picture size drawn here


def _arc(start_turns: float, end_turns: float, radius: float = 1.0, centre_x: float = 0.0) -> Points:
    angles = np.linspace(start_turns, end_turns, ARC_POINTS) * 2 * np.pi
    return np.stack([centre_x + radius * np.cos(angles), radius * np.sin(angles)], axis=1)


def _corners(count: int, even_radius: float, odd_radius: float) -> Points:
    """Corners around the origin, the first one up, their radii alternating (a star if they differ)."""
    angles = (np.arange(count) / count - 0.25) * 2 * np.pi
    radii = np.where(np.arange(count) % 2 == 0, even_radius, odd_radius)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def _polygon(*points: tuple[float, float]) -> Points:
    return np.array(points, dtype=np.float64)


def _heart() -> Points:
    t = np.linspace(0, 2 * np.pi, ARC_POINTS)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([x / 17, (y - 2.5) / 17], axis=1)


def _crescent() -> Points:
    """An outer arc of the unit circle, closed by the arc of a shifted, slightly smaller circle."""
    outer = _arc(0.14, 0.86)
    tip_x, tip_y = outer[0]
    shift = 0.42
    radius = float(np.hypot(tip_x - shift, tip_y))
    half_turns = float(np.arctan2(tip_y, tip_x - shift)) / (2 * np.pi)
    inner = _arc(1 - half_turns, half_turns, radius, shift)
    return np.concatenate([outer, inner])


def _drop() -> Points:
    round_end = _arc(-0.054, 0.554, 0.5) + np.array([0.0, 0.5])  # up to where the flanks touch the circle
    return np.concatenate([round_end, _polygon((0.0, -1.0))])


def _cross() -> Points:
    w = 0.3
    return _polygon(
        (-w, -1), (w, -1), (w, -w), (1, -w), (1, w), (w, w), (w, 1), (-w, 1), (-w, w), (-1, w), (-1, -w), (-w, -w)
    )


_OUTLINES: dict[str, Callable[[], Points]] = {
    "arrow": lambda: _polygon((-1, -0.2), (0.1, -0.2), (0.1, -0.65), (1, 0), (0.1, 0.65), (0.1, 0.2), (-1, 0.2)),
    "bar": lambda: _polygon((-1, -0.2), (1, -0.2), (1, 0.2), (-1, 0.2)),
    "bolt": lambda: _polygon((0.2, -1), (-0.55, 0.15), (-0.05, 0.15), (-0.2, 1), (0.55, -0.2), (0.05, -0.2)),
    "chevron": lambda: _polygon((-0.65, -0.9), (0.0, -0.9), (0.7, 0), (0.0, 0.9), (-0.65, 0.9), (0.05, 0)),
    "circle": lambda: _arc(0, 1),
    "crescent": _crescent,
    "cross": _cross,
    "drop": _drop,
    "heart": _heart,
    "hexagon": lambda: _corners(6, 1.0, 1.0),
    "hourglass": lambda: _polygon((-0.7, -1), (0.7, -1), (0.12, 0), (0.7, 1), (-0.7, 1), (-0.12, 0)),
    "ring": lambda: _arc(0, 1),
    "semicircle": lambda: _arc(0.5, 1.0) + np.array([0.0, 0.45]),
    "square": lambda: _polygon((-0.75, -0.75), (0.75, -0.75), (0.75, 0.75), (-0.75, 0.75)),
    "star": lambda: _corners(10, 1.0, 0.42),
    "triangle": lambda: _corners(3, 1.0, 1.0),
}


def outline(name: str) -> Points:
    """The closed polygon of a shape, `[points, 2]` (x, y) in the unit frame; KeyError for no such one."""
    return _OUTLINES[name]()


def hole(name: str) -> Points | None:
    """The polygon to cut out of the shape, or None where it is solid."""
    return _arc(0, 1, 0.55) if name == "ring" else None
