"""TF2 SavedModels through TensorFlow Hub: the only module that imports tensorflow."""

import os
import shutil
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # a CPU service; looking for devices costs a second

import tensorflow as tf  # type: ignore[import-untyped]

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # tensorflow-hub 0.16 imports the deprecated pkg_resources
    import tensorflow_hub as hub  # type: ignore[import-untyped]

from darkroom.executor import archive, graphscan, savedmodel
from darkroom.executor.problems import ModelError, model_invalid, model_unsupported
from darkroom.executor.tensors import Array, InputTensor, RawTensor


class TensorFlowHub:
    """The runtime, with so many threads. One per process: TensorFlow takes its thread counts once."""

    name = "tf-savedmodel"
    models_max = 2

    def __init__(self, threads: int) -> None:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)

    def load(self, content: bytes, scratch: Path) -> "SavedModel":
        """Unpack, scan, then load the verified archive. Variables are in memory afterwards, so the files go.

        Raises ModelError: model-unsupported (forbidden op, wrong interface) or model-invalid.
        """
        into = scratch / "unpacked"
        into.mkdir()
        try:
            folder = archive.unpack(content, into)
            graphscan.check(savedmodel.read_folder(folder))
            loaded = hub.load(str(folder))
        except (tf.errors.OpError, ValueError, TypeError, KeyError, AttributeError, OSError, RuntimeError) as error:
            raise ModelError(model_invalid(f"TensorFlow cannot load it: {brief(error)}")) from error
        finally:
            shutil.rmtree(into, ignore_errors=True)
        return SavedModel(loaded)

    def versions(self) -> dict[str, str]:
        return {"tensorflow": str(tf.__version__), "tensorflow-hub": version("tensorflow-hub")}


class SavedModel:
    """A loaded model, called through ``serving_default`` when it has that signature, else as a callable."""

    def __init__(self, loaded: Any) -> None:
        self._loaded = loaded  # its variables live as long as this does
        signatures = getattr(loaded, "signatures", {})
        if "serving_default" in signatures:
            self._call, self.input = _signature(signatures["serving_default"])
        elif callable(loaded):
            # A bare callable does not say what it takes; the description does, and calling it shows the rest.
            self._call, self.input = loaded, InputTensor("", (), None)
        else:
            raise ModelError(model_unsupported("The model has no serving_default signature and cannot be called."))

    def invoke(self, tensor: Array) -> Sequence[RawTensor]:
        """Run once; outputs by name. Raises ModelError when the graph refuses, MemoryError when memory is short."""
        try:
            outputs = self._call(tf.constant(tensor))
        except tf.errors.ResourceExhaustedError as error:
            raise MemoryError(brief(error)) from error
        except (tf.errors.OpError, ValueError, TypeError) as error:
            raise ModelError(model_invalid(f"The model failed while running: {brief(error)}")) from error
        if not isinstance(outputs, Mapping):
            outputs = {"output": outputs}
        return [RawTensor(str(name), value.numpy()) for name, value in outputs.items() if tf.is_tensor(value)]


def brief(error: Exception, length_max: int = 300) -> str:
    """The first line of an error of TensorFlow, which can run to pages; the program's own paths left out."""
    text = (str(error).splitlines() or [repr(error)])[0].replace(sys.prefix, "")
    return text if len(text) <= length_max else text[:length_max] + "…"


def _signature(function: Any) -> tuple[Callable[[Any], Any], InputTensor]:
    named = function.structured_input_signature[1]
    if len(named) != 1:
        raise ModelError(model_unsupported(f"The model takes {sorted(named)}; one picture is what it would get."))
    ((name, spec),) = named.items()
    rank = spec.shape.rank
    tensor = InputTensor(spec.dtype.name, () if rank is None else tuple(spec.shape.as_list()), None)
    return (lambda value: function(**{name: value})), tensor
