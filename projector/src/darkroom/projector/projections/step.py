"""What one record does to one aggregate: what every read model but the one that keeps its chain looks at.

The rule for a record that cannot be used, in the order in which it is tried:

1. No guard can be read from its headers, or its key belongs into another partition, or it continues a chain that
   does not exist: it touches no aggregate. It is quarantined.
2. Its guard is read, and the verdict falls, from the headers alone. If its body then cannot be read, contradicts
   the headers, is of a type or version that this code does not know, or makes a fold raise, it is quarantined; if
   it was accepted, the chain of its aggregate and a job's status go on, and nothing else changes.
3. Later events of the same aggregate fold on what is there. Those that need what is missing (a run that was never
   seen) are quarantined in their turn.

A quarantined record keeps its key, headers and value as they are, its position, and the reason.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from darkroom.runtime.eventlog.port import Record
from darkroom.schemas.chain import Guard, accepts, partition_of
from darkroom.schemas.errors import Undecodable
from darkroom.schemas.upcasting import Versions
from darkroom.schemas.wire import Envelope, read_envelope, read_guard

Document = dict[str, Any]

RECORD_SIZE_BYTES_MAX = 4 * 2**20
"""Larger values are quarantined, and cut there. The log takes records of 1 MiB in all."""
ID_LENGTH_MAX = 200
"""Ids of events stand in a job's timeline."""
_REASON_LENGTH_MAX = 1_000


class Step(NamedTuple):
    """One record, and what it did to its aggregate.

    `accepted` is the verdict of the headers alone. `envelope` is None where the body could not be used: then
    `reason` says why. `after` is the aggregate's document, changed in place; None where the record touches none.
    `run_before`: a job's latest run before the record.
    """

    record: Record
    guard: Guard | None
    envelope: Envelope | None
    accepted: bool
    after: Document | None
    run_before: Document | None = None
    reason: str | None = None


Fold = Callable[[Document | None, Envelope, Record], Document]
"""The document after an event; the one given may be changed in place, but not before all is done that may raise."""
ChainOnly = Callable[[Document | None, Guard, Record], Document]
"""The document after an accepted event whose body cannot be used. Never raises."""


def guard_of(record: Record, partitions: int) -> Guard | Step:
    """The record's guard, or the step of a record that touches no aggregate."""
    try:
        guard = read_guard(record.key, record.headers)
    except Undecodable as error:
        return Step(record, None, None, False, None, None, str(error))
    home = partition_of(guard.key, partitions)
    if home != record.partition:
        return Step(record, guard, None, False, None, None, f"the key belongs into partition {home}")
    return guard


def take(
    before: Document | None,
    guard: Guard,
    record: Record,
    versions: Versions,
    *,
    accepted: Fold,
    void: Fold,
    chain_only: ChainOnly,
) -> Step:
    """The step of a record whose guard was read. Total: no record of any content raises."""
    if before is None:
        verdict, run = accepts(0, "", guard), None
        if not verdict:
            reason = "it continues a chain that does not exist"
            return Step(record, guard, None, False, None, None, reason)
    else:
        verdict, run = accepts(before["version"], before["last_event_id"], guard), before.get("run")
    try:
        if len(record.value or b"") > RECORD_SIZE_BYTES_MAX or len(guard.event_id) > ID_LENGTH_MAX:
            raise Undecodable("its value or its id is larger than any of ours")
        envelope = read_envelope(guard, record.value, record.headers, versions)
        after = accepted(before, envelope, record) if verdict else void(before, envelope, record)
    except Exception as error:  # whatever a body does to a fold, the chain of the aggregate goes on
        after_chain = chain_only(before, guard, record) if verdict else before
        reason = f"{type(error).__name__}: {error}" if not isinstance(error, Undecodable) else str(error)
        return Step(record, guard, None, verdict, after_chain, run, reason)
    return Step(record, guard, envelope, verdict, after, run)


def quarantined(topic: str, step: Step) -> Document:
    """The document of a record that no fold could read; see views.Quarantined."""
    record = step.record
    document: Document = {
        "_id": f"{topic}:p{record.partition}:{record.offset}",
        "topic": topic,
        "partition": record.partition,
        "offset": record.offset,
        "key": record.key,
        "headers": [[_readable(name), value] for name, value in record.headers or []],
        "value": record.value[:RECORD_SIZE_BYTES_MAX] if record.value else record.value,
        "reason": _readable(step.reason or "")[:_REASON_LENGTH_MAX],
    }
    if step.guard is not None:
        document["job"] = step.guard.key
    return document


def _readable(text: str) -> str:
    """Text without the lone surrogates that no database takes."""
    return text.encode("utf-8", "backslashreplace").decode()
