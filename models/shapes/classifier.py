"""The shapes classifier: its net, its training, and its two forms (int8 LiteRT and TF2 SavedModel)."""

from collections.abc import Iterator
from pathlib import Path

import keras  # type: ignore[import-untyped]
import numpy as np
import tensorflow as tf  # type: ignore[import-untyped]
from numpy.typing import NDArray

from .datasets import Labels, Pixels
from .layers import convolution, schedule, unit_range
from .outlines import CLASSES
from .symmetry import turned

INPUT_PX = 64
BATCH = 32
CALIBRATION_PICTURES = 256


def build() -> keras.Model:
    """Pixels in -1..1, `[n, 64, 64, 3]`, to probabilities, `[n, 16]`."""
    pixels = keras.Input((INPUT_PX, INPUT_PX, 3))
    x = convolution(pixels, 16, stride=2)
    x = convolution(x, 32, stride=2)
    x = convolution(x, 48, stride=2)
    x = convolution(x, 64)
    x = convolution(x, 72, stride=2)  # from here on a cell sees the whole picture
    x = convolution(x, 80)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(pixels, keras.layers.Dense(len(CLASSES), activation="softmax")(x))


def train(pictures: Pixels, labels: Labels, epochs: int) -> keras.Model:
    """A net trained on `pictures`; each epoch sees them under another symmetry of the square."""
    net = build()
    steps = epochs * -(-len(pictures) // BATCH)
    net.compile(
        optimizer=keras.optimizers.AdamW(schedule(steps), weight_decay=1e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
    )
    for epoch in range(epochs):
        net.fit(unit_range(turned(pictures, epoch % 8)), labels, batch_size=BATCH, epochs=1, verbose=2)
    return net


def int8_flatbuffer(net: keras.Model, pictures: Pixels) -> bytes:
    """The net as a fully quantised LiteRT model with uint8 input and output, calibrated on `pictures`.

    The input's scale comes out as 2/255 around 127 or 128, so a raw 8-bit pixel is already the quantised
    value: such a model is fed pixels as they are.
    """

    def calibration() -> Iterator[list[NDArray[np.float32]]]:
        for picture in unit_range(pictures[:CALIBRATION_PICTURES]):
            yield [picture[None]]
        # Black and white pin the input's range, whatever the drawn pictures happen to hold.
        for value in (-1.0, 1.0):
            yield [np.full((1, INPUT_PX, INPUT_PX, 3), value, np.float32)]

    converter = tf.lite.TFLiteConverter.from_keras_model(net)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = calibration
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.uint8
    converter.inference_output_type = tf.uint8
    return bytes(converter.convert())


def save_savedmodel(net: keras.Model, folder: Path) -> None:
    """The net as a TF2 SavedModel by TensorFlow Hub's conventions for images.

    Callable on a batch of float32 pictures in 0..1; `serving_default` gives the same as `{"scores": ...}`.
    """
    bare = build()  # without the optimizer's state, which saving would drag along
    bare.set_weights(net.get_weights())
    module = tf.Module()
    module.net = bare
    signature = [tf.TensorSpec((None, INPUT_PX, INPUT_PX, 3), tf.float32, name="images")]
    scores = tf.function(lambda images: bare(images * 2 - 1, training=False), signature, autograph=False)
    serving = tf.function(lambda images: {"scores": scores(images)}, signature, autograph=False)
    module.__call__ = scores
    tf.saved_model.save(module, str(folder), signatures={"serving_default": serving})
    # It holds a random identifier, so the same weights would not give the same bytes. Loading does without.
    (folder / "fingerprint.pb").unlink()
