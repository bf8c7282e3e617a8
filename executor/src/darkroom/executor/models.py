"""The files of the models that runs are pinned to, fetched from the blob store and verified by digest."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from darkroom.executor.artifacts import ArtifactCache
from darkroom.runtime.blobs import BlobStore
from darkroom.runtime.catalogue import Catalogue
from darkroom.schemas.errors import TailBehind
from darkroom.schemas.job import ModelRef


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model whose files are here: its description, and where artifact and label map stand."""

    description: Mapping[str, Any]
    artifact_path: Path
    labels_path: Path


class ModelFiles:
    """Looks models up in the catalogue, and their files in a local cache."""

    def __init__(self, catalogue: Catalogue, blobs: BlobStore, cache: ArtifactCache) -> None:
        self._catalogue = catalogue
        self._blobs = blobs
        self._cache = cache

    def ensure(self, model: ModelRef) -> LocalModel:
        """The files of a model. Raises TailBehind if the catalogue has not told of it yet (whether it may run
        was decided at the door; here one only waits), BlobMissing, StoreUnavailable, ModelError if its digest
        differs."""
        entry = self._catalogue.by_digest(model.name, model.version, model.digest)
        if entry is None:
            raise TailBehind(f"the catalogue has not told of {model.name}@{model.version} {model.digest} yet")
        description = asdict(entry.description)
        return LocalModel(
            description,
            self._file(description["artifact"]["digest"]),
            self._file(description["labels"]["digest"]),
        )

    def _file(self, digest: str) -> Path:
        return self._cache.ensure(digest, lambda: self._blobs.stream(digest))
