"""One run over its pictures, in the process of the model: decode, invoke, post-process, time each part."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from darkroom.executor import postprocess, preprocess
from darkroom.executor.description import InputSpec, ModelDescription, Parameters
from darkroom.executor.digests import sha256_of
from darkroom.executor.problems import (
    ModelError,
    PictureError,
    model_unsupported,
    picture_broken,
)
from darkroom.executor.tensors import Array, InputTensor, LoadedModel, RawTensor


@dataclass
class Run:
    """What a run made: an entry per input, the digests of the inputs, milliseconds spent."""

    results: list[dict[str, Any]] = field(default_factory=list)
    input_digests: list[str] = field(default_factory=list)
    decode_ms: float = 0.0
    inference_ms: float = 0.0


def run(
    model: LoadedModel,
    description: ModelDescription,
    labels: Sequence[str],
    parameters: Parameters,
    pictures: Sequence[tuple[str, bytes]],
    pixels_max: int,
) -> Run:
    """Run the model over ``pictures`` (expected digest, bytes), one at a time.

    A picture that cannot be read becomes an ``error`` entry. Raises ModelError when the model itself is at fault.
    """
    check_input(description.input, model.input)
    done = Run()
    for at, (digest, picture) in enumerate(pictures):
        started = time.perf_counter()
        found = sha256_of(picture)
        done.input_digests.append(found)
        try:
            tensor, size_px = _tensor(model.input, description.input, picture, digest, found, pixels_max)
        except PictureError as error:
            problem = error.problem
            named = {"type": problem.type, "title": problem.title, "detail": problem.detail}
            done.results.append({"input": at, "error": named})
            continue
        decoded = time.perf_counter()
        outputs = model.invoke(tensor)
        entry = _entry(outputs, description, labels, parameters, size_px)
        done.results.append({"input": at, "kind": description.kind, **entry})
        done.decode_ms += (decoded - started) * 1e3
        done.inference_ms += (time.perf_counter() - decoded) * 1e3
    return done


def check_input(spec: InputSpec, tensor: InputTensor) -> None:
    """Raises ModelError when the description contradicts the model's own input (an empty dtype says nothing)."""
    if not tensor.dtype:
        return
    height_px, width_px = spec.height_px, spec.width_px
    wanted = (1, height_px, width_px, 3) if spec.layout == "NHWC" else (1, 3, height_px, width_px)
    fits = len(tensor.shape) == len(wanted) and all(
        has is None or has == wants for has, wants in zip(tensor.shape, wanted, strict=True)
    )
    if spec.dtype != tensor.dtype or (tensor.shape and not fits):
        raise ModelError(
            model_unsupported(
                f"The description says {spec.dtype} {list(wanted)}, the model takes {tensor.dtype} "
                f"{list(tensor.shape)}. Correct the description's input."
            )
        )


def _tensor(
    tensor: InputTensor, spec: InputSpec, picture: bytes, digest: str, found: str, pixels_max: int
) -> tuple[Array, tuple[int, int]]:
    if digest and digest != found:
        raise PictureError(
            picture_broken(f"The bytes have the digest {found}, not {digest}; upload the picture again.")
        )
    image = preprocess.decode(picture, pixels_max)
    return preprocess.to_tensor(image, spec, tensor.quantization), (image.width, image.height)


def _entry(
    outputs: Sequence[RawTensor],
    description: ModelDescription,
    labels: Sequence[str],
    parameters: Parameters,
    size_px: tuple[int, int],
) -> dict[str, Any]:
    if description.kind == "classification":
        return {"classes": postprocess.classes(outputs, description.output, labels, parameters)}
    return {"detections": postprocess.detections(outputs, description.output, labels, parameters, size_px)}
