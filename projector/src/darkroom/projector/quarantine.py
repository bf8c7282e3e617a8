"""Would today's code read what is in quarantine? A look that touches nothing.

What a record does depends on what its aggregate has been through, so each is folded with all records of its key,
from the beginning of the partition to where the live generation stands.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from darkroom.projector.projections.families import Family
from darkroom.projector.reading import stretch
from darkroom.projector.shelf import Shelf
from darkroom.projector.store import Store
from darkroom.projector.store_quarantine import of_partition
from darkroom.runtime.eventlog.port import EventLog, Record
from darkroom.schemas.views import QUARANTINES

_MEMORY_SIZE_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reason`: why the record is in quarantine, None where it is not in there yet; `today`: why today's code
    cannot read it, None if it can."""

    id: str
    reason: str | None
    today: str | None

    @property
    def readable(self) -> bool:
        return self.today is None


def look(store: Store, log: EventLog, topic: str, family: Family) -> Iterator[Verdict]:
    """A verdict on each record in quarantine, and on each other record of the same keys that would come into it.
    Raises Fenced, StoreUnavailable, LogUnavailable."""
    for partition in range(log.partitions):
        found = list(of_partition(store, family, topic, partition))
        if not found:
            continue
        stop = store.progress(family, topic, [partition])[partition].start
        today = _folded(log, topic, family, partition, stop, {d["key"] for d in found})
        for document in sorted(found, key=lambda d: int(d["offset"])):
            yield Verdict(document["_id"], document["reason"], today.pop(document["_id"], None))
        for id, reason in today.items():
            yield Verdict(id, None, reason)


def _folded(
    log: EventLog, topic: str, family: Family, partition: int, stop: int, keys: set[bytes | None]
) -> dict[str, str]:
    """The reasons of all records of these keys that today's code cannot read, by id."""
    reasons: dict[str, str] = {}
    with Shelf(_MEMORY_SIZE_BYTES) as shelf:
        for batch in stretch(log, partition, 0, stop):
            concerned: list[Record] = [r for r in batch if r.key in keys]
            changes = family.fold(topic, log.partitions, concerned, shelf.load)
            shelf.take(changes)
            reasons.update((d["_id"], d["reason"]) for d in changes.put.get(QUARANTINES[family.name], {}).values())
    return reasons
