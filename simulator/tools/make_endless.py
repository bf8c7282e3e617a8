"""Makes `endless.tflite`: a classifier that never comes to an end, for what happens to a run that must be stopped.

`python simulator/tools/make_endless.py FILE`. Needs TensorFlow; its output is kept in the repository.
"""

import sys
from pathlib import Path

import tensorflow as tf

SIZE_PX = 8
CLASSES = 2


@tf.function(input_signature=[tf.TensorSpec([1, SIZE_PX, SIZE_PX, 3], tf.float32)])
def endless(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
    """Counts round and round; the condition depends on the picture, so that nobody can fold it away."""
    start = tf.reduce_mean(pixels)

    def goes_on(value: tf.Tensor) -> tf.Tensor:
        return value >= 0.0  # a remainder of what was never negative

    def step(value: tf.Tensor) -> tuple[tf.Tensor]:
        return (tf.math.floormod(value + 1.0, 7.0),)

    (value,) = tf.while_loop(goes_on, step, (start,))
    return {"scores": tf.reshape(tf.stack([value, 1.0 - value]), [1, CLASSES])}


def main(target: Path) -> None:
    converter = tf.lite.TFLiteConverter.from_concrete_functions([endless.get_concrete_function()])
    target.write_bytes(converter.convert())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
