"""Tensors as a model's file describes them and as a runtime gives them back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from darkroom.executor.problems import ModelError, model_invalid

Array = NDArray[Any]


@dataclass(frozen=True)
class Quantization:
    """Affine, per tensor: real = scale * (stored - zero_point). ``scale`` is not 0."""

    scale: float
    zero_point: int


@dataclass(frozen=True)
class InputTensor:
    """The one input of a model: dtype name, shape (None = any), quantisation if it has one."""

    dtype: str
    shape: tuple[int | None, ...]
    quantization: Quantization | None


@dataclass(frozen=True)
class RawTensor:
    """One output as the runtime gave it; ``quantization`` None means that the values are real already."""

    name: str
    values: Array
    quantization: Quantization | None = None

    def real(self) -> NDArray[np.float64]:
        """De-quantised values as float64. Raises ModelError if one is not finite."""
        values = self.values.astype(np.float64)
        if not np.isfinite(values).all():
            raise ModelError(
                model_invalid(f"Output {self.name!r} holds values that are not numbers (NaN or infinite).")
            )
        if self.quantization is None:
            return values
        return (values - self.quantization.zero_point) * self.quantization.scale


class LoadedModel(Protocol):
    """A model in memory, ready to be called; not thread-safe."""

    @property
    def input(self) -> InputTensor: ...

    def invoke(self, tensor: Array) -> Sequence[RawTensor]:
        """Run once on a batch of one. Raises ModelError when the model cannot run on it."""
        ...
