"""Documents of one partition that this projector has just written, so that the next batch need not read them."""

from collections.abc import Collection
from itertools import islice
from typing import Any

from darkroom.projector.projections.families import Changes

Document = dict[str, Any]
DOCUMENTS_MAX = 2_000
"""Per partition, generation and read model: some 5 kB each."""
_READ_MODELS = ("jobs", "stats")
"""Those whose folds ask for documents."""


class Remembered:
    """True as long as the checkpoint's compare-and-set finds the offset and era in which these documents were
    written. After anything else, forget all of it: begin with a new one."""

    def __init__(self) -> None:
        self._documents: dict[tuple[int, str], dict[str, Document]] = {}

    def of(self, generation: int, read_model: str, ids: Collection[str]) -> dict[str, Document]:
        """Those of the documents that are remembered, for the fold to change."""
        known = self._documents.get((generation, read_model))
        return {id: known[id] for id in ids if id in known} if known else {}

    def take(self, generation: int, changes: Changes) -> None:
        """Remembers what a batch has put, the latest ones last, and forgets the oldest ones."""
        for read_model in _READ_MODELS:
            put, known = changes.put.get(read_model), self._documents.setdefault((generation, read_model), {})
            for id, document in (put or {}).items():
                known.pop(id, None)
                known[id] = document
            for id in changes.removed.get(read_model, ()):
                known.pop(id, None)
            for id in list(islice(known, max(0, len(known) - DOCUMENTS_MAX))):
                del known[id]
