"""Read model `history`: the raw events of a job, void ones too, in chunks that are only appended to."""

from dataclasses import dataclass
from typing import Any

import orjson

from darkroom.projector.projections.step import Document, Step
from darkroom.schemas.views import HISTORY_CHUNK_EVENTS, HISTORY_CHUNK_SIZE_BYTES_MAX


@dataclass(frozen=True, slots=True)
class Appended:
    """One event for a chunk. `chunk` is the whole new document if the event opens it, otherwise None."""

    id: str
    entry: Document
    chunk: Document | None


def page_after(page: Document, size_bytes: int) -> Document:
    """Where the next event of `size_bytes` goes: `page` is the chunk in use, its events and their bytes."""
    full = page["events"] >= HISTORY_CHUNK_EVENTS or (
        page["events"] > 0 and page["size_bytes"] + size_bytes > HISTORY_CHUNK_SIZE_BYTES_MAX
    )
    if full:
        return {"chunk": page["chunk"] + 1, "events": 1, "size_bytes": size_bytes}
    return {
        "chunk": page["chunk"],
        "events": page["events"] + 1,
        "size_bytes": page["size_bytes"] + size_bytes,
    }


def fold_history(step: Step) -> Appended | None:
    """The event as an entry of its job's history; None for what is quarantined."""
    job, envelope, record = step.after, step.envelope, step.record
    if job is None or envelope is None:
        return None
    number = job["history"]["chunk"]
    entry = {
        "offset": record.offset,
        "void": not step.accepted,
        "type": envelope.guard.type,
        "status": job["status"],
        "event": _raw(step),
    }
    opened = None
    if job["history"]["events"] == 1:
        opened = {
            "_id": f"{job['_id']}:{number}",
            "job": job["_id"],
            "tenant": job["tenant"],
            "partition": record.partition,
            "chunk": number,
            "first": record.offset,
            "last": record.offset,
            "entries": [entry],
        }
    return Appended(f"{job['_id']}:{number}", entry, opened)


def _raw(step: Step) -> str:
    value = step.record.value or b""
    if dict(step.record.headers).get("content-type", b"").startswith(b"application/cloudevents+json"):
        return value.decode()
    assert step.envelope is not None  # binary mode: the structured form of the same event
    whole: dict[str, Any] = {**step.envelope.attributes, "data": orjson.loads(value)}
    return orjson.dumps(whole).decode()
