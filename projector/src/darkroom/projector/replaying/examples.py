"""What a comparison shows of the documents that differ, field by field."""

from darkroom.projector.compare import EXAMPLES_MAX, FIELDS_MAX, Comparison, Document, Example, differing_fields
from darkroom.projector.projections.families import Family
from darkroom.projector.replaying.crew import Effort, Target
from darkroom.projector.replaying.pace import Throttle
from darkroom.projector.replaying.partitions import fold_partition
from darkroom.projector.shelf import Shelf
from darkroom.projector.store_bulk import inserted
from darkroom.projector.store_snapshot import Snapshot, SnapshotTooOld
from darkroom.runtime.eventlog.port import EventLog


class Rebuilt:
    """The rebuilt documents that are looked at field by field: those that were inserted, or folded once more."""

    def __init__(
        self, log: EventLog, topic: str, family: Family, taken: Snapshot, target: Target | None, effort: Effort
    ) -> None:
        self._log, self._topic, self._family, self._taken = log, topic, family, taken
        self._target, self._effort = target, effort
        self._folded: tuple[int, Shelf] | None = None

    def __enter__(self) -> "Rebuilt":
        return self

    def __exit__(self, *_: object) -> None:
        self._forget()

    def add_examples(self, comparison: Comparison) -> None:
        """Gives the comparison's altered documents their fields."""
        for partition, id in comparison.altered:
            try:
                live = self._taken.document(comparison.read_model, id)
            except SnapshotTooOld as error:
                comparison.examples.append(Example(id, f"differs (how, can no longer be told: {error})"))
                continue
            fields = differing_fields(live, self._document(partition, comparison.read_model, id))
            comparison.examples.append(Example(id, "differs", tuple(fields[:FIELDS_MAX])))
        del comparison.examples[EXAMPLES_MAX:]

    def _document(self, partition: int, read_model: str, id: str) -> Document | None:
        if self._target is not None:
            return inserted(self._target.store, self._target.generation, read_model, id)
        if self._folded is None or self._folded[0] != partition:
            self._forget()
            shelf = Shelf(self._effort.memory_size_bytes)
            stop = self._taken.vector[partition]
            fold_partition(self._log, self._topic, self._family, partition, stop, shelf, Throttle())
            self._folded = (partition, shelf)
        return self._folded[1].load(read_model, [id]).get(id)

    def _forget(self) -> None:
        if self._folded is not None:
            self._folded[1].close()
            self._folded = None
