"""What a SavedModel's folder says of itself, read without TensorFlow: its signature and what its output ends in."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darkroom.executor import graphscan, savedmodel
from darkroom.executor.problems import ModelError, model_unsupported

_DEPTH_MAX = 200
_ACTIVATIONS = {"Softmax": "softmax", "Sigmoid": "sigmoid"}
_PASS_ON = {"Identity", "IdentityN", "Reshape", "Squeeze", "Cast", "StopGradient"}
_CALLS = {"StatefulPartitionedCall", "PartitionedCall"}


@dataclass(frozen=True)
class Tensor:
    """One input or output of a signature; None in ``shape`` is a free size, None for it a free rank."""

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True)
class SavedModelFile:
    """``final_op``: softmax or sigmoid where the first output comes from one."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    final_op: str | None


def read_folder(folder: Path) -> SavedModelFile:
    """Raises ModelError when it is no SavedModel, has a forbidden op, or no serving_default signature."""
    graph = savedmodel.read_folder(folder)
    graphscan.check(graph)
    if "serving_default" not in graph.signature_def:
        raise ModelError(
            model_unsupported(
                f"The SavedModel has no serving_default signature to read its input from; it has "
                f"{sorted(graph.signature_def)}. Describe input and output yourself."
            )
        )
    signature = graph.signature_def["serving_default"]
    outputs = {name: signature.outputs[name] for name in sorted(signature.outputs)}
    first = next(iter(outputs.values()), None)
    return SavedModelFile(
        inputs=tuple(_tensor(name, signature.inputs[name]) for name in sorted(signature.inputs)),
        outputs=tuple(_tensor(name, tensor) for name, tensor in outputs.items()),
        final_op=_final_op(graph, first.name) if first is not None else None,
    )


def _tensor(name: str, tensor: Any) -> Tensor:
    return Tensor(name, savedmodel.DTYPES.get(tensor.dtype, f"type {tensor.dtype}"), savedmodel.shape(tensor))


def _final_op(graph: Any, output: str) -> str | None:
    """Follow an output back through functions that are called and ops that change no value."""
    functions = {function.signature.name: function for function in graph.graph_def.library.function}
    nodes, at = {node.name: node for node in graph.graph_def.node}, output
    for _ in range(_DEPTH_MAX):
        name, *place = at.lstrip("^").split(":")
        node = nodes.get(name)
        if node is None:
            return None
        if node.op in _CALLS and node.attr["f"].func.name in functions:
            function = functions[node.attr["f"].func.name]
            returned = [arg.name for arg in function.signature.output_arg]
            index = int(place[-1]) if place else 0
            if index >= len(returned):
                return None
            nodes, at = {inner.name: inner for inner in function.node_def}, function.ret[returned[index]]
        elif node.op in _PASS_ON and node.input:
            at = node.input[int(place[-1]) if node.op == "IdentityN" and place else 0]
        else:
            return _ACTIVATIONS.get(node.op)
    return None
