"""LiteRT (``.tflite``): the only module that imports ai_edge_litert."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ai_edge_litert.interpreter import Interpreter  # type: ignore[import-untyped]

from darkroom.executor.problems import ModelError, model_invalid, model_unsupported
from darkroom.executor.tensors import Array, InputTensor, Quantization, RawTensor


class LiteRT:
    """The runtime, with so many threads per model."""

    name = "litert"
    models_max = 4

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def load(self, content: bytes, scratch: Path) -> "LiteRTModel":
        """Load from verified bytes (never from a path, which could change in between).

        Raises ModelError: model-unsupported for an operator that is not there, else model-invalid.
        """
        try:
            interpreter = Interpreter(model_content=content, num_threads=self._threads)
            interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            reason = first_line(error)
            if "unresolved custom op" in reason:
                raise ModelError(
                    model_unsupported(
                        f"LiteRT on a CPU cannot run it: {reason} It may be compiled for an accelerator."
                    )
                ) from error
            raise ModelError(model_invalid(f"LiteRT cannot load the file: {reason}")) from error
        return LiteRTModel(interpreter)

    def versions(self) -> dict[str, str]:
        return {"ai-edge-litert": version("ai-edge-litert")}


class LiteRTModel:
    """A TFLite flatbuffer in an interpreter of its own; not thread-safe."""

    def __init__(self, interpreter: Any) -> None:
        inputs = interpreter.get_input_details()
        if len(inputs) != 1:
            raise ModelError(
                model_unsupported(f"The model has {len(inputs)} inputs; one picture is what it would get.")
            )
        self._interpreter = interpreter
        self._index = inputs[0]["index"]
        self._shape = tuple(int(size) for size in inputs[0]["shape"])
        self._outputs = [
            (detail["index"], str(detail["name"]), _quantization(detail))
            for detail in interpreter.get_output_details()
        ]
        self.input = InputTensor(
            dtype=inputs[0]["dtype"].__name__,
            shape=tuple(None if size < 0 else int(size) for size in inputs[0]["shape_signature"]),
            quantization=_quantization(inputs[0]),
        )

    def invoke(self, tensor: Array) -> Sequence[RawTensor]:
        """Run once; outputs in the order of the file. Raises ModelError when the kernels refuse."""
        try:
            if tensor.shape != self._shape:  # a model of free size, given a picture of another size
                self._interpreter.resize_tensor_input(self._index, tensor.shape, strict=True)
                self._interpreter.allocate_tensors()
                self._shape = tensor.shape
            self._interpreter.set_tensor(self._index, tensor)
            self._interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise ModelError(model_invalid(f"The model failed while running: {first_line(error)}")) from error
        return [
            RawTensor(name, self._interpreter.get_tensor(index), quantization)
            for index, name, quantization in self._outputs
        ]


def first_line(error: Exception, length_max: int = 300) -> str:
    """LiteRT repeats itself once per tensor: the first line, cut, says it all."""
    lines = str(error).splitlines() or [repr(error)]
    return lines[0] if len(lines[0]) <= length_max else lines[0][:length_max] + "…"


def _quantization(detail: dict[str, Any]) -> Quantization | None:
    scale, zero_point = detail["quantization"]
    return Quantization(float(scale), int(zero_point)) if scale else None
