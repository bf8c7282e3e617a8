"""The live documents of one snapshot, read beside the folding: their sums, and each one's id and digest."""

import threading
from time import monotonic

from darkroom.projector.compare import id_of
from darkroom.projector.projections.families import Family
from darkroom.projector.replaying.partitions import Stopped
from darkroom.projector.replaying.tally import Spool, Tally, partition_of_document
from darkroom.projector.store_snapshot import Snapshot


class LiveDocuments:
    """Reads them in a thread (`with`); until it is done, the snapshot's session is its own."""

    def __init__(self, taken: Snapshot, family: Family, partitions: int) -> None:
        self._taken, self._family, self._partitions = taken, family, partitions
        self._stopping = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="live-documents", daemon=True)
        self._begun = monotonic()
        self.about = taken.about(family.read_models)
        self.spool = Spool()
        self.tally = Tally(self.spool)
        self.read = 0

    def __enter__(self) -> "LiveDocuments":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        self._thread.join()
        self.spool.close()

    @property
    def per_s(self) -> float:
        """Documents per second so far."""
        return self.read / max(0.001, monotonic() - self._begun)

    def wait(self, timeout_s: float) -> bool:
        """Whether all are read, after at most `timeout_s`. Raises what went wrong."""
        self._thread.join(timeout_s)
        done = not self._thread.is_alive()  # first: it tells, and then it ends
        if self._failure is not None:
            raise self._failure
        return done

    def _run(self) -> None:
        try:
            for read_model in self._family.read_models:
                for document in self._taken.documents(read_model):
                    id = id_of(document)
                    self.tally.add(
                        (partition_of_document(read_model, id, self._partitions), read_model), id, document
                    )
                    self.read += 1
                    if self._stopping:
                        raise Stopped
            self.spool.flush()
        except BaseException as error:
            self._failure = error
