"""What both nets and their training have in common."""

import keras  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray


def convolution(x: keras.KerasTensor, filters: int, stride: int = 1, dilation: int = 1) -> keras.KerasTensor:
    """3 x 3 convolution, batch normalisation, ReLU6: what the int8 kernels and the converter know best."""
    x = keras.layers.Conv2D(filters, 3, strides=stride, dilation_rate=dilation, padding="same", use_bias=False)(x)
    x = keras.layers.BatchNormalization(momentum=0.9)(x)
    return keras.layers.ReLU(max_value=6.0)(x)


def schedule(steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """A short warm-up, then a cosine down to nearly nothing over `steps` updates."""
    return keras.optimizers.schedules.CosineDecay(
        3e-4, steps, alpha=0.01, warmup_target=4e-3, warmup_steps=max(1, steps // 12)
    )


def unit_range(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Pixels 0..255 as -1..1, the range that both nets are trained on."""
    return pictures.astype(np.float32) / np.float32(127.5) - np.float32(1)
