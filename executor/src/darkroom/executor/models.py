"""The files of the models that runs are pinned to, fetched from the blob store and verified by digest."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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

    @contextmanager
    def hold(self, model: ModelRef) -> Iterator[LocalModel]:
        """The files of a model, which stay until the context ends. Raises TailBehind if the catalogue has not
        told of it yet (whether it may run was decided at the door; here one only waits), BlobMissing,
        StoreUnavailable, ModelError if its digest differs."""
        entry = self._catalogue.by_digest(model.name, model.version, model.digest)
        if entry is None:
            raise TailBehind(f"the catalogue has not told of {model.name}@{model.version} {model.digest} yet")
        description = asdict(entry.description)
        artifact, labels = (description[part]["digest"] for part in ("artifact", "labels"))
        with (
            self._cache.hold(artifact, lambda: self._blobs.stream(artifact)) as artifact_path,
            self._cache.hold(labels, lambda: self._blobs.stream(labels)) as labels_path,
        ):
            yield LocalModel(description, artifact_path, labels_path)

    def discard(self, model: ModelRef) -> None:
        """Forgets the local file of a model, which turned out to be damaged."""
        self._cache.discard(model.digest)
