"""The live read models as they stood at one moment: their checkpoints and their documents, of one snapshot."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.client_session import ClientSession

from darkroom.projector.projections.families import Family
from darkroom.projector.store import Progress, Store, unavailable
from darkroom.schemas.views import collection

Document = dict[str, Any]
_RAW: CodecOptions[Any] = CodecOptions(document_class=RawBSONDocument)


class Snapshot:
    """Reads of one moment. MongoDB keeps a snapshot for `minSnapshotHistoryWindowInSeconds` (300 s by default); a
    read after that raises StoreUnavailable."""

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
        with unavailable():
            for document in target.find({}, session=self._session, batch_size=5_000):
                yield bytes(document.raw)

    def document(self, read_model: str, id: str) -> Document | None:
        """One document of the live generation."""
        with unavailable():
            found: Document | None = self._database[collection(read_model, self.live)].find_one(
                {"_id": id}, session=self._session
            )
            return found


@contextmanager
def snapshot(store: Store, family: Family, topic: str, partitions: int) -> Iterator[Snapshot]:
    """A snapshot of now. Raises Fenced if there is no live generation, StoreUnavailable."""
    with unavailable(), store.client.start_session(snapshot=True) as session:
        yield Snapshot(store, session, family, topic, partitions)
