"""What a ``.tflite`` file says of itself, read without an interpreter: tensors, last operator, metadata, labels.

Field numbers are those of tensorflow/compiler/mlir/lite/schema/schema.fbs and, for the metadata,
tensorflow_lite_support/metadata/metadata_schema.fbs.
"""

import io
import zipfile
from dataclasses import dataclass

import flatbuffers.number_types as types  # type: ignore[import-untyped]

from darkroom.executor.description import Normalization
from darkroom.executor.flatbuffer import FlatbufferError, Table, iterate, root
from darkroom.executor.problems import ModelError, model_invalid
from darkroom.executor.tensors import Quantization

LABELS_BYTES_MAX = 4 * 2**20
_DTYPES = {0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 7: "int16", 9: "int8"}
_CUSTOM = 32
_ACTIVATIONS = {14: "sigmoid", 25: "softmax"}
_PASS_ON = {6, 22, 43, 114}  # dequantize, reshape, squeeze, quantize: the activation stands before these
_NORMALIZATION_OPTIONS = 1


@dataclass(frozen=True)
class Tensor:
    """One input or output; a size of -1 is free."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    quantization: Quantization | None


@dataclass(frozen=True)
class TFLiteFile:
    """``final_op``: softmax or sigmoid where the first output comes from one. ``custom_ops``: names of operators
    that are no built-ins. ``normalization``: from the metadata. ``labels``: the label file packed with it."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    custom_ops: tuple[str, ...]
    final_op: str | None
    normalization: Normalization | None
    labels: tuple[str, ...] | None


def read(content: bytes) -> TFLiteFile:
    """Raises ModelError (model-invalid) when it is not a TFLite flatbuffer."""
    try:
        model = root(content, b"TFL3")
        graphs = model.tables(2)
        if not graphs:
            raise FlatbufferError("no graph in it")
        tensors, codes = graphs[0].tables(0), model.tables(1)
        outputs = graphs[0].numbers(2, types.Int32Flags)
        return TFLiteFile(
            inputs=tuple(map(_tensor, iterate(tensors, graphs[0].numbers(1, types.Int32Flags)))),
            outputs=tuple(map(_tensor, iterate(tensors, outputs))),
            custom_ops=tuple(sorted({code.text(1) for code in codes if _code(code) == _CUSTOM})),
            final_op=_final_op(graphs[0].tables(3), codes, outputs[0]) if outputs else None,
            normalization=_normalization(model),
            labels=_labels(content),
        )
    except FlatbufferError as error:
        raise ModelError(model_invalid(f"It is not a TFLite model, or a damaged one: {error}.")) from error


def _tensor(table: Table) -> Tensor:
    quantization = None
    if details := table.table(4):
        scales, zeros = details.numbers(2, types.Float32Flags), details.numbers(3, types.Int64Flags)
        if len(scales) == 1 and scales[0]:
            quantization = Quantization(float(scales[0]), int(zeros[0]) if zeros else 0)
    shape = table.numbers(7, types.Int32Flags) or table.numbers(0, types.Int32Flags)
    number = table.number(1, types.Int8Flags)
    return Tensor(table.text(3), _DTYPES.get(number, f"type {number}"), tuple(shape), quantization)


def _code(code: Table) -> int:
    # Codes above 127 stand in field 3 only; older files know field 0 only.
    return int(max(code.number(0, types.Int8Flags), code.number(3, types.Int32Flags)))


def _final_op(operators: list[Table], codes: list[Table], output: int) -> str | None:
    makers = {made: operator for operator in operators for made in operator.numbers(2, types.Int32Flags)}
    for _ in range(len(operators)):  # a damaged file may go in circles
        if output not in makers:
            return None
        (code,) = iterate(codes, [makers[output].number(0, types.Uint32Flags)])
        if _code(code) not in _PASS_ON:
            return _ACTIVATIONS.get(_code(code))
        inputs = makers[output].numbers(1, types.Int32Flags)
        if not inputs:
            return None
        output = inputs[0]
    return None


def _normalization(model: Table) -> Normalization | None:
    buffers = model.tables(4)
    for entry in model.tables(6):
        if entry.text(0) != "TFLITE_METADATA":
            continue
        (buffer,) = iterate(buffers, [entry.number(1, types.Uint32Flags)])
        for graph in root(buffer.content(0), b"M001").tables(3):
            for tensor in graph.tables(2):
                for unit in tensor.tables(4):
                    if unit.number(0, types.Uint8Flags) == _NORMALIZATION_OPTIONS and (options := unit.table(1)):
                        mean, std = (options.numbers(field, types.Float32Flags) for field in (0, 1))
                        return Normalization(_rgb(mean), _rgb(std)) if mean and std and 0.0 not in std else None
    return None


def _rgb(values: list[float]) -> tuple[float, float, float]:
    # One value stands for all three channels.
    r, g, b = (values * 3)[:3] if len(values) == 1 else values[:3]
    return (float(r), float(g), float(b))


def _labels(content: bytes) -> tuple[str, ...] | None:
    """The packed label file: the only .txt in the zip archive that metadata tools append to the model."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            named = [info for info in packed.infolist() if info.filename.endswith(".txt")]
            if len(named) != 1 or named[0].file_size > LABELS_BYTES_MAX:
                return None
            return tuple(packed.read(named[0]).decode("utf-8").splitlines())
    except (zipfile.BadZipFile, UnicodeDecodeError, NotImplementedError, RuntimeError, EOFError):
        return None
