"""Documents of one partition that this projector has just written, so that the next batch need not read them."""

from collections.abc import Collection
from typing import Any

from darkroom.projector.projections.families import Changes

Document = dict[str, Any]
DOCUMENTS_MAX = 2_000
"""Per partition, generation and read model."""
SIZE_BYTES_MAX = 12 * 2**20
"""Likewise, in bytes of the events that made the documents; in memory these are some five times as large."""
_READ_MODELS = ("jobs", "stats")
"""Those whose folds ask for documents."""
_SIZE_BYTES_MIN = 1_000


class Remembered:
    """True as long as the checkpoint's compare-and-set finds the offset and era in which these documents were
    written. After anything else, forget all of it: begin with a new one."""

    def __init__(self) -> None:
        self._latest: dict[tuple[int, str], _Latest] = {}

    def of(self, generation: int, read_model: str, ids: Collection[str]) -> dict[str, Document]:
        """Those of the documents that are remembered, for the fold to change."""
        latest = self._latest.get((generation, read_model))
        return {id: latest.documents[id] for id in ids if id in latest.documents} if latest else {}

    def take(self, generation: int, changes: Changes) -> None:
        """Remembers what a batch has put, the latest ones last, and forgets the oldest ones."""
        for read_model in _READ_MODELS:
            latest = self._latest.setdefault((generation, read_model), _Latest())
            for id, document in changes.put.get(read_model, {}).items():
                latest.put(id, document)
            for id in changes.removed.get(read_model, ()):
                latest.drop(id)
            latest.trim()


class _Latest:
    """Documents in the order in which they were last written."""

    def __init__(self) -> None:
        self.documents: dict[str, Document] = {}
        self._sizes: dict[str, int] = {}
        self._size_bytes = 0

    def put(self, id: str, document: Document) -> None:
        self.drop(id)
        page = document.get("history")  # a job's: how many bytes of events it has had lately
        size = _SIZE_BYTES_MIN + (page["size_bytes"] if page else 0)
        self.documents[id], self._sizes[id] = document, size
        self._size_bytes += size

    def drop(self, id: str) -> None:
        if self.documents.pop(id, None) is not None:
            self._size_bytes -= self._sizes.pop(id)

    def trim(self) -> None:
        while len(self.documents) > DOCUMENTS_MAX or self._size_bytes > SIZE_BYTES_MAX:
            self.drop(next(iter(self.documents)))
