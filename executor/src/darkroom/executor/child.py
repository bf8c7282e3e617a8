"""The process in which models run: a loop that answers one request at a time over a socket.

Started by childprocess.ChildProcess as a fresh interpreter (``-m darkroom.executor.child litert …``), never forked.
It trusts neither the model nor the picture; what goes wrong beyond its control ends the process, and the parent
sees that.
"""

import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from darkroom.executor import inference, preprocess
from darkroom.executor.description import parse_description, parse_parameters
from darkroom.executor.modelcache import ModelCache
from darkroom.executor.problems import ModelError, model_unsupported
from darkroom.executor.runtime import ModelRuntime
from darkroom.runtime.child import frames, inside


def serve(make_runtime: Callable[[int], ModelRuntime], arguments: Sequence[str]) -> None:
    """Answer requests until the parent goes. ``make_runtime`` is given the number of threads."""
    parser = inside.parser()
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--pixels-max", type=int, required=True)
    options = parser.parse_args(arguments)
    sock = inside.begin(options)
    runtime = make_runtime(options.threads)
    cache = ModelCache(runtime, Path.cwd())
    versions = {**runtime.versions(), "numpy": version("numpy"), "pillow": version("pillow")}
    described = {"name": runtime.name, "versions": versions, "threads": options.threads}
    forever = frames.Deadline(None)
    try:
        frames.send(sock, {"ready": described}, [], forever)
        while True:
            request, pictures = frames.receive(sock, forever)
            answer = _answer(cache, runtime.name, described, request, pictures, options.pixels_max)
            frames.send(sock, answer, [], forever)
    except frames.Closed:
        return  # the parent has gone or wants no more


def _answer(
    cache: ModelCache,
    runtime_name: str,
    described: dict[str, Any],
    request: dict[str, Any],
    pictures: list[bytes],
    pixels_max: int,
) -> dict[str, Any]:
    try:
        description = parse_description(request["model"])
        if description.runtime != runtime_name:
            raise ModelError(model_unsupported(f"This process runs {runtime_name}, not {description.runtime}."))
        labels = cache.labels(description, Path(request["labels_path"]))
        model, load_ms = cache.model(description, Path(request["artifact_path"]))
        parameters = parse_parameters(request["parameters"])
        inputs = list(zip(request["digests"], pictures, strict=True))
        run = inference.run(model, description, labels, parameters, inputs, pixels_max)
    except ModelError as error:
        problem = error.problem
        return {"refused": {"type": problem.type, "title": problem.title, "detail": problem.detail}}
    return {
        "results": run.results,
        "timing": {
            "decode_ms": round(run.decode_ms, 3),
            "inference_ms": round(run.inference_ms, 3),
            "model_load_ms": round(load_ms, 3),
        },
        "provenance": {
            "model": {
                "name": description.name,
                "version": description.version,
                "digest": description.artifact_digest,
            },
            "labels": description.labels_digest,
            "runtime": described,
            "preprocessing": preprocess.applied(description.input),
            "output": {
                "format": description.output.format,
                "activation": description.output.activation,
                "label_offset": description.output.label_offset,
            },
            "parameters": {
                "top_k": parameters.top_k,
                "min_score": parameters.min_score_for(description.kind),
                "max_detections": parameters.max_detections,
            },
            "inputs": run.input_digests,
        },
    }


def _runtime(name: str) -> Callable[[int], ModelRuntime]:
    # Imported here and only here: a process that runs LiteRT never pays for TensorFlow.
    if name == "litert":
        from darkroom.executor.litert import LiteRT

        return LiteRT
    from darkroom.executor.tfhub import TensorFlowHub

    return TensorFlowHub


if __name__ == "__main__":
    serve(_runtime(sys.argv[1]), sys.argv[2:])
