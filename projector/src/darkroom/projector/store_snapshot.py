"""The live read models as they stood at one moment: their checkpoints and their documents, of one snapshot."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.client_session import ClientSession
from pymongo.errors import OperationFailure

from darkroom.projector.projections.families import Family
from darkroom.projector.store import Progress, Store, unavailable
from darkroom.schemas.errors import StoreUnavailable
from darkroom.schemas.views import collection

Document = dict[str, Any]
_RAW: CodecOptions[Any] = CodecOptions(document_class=RawBSONDocument)
_SNAPSHOT_TOO_OLD, _SNAPSHOT_UNAVAILABLE = 239, 246


class SnapshotTooOld(StoreUnavailable):
    """MongoDB no longer holds what stood there at the moment of the snapshot."""


class Snapshot:
    """Reads of one moment. MongoDB keeps a snapshot for `minSnapshotHistoryWindowInSeconds` (300 s by default); a
    read after that raises SnapshotTooOld. For one thread at a time."""

    def __init__(self, store: Store, session: ClientSession, family: Family, topic: str, partitions: int) -> None:
        self._store, self._session, self._family = store, session, family
        self._database = store.client.get_database(store.database.name)
        self.progress: Mapping[int, Progress] = store.progress(family, topic, range(partitions), session)
        self.live = self.progress[0].live

    @property
    def vector(self) -> dict[int, int]:
        """The offset of the next record of each partition: what the live generation has folded."""
        return {p: progress.start for p, progress in self.progress.items()}

    def documents(self, read_model: str) -> Iterator[bytes]:
        """Every document of the live generation, as BSON bytes."""
        target: Any = self._database.get_collection(collection(read_model, self.live), codec_options=_RAW)
        with _of_that_moment():
            for document in target.find({}, session=self._session, batch_size=5_000):
                yield bytes(document.raw)

    def about(self, read_models: Sequence[str]) -> int:
        """About how many documents there are, by MongoDB's own books."""
        with unavailable():
            return sum(self._database[collection(m, self.live)].estimated_document_count() for m in read_models)

    def document(self, read_model: str, id: str) -> Document | None:
        """One document of the live generation."""
        with _of_that_moment():
            found: Document | None = self._database[collection(read_model, self.live)].find_one(
                {"_id": id}, session=self._session
            )
            return found


@contextmanager
def snapshot(store: Store, family: Family, topic: str, partitions: int) -> Iterator[Snapshot]:
    """A snapshot of now. Raises Fenced if there is no live generation, StoreUnavailable."""
    with unavailable(), store.client.start_session(snapshot=True) as session:
        yield Snapshot(store, session, family, topic, partitions)


def live_marks(store: Store, family: Family, generation: int) -> dict[int, tuple[int, Any]]:
    """How far the live generation has folded each partition, and when that was last looked after: what changes
    while a projector is at work. Raises StoreUnavailable."""
    with unavailable():
        found = store.checkpoints.find({"family": family.name, "generation": generation})
        return {c["partition"]: (c["next"], c["end_seen_at"]) for c in found}


@contextmanager
def _of_that_moment() -> Iterator[None]:
    with unavailable():
        try:
            yield
        except OperationFailure as error:
            if error.code in (_SNAPSHOT_TOO_OLD, _SNAPSHOT_UNAVAILABLE):
                raise SnapshotTooOld(
                    "MongoDB no longer has the live read models as they were when the replay began: it keeps "
                    "a moment for minSnapshotHistoryWindowInSeconds; raise that parameter of mongod"
                ) from error
            raise
