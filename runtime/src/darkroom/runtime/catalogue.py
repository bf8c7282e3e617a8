"""The model catalogue, folded from its topic and kept whole in memory (it is small)."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence

from darkroom.runtime.eventlog.port import EventLog, Record
from darkroom.runtime.protocol import Verdict
from darkroom.schemas.chain import accepts, partition_of
from darkroom.schemas.errors import Undecodable
from darkroom.schemas.model import Entry, ModelHead, evolve
from darkroom.schemas.wire import read_envelope, read_guard

_log = logging.getLogger("darkroom.catalogue")


class Catalogue:
    """The fold of model heads. Reads may come from any thread."""

    def __init__(self, log: EventLog, on_change: Callable[[], None] | None = None) -> None:
        """Reads the topic from its first record. `on_change` is called in the tail's thread."""
        self._partitions = log.partitions
        self._on_change = on_change
        self._lock = threading.Lock()
        self._heads: dict[str, ModelHead] = {}
        self._positions = dict.fromkeys(range(log.partitions), 0)

    def positions(self) -> Mapping[int, int]:
        return dict(self._positions)

    def epochs(self) -> Mapping[int, int]:
        return {}  # it begins at the first record of all

    def get(self, name: str) -> ModelHead:
        """The head of a model name; an empty one if it was never registered."""
        with self._lock:
            return self._heads.get(name, ModelHead())

    def by_digest(self, name: str, version: str, digest: str) -> Entry | None:
        """The entry that a run was pinned to, if this catalogue has seen it."""
        entry = self.get(name).entries.get(version)
        return entry if entry and entry.description.artifact.get("digest") == digest else None

    def apply(self, records: Sequence[Record]) -> Sequence[Verdict]:
        verdicts: list[Verdict] = []
        for record in records:
            verdicts += self._fold(record)
            self._positions[record.partition] = record.offset + 1
        if self._on_change:
            self._on_change()
        return verdicts

    def _fold(self, record: Record) -> list[Verdict]:
        try:
            guard = read_guard(record.key, record.headers)
        except Undecodable:
            return []
        if partition_of(guard.key, self._partitions) != record.partition:
            return []
        head = self.get(guard.key)
        if not accepts(head.version, head.last_event_id, guard):
            return [Verdict(record.partition, record.offset, guard.event_id, accepted=False)]
        event = None
        try:
            event = read_envelope(guard, record.value, record.headers).event
        except Undecodable as error:
            _log.warning("the body of %s at offset %d changes nothing: %s", guard.type, record.offset, error)
        after = evolve(head, guard, event, record.offset)
        with self._lock:
            self._heads[guard.key] = after
        return [Verdict(record.partition, record.offset, guard.event_id, True, after)]
