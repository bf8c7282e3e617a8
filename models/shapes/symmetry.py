"""The eight symmetries of the square, for pictures and boxes: training sees a picture under all of them.

A symmetry is a number 0..7: bit 0 mirrors left and right, bit 1 top and bottom, bit 2 then swaps x and y.
"""

import numpy as np

from .datasets import Boxes, Pixels


def turned(pictures: Pixels, symmetry: int) -> Pixels:
    """Pictures `[n, side, side, channels]` under a symmetry."""
    if symmetry & 1:
        pictures = pictures[:, :, ::-1]
    if symmetry & 2:
        pictures = pictures[:, ::-1]
    return pictures.transpose(0, 2, 1, 3) if symmetry & 4 else pictures


def turned_boxes(boxes: Boxes, symmetry: int) -> Boxes:
    """Boxes `[n, 4]` (ymin, xmin, ymax, xmax in 0..1) as they lie in the picture that `turned` gives."""
    top, left, bottom, right = boxes.T
    if symmetry & 1:
        left, right = 1 - right, 1 - left
    if symmetry & 2:
        top, bottom = 1 - bottom, 1 - top
    corners = [left, top, right, bottom] if symmetry & 4 else [top, left, bottom, right]
    return np.stack(corners, axis=1)
