"""What stands in the blob store and is shown: large results, label maps, pictures. Bounded caches, by digest."""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Protocol

import orjson

from darkroom.schemas.errors import BlobMissing, StoreUnavailable

RESULTS_SIZE_BYTES_MAX = 64 * 2**20
LABELS_SIZE_BYTES_MAX = 4 * 2**20
_LABEL_MAPS_KEPT = 64
_RESULTS_KEPT = 4


class Blobs(Protocol):
    """What is needed of the blob store. `get` raises BlobMissing, both raise StoreUnavailable."""

    def get(self, digest: str) -> bytes: ...

    def size(self, digest: str) -> int: ...


class Content:
    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._lock = threading.Lock()
        self._label_maps: OrderedDict[str, list[str]] = OrderedDict()
        self._results: OrderedDict[str, list[dict[str, Any]]] = OrderedDict()

    def results_of(self, run: Mapping[str, Any] | None) -> list[dict[str, Any]] | None:
        """The results of a run (latest run of a job, or run document), wherever they stand; None if it has none.
        Raises StoreUnavailable."""
        if run is None:
            return None
        blob = run.get("results_blob")
        if not blob:
            return run.get("results")
        found: list[dict[str, Any]] = self._json(
            self._results, _RESULTS_KEPT, blob["digest"], RESULTS_SIZE_BYTES_MAX
        )
        return found

    def labels(self, digest: str) -> list[str] | None:
        """The names of a label map, or None where its blob is gone."""
        try:
            found: list[str] = self._json(self._label_maps, _LABEL_MAPS_KEPT, digest, LABELS_SIZE_BYTES_MAX)
        except (BlobMissing, ValueError):
            return None
        return found

    def picture(self, digest: str) -> bytes:
        """An upload as it came; never to be given out so. Raises BlobMissing, StoreUnavailable."""
        return self._blobs.get(digest)

    def _json(self, cache: OrderedDict[str, Any], kept: int, digest: str, size_bytes_max: int) -> Any:
        with self._lock:
            if digest in cache:
                cache.move_to_end(digest)
                return cache[digest]
        value = self._load(digest, size_bytes_max)
        with self._lock:
            cache[digest] = value
            while len(cache) > kept:
                cache.popitem(last=False)
        return value

    def _load(self, digest: str, size_bytes_max: int) -> Any:
        size_bytes = self._blobs.size(digest)
        if size_bytes > size_bytes_max:
            raise StoreUnavailable(
                f"blob {digest} has {size_bytes} bytes, more than the {size_bytes_max} read here"
            )
        try:
            return orjson.loads(self._blobs.get(digest))
        except orjson.JSONDecodeError:
            raise StoreUnavailable(f"blob {digest} is not JSON") from None
