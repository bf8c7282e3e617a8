"""What one record does to one aggregate: the input of every read model but the one that keeps its chain."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from darkroom.runtime.eventlog.port import Record
from darkroom.schemas.chain import Guard, accepts, partition_of
from darkroom.schemas.errors import Undecodable
from darkroom.schemas.wire import Envelope, read_envelope, read_guard

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """One record, and the aggregate's document before and after it.

    `accepted` is the verdict of the headers alone. `envelope` is None where the body could not be used: then
    `reason` says why, the record is quarantined, and `after` differs from `before` by the chain at most.
    """

    record: Record
    guard: Guard | None
    envelope: Envelope | None
    accepted: bool
    before: Document | None
    after: Document | None
    reason: str | None = None


Fold = Callable[[Document | None, Envelope, Record], Document]
ChainOnly = Callable[[Document | None, Guard, Record], Document]


def guard_of(record: Record, partitions: int) -> Guard | Step:
    """The record's guard, or the step of a record that touches no aggregate."""
    try:
        guard = read_guard(record.key, record.headers)
    except Undecodable as error:
        return Step(record, None, None, False, None, None, str(error))
    if partition_of(guard.key, partitions) != record.partition:
        reason = f"the key belongs into partition {partition_of(guard.key, partitions)}"
        return Step(record, guard, None, False, None, None, reason)
    return guard


def take(
    before: Document | None, guard: Guard, record: Record, *, accepted: Fold, void: Fold, chain_only: ChainOnly
) -> Step:
    """The step of a record whose guard was read. Total: no record of any content raises."""
    version, last_event_id = (before["version"], before["last_event_id"]) if before else (0, "")
    verdict = accepts(version, last_event_id, guard)
    if before is None and not verdict:
        return Step(record, guard, None, False, None, None, "it continues a chain that does not exist")
    try:
        envelope = read_envelope(guard, record.value, record.headers)
        after = (accepted if verdict else void)(before, envelope, record)
    except Exception as error:  # whatever a body does to a fold, the chain of the aggregate goes on
        after_chain = chain_only(before, guard, record) if verdict else before
        reason = f"{type(error).__name__}: {error}" if not isinstance(error, Undecodable) else str(error)
        return Step(record, guard, None, verdict, before, after_chain, reason)
    return Step(record, guard, envelope, verdict, before, after)


def quarantined(topic: str, step: Step) -> Document:
    """The document of a record that no fold could read; see views.Quarantined."""
    record = step.record
    document: Document = {
        "_id": f"{topic}:p{record.partition}:{record.offset}",
        "topic": topic,
        "partition": record.partition,
        "offset": record.offset,
        "key": record.key,
        "headers": [[name, value] for name, value in record.headers],
        "value": record.value,
        "reason": step.reason,
    }
    if step.guard is not None:
        document["job"] = step.guard.key
    return document
