"""The documents of one partition in memory, while a replay folds it.

Documents that have come to rest are held as the BSON bytes that will be inserted; one that is touched again is
decoded again.
"""

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC
from typing import Any

import bson
from bson.codec_options import CodecOptions

from darkroom.projector.projections.families import Changes
from darkroom.schemas.job import TERMINAL

Document = dict[str, Any]
CODEC: CodecOptions[Document] = CodecOptions(tz_aware=True, tzinfo=UTC)
_AT_REST = frozenset(map(str, TERMINAL))


class Shelf:
    """Answers `load` and takes `Changes`, as MongoDB does for the live loop."""

    def __init__(self) -> None:
        self._documents: dict[str, dict[str, Document | bytes]] = {}

    def load(self, read_model: str, ids: Collection[str]) -> Mapping[str, Document]:
        """The documents that exist."""
        known = self._documents.get(read_model, {})
        found = ((id, known[id]) for id in ids if id in known)
        return {id: bson.decode(d, CODEC) if isinstance(d, bytes) else d for id, d in found}

    def take(self, changes: Changes) -> None:
        """Applies what a batch changed."""
        for read_model, documents in changes.put.items():
            known = self._documents.setdefault(read_model, {})
            for id, document in documents.items():
                known[id] = bson.encode(document) if document.get("status") in _AT_REST else document
        for read_model, ids in changes.removed.items():
            for id in ids:
                self._documents.get(read_model, {}).pop(id, None)
        history = self._documents.get("history", {})
        for id, entries in changes.appended.items():
            chunk = history[id]
            assert not isinstance(chunk, bytes), "chunks have no status, so they are held as they are"
            chunk["entries"].extend(entries)
            chunk["last"] = entries[-1]["offset"]

    def encoded(self, read_model: str) -> Iterator[tuple[str, bytes]]:
        """Every document by id, as the bytes to insert, which are given up as they are handed out."""
        known = self._documents.pop(read_model, {})
        while known:
            id, document = known.popitem()
            yield id, document if isinstance(document, bytes) else bson.encode(document)

    def documents(self, read_model: str) -> list[Document]:
        """Every document, decoded."""
        return list(self.load(read_model, list(self._documents.get(read_model, {}))).values())
