"""Inserts ready BSON documents from a thread of its own, while the next ones are folded."""

import threading
from queue import Queue
from typing import Any

from bson.raw_bson import RawBSONDocument

from darkroom.projector.store import Store, unavailable
from darkroom.schemas.views import collection

_BATCH_SIZE_BYTES = 4 * 2**20
_BATCH_DOCUMENTS = 2_000
_BATCHES_WAITING_MAX = 4


class Inserter:
    """Bounded: `add` waits while too much is under way. Close it (`with`) before the documents are counted on."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._queue: Queue[tuple[str, list[RawBSONDocument]] | None] = Queue(_BATCHES_WAITING_MAX)
        self._failure: BaseException | None = None
        self._pending: list[RawBSONDocument] = []
        self._pending_bytes = 0
        self._target = ""
        self._thread = threading.Thread(target=self._run, name="inserter", daemon=True)

    def __enter__(self) -> "Inserter":
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self._flush()
        finally:
            self._queue.put(None)
            self._thread.join()
        if kind is None and self._failure is not None:
            raise self._failure

    def add(self, target: str, document: bytes) -> None:
        """Inserts a document into the collection `target` soon. Raises what an earlier insert raised."""
        if target != self._target or self._pending_bytes > _BATCH_SIZE_BYTES:
            self._flush()
            self._target = target
        self._pending.append(RawBSONDocument(document))
        self._pending_bytes += len(document)
        if len(self._pending) >= _BATCH_DOCUMENTS:
            self._flush()

    def _flush(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._pending:
            self._queue.put((self._target, self._pending))
            self._pending, self._pending_bytes = [], 0

    def _run(self) -> None:
        while (batch := self._queue.get()) is not None:
            if self._failure is not None:
                continue  # drained, so that `add` never waits for a thread that has given up
            target, documents = batch
            try:
                with unavailable():
                    self._store.database[target].insert_many(documents, ordered=False)
            except BaseException as error:
                self._failure = error


def inserted(store: Store, generation: int, read_model: str, id: str) -> dict[str, Any] | None:
    """A document of a generation that is being built. Raises StoreUnavailable."""
    with unavailable():
        return store.database[collection(read_model, generation)].find_one({"_id": id})
