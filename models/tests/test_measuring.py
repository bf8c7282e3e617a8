"""The measures themselves: they can be right, wrong and in between. And the drawing they rest on."""

import numpy as np
import pytest
from PIL import Image
from shapes.datasets import Boxes, Labels, generator, scene, single
from shapes.drawing import draw_single
from shapes.evaluation import Scores, mean_average_precision, top_1
from shapes.outlines import CLASSES, DETECTED, outline
from shapes.symmetry import turned, turned_boxes

SEED = 5
SIDE_PX = (72, 320)  # as the measures draw
SCENES = 12

Found = tuple[Boxes, Labels, Scores]


class Oracle:
    """Answers with the truth of scene 0, 1, 2, ... of SEED, shifted by a part of each box."""

    def __init__(self, shift: float = 0.0, class_shift: int = 0) -> None:
        self.shift, self.class_shift, self.asked = shift, class_shift, 0

    def __call__(self, picture: Image.Image) -> Found:
        _, boxes, labels = scene(SEED, SIDE_PX, self.asked)
        self.asked += 1
        width = boxes[:, 3] - boxes[:, 1]
        still = np.zeros_like(width)
        moved = boxes + np.float32(self.shift) * np.stack([still, width, still, width], axis=1)
        shown = (labels + self.class_shift) % len(DETECTED)
        return moved.astype(np.float32), shown, np.ones(len(boxes), np.float32)


@pytest.mark.parametrize(
    ("oracle", "expected"),
    [
        (Oracle(), 1.0),
        (Oracle(shift=0.2), 1.0),  # IoU 0.8 / 1.2
        (Oracle(shift=0.5), 0.0),  # IoU 0.5 / 1.5
        (Oracle(class_shift=1), 0.0),
    ],
)
def test_mean_average_precision_of_known_answers(oracle: Oracle, expected: float) -> None:
    assert mean_average_precision(oracle, SCENES, SEED) == pytest.approx(expected, abs=0.01)


def test_claiming_a_shape_twice_costs_precision() -> None:
    truth = Oracle()

    def doubled(picture: Image.Image) -> Found:
        boxes, labels, scores = truth(picture)
        return np.repeat(boxes, 2, axis=0), np.repeat(labels, 2), np.repeat(scores, 2)

    assert mean_average_precision(doubled, SCENES, SEED) < 0.9


def test_top_1_of_a_constant_answer_is_its_share_of_the_classes() -> None:
    always_first = np.eye(len(CLASSES), dtype=np.float32)[0]
    assert top_1(lambda picture: always_first, pictures=2 * len(CLASSES), seed=SEED) == 1 / len(CLASSES)


def test_a_seed_and_a_number_name_one_picture() -> None:
    first, again, other = (np.asarray(single(seed, SIDE_PX, 3)[0]) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert first.shape != other.shape or not np.array_equal(first, other)


def test_an_unknown_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="dodecahedron"):
        draw_single(generator(SEED, 0), "dodecahedron", SIDE_PX)


@pytest.mark.parametrize("label", CLASSES)
def test_outlines_lie_in_the_unit_frame(label: str) -> None:
    assert np.abs(outline(label)).max() <= 1.0 + 1e-9


def test_boxes_lie_within_their_scene_and_apart() -> None:
    for number in range(SCENES):
        _, boxes, labels = scene(SEED, SIDE_PX, number)
        assert len(boxes) == len(labels) > 0
        assert boxes.min() >= -1e-6
        assert boxes.max() <= 1 + 1e-6


@pytest.mark.parametrize("symmetry", range(8))
def test_boxes_turn_with_their_pictures(symmetry: int) -> None:
    picture = np.zeros((1, 20, 20, 1), np.uint8)
    picture[0, 2:6, 10:17] = 1
    box = turned_boxes(np.array([[0.1, 0.5, 0.3, 0.85]], np.float32), symmetry)
    rows, columns = np.nonzero(turned(picture, symmetry)[0, :, :, 0])
    drawn = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
    assert box[0] * 20 == pytest.approx(np.array(drawn), abs=1e-4)
