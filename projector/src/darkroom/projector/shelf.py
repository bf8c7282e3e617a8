"""The documents of one partition, while a replay folds it.

Those that the last batch did not touch, or that have come to rest, are held as the BSON bytes that will be
inserted; one that is touched again is decoded again. What is more than the bound goes to a temporary file, and
comes back when it is asked for.
"""

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC
from typing import Any

import bson
from bson.codec_options import CodecOptions

from darkroom.projector.projections.families import Changes
from darkroom.projector.spill import Spill
from darkroom.schemas.job import TERMINAL
from darkroom.schemas.views import QUARANTINES

Document = dict[str, Any]
CODEC: CodecOptions[Document] = CodecOptions(tz_aware=True, tzinfo=UTC)
_AT_REST = frozenset(map(str, TERMINAL))
_NEVER_TOUCHED_AGAIN = frozenset(QUARANTINES.values())
_HELD_BESIDE_BYTES = 220
"""What a document costs beside its bytes: its id, its place in a dict, the objects' headers."""


class Shelf:
    """Answers `load` and takes `Changes`, as MongoDB does for the live loop. Raises OSError if the disk is full.

    `size_bytes_max` bounds the documents that it holds in memory as bytes; those of the batch in work come on top.
    """

    def __init__(self, size_bytes_max: int | None = None) -> None:
        self._size_bytes_max = size_bytes_max
        self._size_bytes = 0
        self._open: dict[str, dict[str, Document]] = {}
        self._held: dict[str, dict[str, bytes]] = {}
        self._spill: Spill | None = None

    def __enter__(self) -> "Shelf":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def load(self, read_model: str, ids: Collection[str]) -> Mapping[str, Document]:
        """The documents that exist. They may be changed in place, if the changes are then taken."""
        opened, held = self._open.get(read_model, {}), self._held.get(read_model, {})
        found: dict[str, Document] = {}
        elsewhere: list[str] = []
        for id in ids:
            if (document := opened.get(id)) is not None:
                found[id] = document
            elif (raw := held.get(id)) is not None:
                found[id] = bson.decode(raw, CODEC)
            else:
                elsewhere.append(id)
        if self._spill is not None and elsewhere:
            found.update((id, bson.decode(raw, CODEC)) for id, raw in self._spill.get(read_model, elsewhere))
        return found

    def take(self, changes: Changes) -> None:
        """Applies what a batch changed."""
        before, self._open = self._open, {}
        jobs = changes.put.get("jobs", {})
        for read_model, documents in changes.put.items():
            former = before.get(read_model, {})
            for id, document in documents.items():
                former.pop(id, None)
                self._put(read_model, id, document, jobs)
        for read_model, ids in changes.removed.items():
            former = before.get(read_model, {})
            for id in ids:
                former.pop(id, None)
                self._drop(read_model, id)
            if self._spill is not None:
                self._spill.remove(read_model, ids)
        former = before.get("history", {})
        chunks = former | dict(self.load("history", [id for id in changes.appended if id not in former]))
        for id, entries in changes.appended.items():
            chunk = chunks[id]
            chunk["entries"].extend(entries)
            chunk["last"] = entries[-1]["offset"]
            former.pop(id, None)
            self._put("history", id, chunk, jobs)
        for read_model, documents in before.items():
            for id, document in documents.items():
                self._hold(read_model, id, bson.encode(document))
        if self._size_bytes_max is not None and self._size_bytes > self._size_bytes_max:
            self._write_out()

    def encoded(self, read_model: str) -> Iterator[tuple[str, bytes]]:
        """Every document by id, as the bytes to insert, which are given up as they are handed out."""
        opened = self._open.pop(read_model, {})
        held = self._held.pop(read_model, {})
        handed_out: set[str] = set()
        for id, document in opened.items():
            handed_out.add(id)
            yield id, bson.encode(document)
        while held:
            id, raw = held.popitem()
            if self._spill is not None:
                handed_out.add(id)
            yield id, raw
        if self._spill is not None:
            for id, raw in self._spill.all(read_model):
                if id not in handed_out:
                    yield id, raw

    def documents(self, read_model: str) -> list[Document]:
        """Every document, decoded; they are given up as with `encoded`."""
        return [bson.decode(raw, CODEC) for _, raw in self.encoded(read_model)]

    def close(self) -> None:
        """Gives up everything."""
        self._open, self._held = {}, {}
        if self._spill is not None:
            self._spill.close()

    def _put(self, read_model: str, id: str, document: Document, jobs: Mapping[str, Document]) -> None:
        """Takes a document that the batch changed. A chunk of history rests when its job does."""
        rests = jobs.get(document["job"], document) if read_model == "history" else document
        if rests.get("status") in _AT_REST or read_model in _NEVER_TOUCHED_AGAIN:
            self._hold(read_model, id, bson.encode(document))
        else:
            self._drop(read_model, id)
            self._open.setdefault(read_model, {})[id] = document

    def _hold(self, read_model: str, id: str, raw: bytes) -> None:
        held = self._held.setdefault(read_model, {})
        before = held.get(id)
        self._size_bytes += len(raw) - len(before) if before is not None else len(raw) + _HELD_BESIDE_BYTES
        held[id] = raw

    def _drop(self, read_model: str, id: str) -> None:
        """Out of what is held as bytes."""
        raw = self._held.get(read_model, {}).pop(id, None)
        if raw is not None:
            self._size_bytes -= len(raw) + _HELD_BESIDE_BYTES

    def _write_out(self) -> None:
        if self._spill is None:
            self._spill = Spill()
        for read_model, held in self._held.items():
            self._spill.put(read_model, sorted(held.items()))
        self._held, self._size_bytes = {}, 0
