"""The loaded models of one child, least recently used first to go."""

import json
import time
from collections import OrderedDict
from pathlib import Path

from darkroom.executor.description import ModelDescription
from darkroom.executor.digests import sha256_of
from darkroom.executor.problems import ModelError, digest_mismatch, model_invalid
from darkroom.executor.runtime import ModelRuntime
from darkroom.executor.tensors import LoadedModel

LABELS_MAX = 100_000
_LABEL_MAPS_MAX = 16


class ModelCache:
    """Loads by digest: the bytes that were verified are the bytes that are loaded."""

    def __init__(self, runtime: ModelRuntime, scratch: Path) -> None:
        self._runtime = runtime
        self._scratch = scratch
        self._models: OrderedDict[str, LoadedModel] = OrderedDict()
        self._labels: OrderedDict[str, list[str]] = OrderedDict()

    def model(self, description: ModelDescription, path: Path) -> tuple[LoadedModel, float]:
        """The loaded model, and the milliseconds spent on loading it (0 when it was there).

        Raises ModelError: model-digest-mismatch, or as the runtime refuses it.
        """
        digest = description.artifact_digest
        if digest in self._models:
            self._models.move_to_end(digest)
            return self._models[digest], 0.0
        started = time.perf_counter()
        content = _verified("model file", path, digest)
        while len(self._models) >= self._runtime.models_max:  # before loading: memory is what is short
            self._models.popitem(last=False)
        self._models[digest] = self._runtime.load(content, self._scratch)
        return self._models[digest], (time.perf_counter() - started) * 1e3

    def labels(self, description: ModelDescription, path: Path) -> list[str]:
        """The label map. Raises ModelError: model-digest-mismatch, model-invalid if it is no array of strings."""
        digest = description.labels_digest
        if digest not in self._labels:
            labels = parse_labels(_verified("label map", path, digest))
            while len(self._labels) >= _LABEL_MAPS_MAX:
                self._labels.popitem(last=False)
            self._labels[digest] = labels
        self._labels.move_to_end(digest)
        return self._labels[digest]


def parse_labels(content: bytes) -> list[str]:
    """A label map: a UTF-8 JSON array of strings. Raises ModelError (model-invalid)."""
    try:
        labels = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ModelError(model_invalid(f"The label map is not JSON: {error}")) from error
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise ModelError(model_invalid("The label map is not a JSON array of strings."))
    if not 1 <= len(labels) <= LABELS_MAX:
        raise ModelError(model_invalid(f"The label map has {len(labels)} rows; 1 to {LABELS_MAX} are possible."))
    return labels


def _verified(what: str, path: Path, digest: str) -> bytes:
    content = path.read_bytes()
    found = sha256_of(content)
    if found != digest:
        raise ModelError(digest_mismatch(what, digest, found))
    return content
