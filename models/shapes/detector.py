"""The shapes detector: its net, targets, loss and training, and its LiteRT form with the decoding inside.

One class-wise heat map and one box per cell of a 12 x 12 grid, after "Objects as Points" (Zhou, Wang,
Kraehenbuehl 2019): a shape's centre is a peak of its class's map, and the cells around it know its box.
"""

import keras  # type: ignore[import-untyped]
import numpy as np
import tensorflow as tf  # type: ignore[import-untyped]
from numpy.typing import NDArray
from tensorflow.python.framework import convert_to_constants  # type: ignore[import-untyped]

from .datasets import Boxes, Labels, Pixels
from .layers import convolution, schedule, unit_range
from .outlines import DETECTED
from .symmetry import turned, turned_boxes

INPUT_PX = 96
GRID = 12
BATCH = 24
DETECTIONS_MAX = 20
NMS_IOU = 0.3  # the drawn shapes do not overlap
OWNED_HEAT_MIN = 0.15  # cells this close to a centre learn its box
SCORE_MIN = 0.05  # below this a cell is no candidate
_CLASSES = len(DETECTED)


def build() -> keras.Model:
    """Pixels in -1..1, `[n, 96, 96, 3]`, to `[n, 12, 12, classes + 4]`.

    Logits first, then the logs of the distances to the box's left, top, right and bottom edge, in cells.
    """
    pixels = keras.Input((INPUT_PX, INPUT_PX, 3))
    x = convolution(pixels, 16, stride=2)
    x = convolution(x, 24, stride=2)
    x = convolution(x, 40, stride=2)
    x = convolution(x, 48)
    x = convolution(x, 56, dilation=2)
    x = convolution(x, 56, dilation=2)
    rare = keras.initializers.Constant(-3.0)  # most cells hold nothing; start from there
    logits = keras.layers.Conv2D(_CLASSES, 1, bias_initializer=rare)(x)
    distances = keras.layers.Conv2D(4, 1)(x)
    return keras.Model(pixels, keras.layers.Concatenate()([logits, distances]))


def targets(scenes: list[tuple[Boxes, Labels]]) -> NDArray[np.float32]:
    """`[n, 12, 12, classes + 4 + 1]`: heat maps, distances to the four edges, the box's weight."""
    encoded = np.zeros((len(scenes), GRID, GRID, _CLASSES + 5), np.float32)
    middles = np.arange(GRID, dtype=np.float32) + np.float32(0.5)
    for target, (boxes, labels) in zip(encoded, scenes, strict=True):
        for (top, left, bottom, right), label in zip(boxes * GRID, labels, strict=True):
            down, across = ((middles - (top + bottom) / 2)[:, None], (middles - (left + right) / 2)[None, :])
            spread_down, spread_across = (max(0.5, (bottom - top) / 6), max(0.5, (right - left) / 6))
            heat = np.exp(-((down / spread_down) ** 2 + (across / spread_across) ** 2) / 2)
            heat[np.unravel_index(heat.argmax(), heat.shape)] = 1.0
            target[:, :, label] = np.maximum(target[:, :, label], heat)
            owned = (heat > OWNED_HEAT_MIN) & (heat > target[:, :, -1])
            y, x = np.nonzero(owned)
            edges = np.stack([middles[x] - left, middles[y] - top, right - middles[x], bottom - middles[y]], axis=1)
            target[y, x, _CLASSES : _CLASSES + 4] = np.maximum(edges, 0.05)
            target[y, x, -1] = heat[y, x]
    return encoded


def loss(expected: tf.Tensor, raw: tf.Tensor) -> tf.Tensor:
    """Penalty-reduced focal loss on the heat maps, plus -log IoU of the boxes near the centres."""
    heat, logits = expected[..., :_CLASSES], raw[..., :_CLASSES]
    score = tf.sigmoid(logits)
    centre = tf.cast(heat >= 1.0, tf.float32)
    hit = centre * (1 - score) ** 2 * tf.nn.softplus(-logits)
    miss = (1 - centre) * (1 - heat) ** 4 * score**2 * tf.nn.softplus(logits)
    focal = tf.reduce_sum(hit + miss) / (tf.reduce_sum(centre) + 1)

    wanted = expected[..., _CLASSES : _CLASSES + 4]
    found = tf.exp(tf.clip_by_value(raw[..., _CLASSES:], -4.0, 4.0))
    shared = tf.minimum(wanted, found)
    overlap = (shared[..., 0] + shared[..., 2]) * (shared[..., 1] + shared[..., 3])
    area_wanted = (wanted[..., 0] + wanted[..., 2]) * (wanted[..., 1] + wanted[..., 3])
    area_found = (found[..., 0] + found[..., 2]) * (found[..., 1] + found[..., 3])
    iou = (overlap + 1e-3) / (area_wanted + area_found - overlap + 1e-3)
    weight = expected[..., -1]
    return focal + tf.reduce_sum(-tf.math.log(iou) * weight) / (tf.reduce_sum(weight) + 1)


def train(pictures: Pixels, scenes: list[tuple[Boxes, Labels]], epochs: int) -> keras.Model:
    """A net trained on `pictures`; each epoch sees them under another symmetry of the square."""
    net = build()
    steps = epochs * -(-len(pictures) // BATCH)
    net.compile(optimizer=keras.optimizers.AdamW(schedule(steps), weight_decay=1e-3), loss=loss)
    for epoch in range(epochs):
        symmetry = epoch % 8
        expected = targets([(turned_boxes(boxes, symmetry), labels) for boxes, labels in scenes])
        net.fit(unit_range(turned(pictures, symmetry)), expected, batch_size=BATCH, epochs=1, verbose=2)
    return net


def decode(raw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """The net's output for one picture as the four tensors of a TFLite detection model.

    Boxes `[1, 20, 4]` (ymin, xmin, ymax, xmax in 0..1), classes `[1, 20]`, scores `[1, 20]`, count `[1]`, all
    float32, best first; rows beyond the count are zero.
    """
    cells = tf.reshape(raw, (GRID * GRID, _CLASSES + 4))
    probabilities = tf.sigmoid(cells[:, :_CLASSES])
    left, top, right, bottom = tf.unstack(tf.exp(tf.minimum(cells[:, _CLASSES:], 4.0)), axis=1)
    y, x = (axis.reshape(-1).astype(np.float32) + np.float32(0.5) for axis in np.mgrid[0:GRID, 0:GRID])
    corners = tf.stack([y - top, x - left, y + bottom, x + right], axis=1) / GRID
    corners = tf.clip_by_value(corners, 0.0, 1.0)
    best, count = tf.raw_ops.NonMaxSuppressionV4(
        boxes=corners,
        scores=tf.reduce_max(probabilities, axis=1),
        max_output_size=DETECTIONS_MAX,
        iou_threshold=NMS_IOU,
        score_threshold=SCORE_MIN,
        pad_to_max_output_size=True,
    )
    kept = tf.cast(tf.range(DETECTIONS_MAX) < count, tf.float32)
    classes = tf.cast(tf.argmax(probabilities, axis=1, output_type=tf.int32), tf.float32)
    return (
        (tf.gather(corners, best) * kept[:, None])[None],
        (tf.gather(classes, best) * kept)[None],
        (tf.gather(tf.reduce_max(probabilities, axis=1), best) * kept)[None],
        tf.cast(count, tf.float32)[None],
    )


def flatbuffer(net: keras.Model) -> bytes:
    """Net and decoding as one LiteRT model: float32 input in -1..1, int8 weights, built-in operators only."""
    signature = [tf.TensorSpec((1, INPUT_PX, INPUT_PX, 3), tf.float32, name="pixels")]
    detect = tf.function(lambda pixels: decode(net(pixels, training=False)), signature, autograph=False)
    # By way of a SavedModel the converter would lose the weights and the order of the outputs: freeze first.
    frozen = convert_to_constants.convert_variables_to_constants_v2(detect.get_concrete_function())
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
    converter.experimental_lower_to_saved_model = False
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    return bytes(converter.convert())
