"""Read model `jobs`: one document per job, with its latest run, its timeline, and its chain.

The chain (version, last_event_id) stands in this document, so this fold says for all read models of the jobs
topic which events count.
"""

from datetime import UTC, datetime, timedelta

from darkroom.projector.projections import run as runs
from darkroom.projector.projections.history import page_after
from darkroom.projector.projections.plain import mapping, moment, text, whole
from darkroom.projector.projections.step import Document, Step, take
from darkroom.runtime.eventlog.port import Record
from darkroom.schemas.chain import Guard, short_type
from darkroom.schemas.errors import Undecodable
from darkroom.schemas.job import Status, status_after
from darkroom.schemas.views import TIMELINE_ENTRIES_MAX
from darkroom.schemas.wire import Envelope

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NO_MODEL = {"name": "", "version": "", "digest": ""}


def fold_job(before: Document | None, guard: Guard, record: Record) -> Step:
    """The job's document after one record of its partition."""
    return take(before, guard, record, accepted=_accepted, void=_void, chain_only=_chain_only)


def _accepted(before: Document | None, envelope: Envelope, record: Record) -> Document:
    guard, time = envelope.guard, moment(envelope.time)
    kind = short_type(guard.type)
    job = _opened(guard, record, time) if before is None else before
    job = _chain(job, guard, record) | {"status": str(status_after(_status(before), guard)), "updated_at": time}
    if before is None or before["status"] != Status.DELETED:
        job |= _content(job, kind, envelope, time)
    job["event_count"] += 1
    return _noted(job, envelope, record, time, void=False)


def _void(before: Document | None, envelope: Envelope, record: Record) -> Document:
    assert before is not None
    job = before | {"void_count": before["void_count"] + 1}
    return _noted(job, envelope, record, moment(envelope.time), void=True)


def _chain_only(before: Document | None, guard: Guard, record: Record) -> Document:
    # No body, no event time: the broker's record time stands in for a job whose very first event is unreadable.
    job = before or _opened(guard, record, _EPOCH + timedelta(milliseconds=max(0, record.timestamp_ms)))
    return _chain(job, guard, record) | {"status": str(status_after(_status(before), guard))}


def _content(job: Document, kind: str, envelope: Envelope, time: datetime) -> Document:
    """The fields that an event changes besides chain, status and timeline."""
    data, run = envelope.data, envelope.guard.run
    if "run" in data and data["run"] != run:
        raise Undecodable(f"data.run is {data['run']!r:.20}, the header says {run}")
    match kind:
        case "created":
            spec, labels = mapping(data["spec"]), mapping(data["labels"])
            if data["execute"] is not (run == 1):
                raise Undecodable(f"data.execute is {data['execute']!r:.20}, the header says run {run}")
            first = runs.requested(1, spec, time) if run else None
            return _asked(spec) | {"run": first, "labels": sorted(f"{k}:{text(v)}" for k, v in labels.items())}
        case "execution-requested":
            spec = mapping(data["spec"])
            return _asked(spec) | {"run": runs.requested(whole(run), spec, time)}
        case "deleted":
            return {"deleted_at": time, "labels": [], "inputs": [], "spec": {}, "run": None}
        case _:
            return {"run": runs.evolve(job["run"], kind, data, time)}


def _asked(spec: Document) -> Document:
    return {
        "model": runs.model_of(spec),
        "inputs": runs.inputs_of(spec),
        "spec": runs.settings_of(spec),
    }


def _opened(guard: Guard, record: Record, time: datetime) -> Document:
    return {
        "_id": guard.key,
        "tenant": guard.tenant,
        "partition": record.partition,
        "position": record.offset,
        "version": 0,
        "last_event_id": "",
        "status": "",
        "created_at": time,
        "updated_at": time,
        "deleted_at": None,
        "labels": [],
        "model": _NO_MODEL,
        "inputs": [],
        "spec": {},
        "run": None,
        "event_count": 0,
        "void_count": 0,
        "history": {"chunk": 0, "events": 0, "size_bytes": 0},
        "timeline": [],
    }


def _chain(job: Document, guard: Guard, record: Record) -> Document:
    return job | {"position": record.offset, "version": guard.version, "last_event_id": guard.event_id}


def _status(job: Document | None) -> Status | None:
    return Status(job["status"]) if job else None


def _noted(job: Document, envelope: Envelope, record: Record, time: datetime, void: bool) -> Document:
    """The job with the event in its timeline, and with the place where `history` keeps it."""
    guard = envelope.guard
    entry = {
        "offset": record.offset,
        "id": guard.event_id,
        "type": guard.type,
        "version": whole(guard.version),
        "time": time,
        "status": job["status"],
        "void": void,
    }
    timeline = [*job["timeline"], entry][-TIMELINE_ENTRIES_MAX:]
    return job | {"timeline": timeline, "history": page_after(job["history"], len(record.value or b""))}
