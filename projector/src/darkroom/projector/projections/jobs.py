"""Read model `jobs`: one document per job, with its latest run, its timeline, and its chain.

The chain (version, last_event_id) stands in this document, so this fold says for all read models of the jobs
topic which events count. A document is changed in place, once all that may raise is done.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from darkroom.projector.projections import run as runs
from darkroom.projector.projections.history import turn_page
from darkroom.projector.projections.plain import mapping, moment, size_of, text
from darkroom.projector.projections.step import Document, Step, take
from darkroom.runtime.eventlog.port import Record
from darkroom.schemas.chain import Guard, short_type
from darkroom.schemas.errors import Undecodable
from darkroom.schemas.job import Status, status_after
from darkroom.schemas.upcasting import Versions
from darkroom.schemas.views import TIMELINE_ENTRIES_MAX
from darkroom.schemas.wire import Envelope

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS = 253_402_300_799_000  # the last second of the year 9999, and of `datetime`
_NO_MODEL = {"name": "", "version": "", "digest": ""}
_LARGE_SIZE_BYTES = 64 * 2**10
_CONTENT_SIZE_BYTES_MAX = 2 * 2**20  # four such parts (labels, spec, run, results) and the lists stay under 16 MiB
_DELETED = str(Status.DELETED)


def fold_job(before: Document | None, guard: Guard, record: Record, versions: Versions) -> Step:
    """What one record of its partition does to a job; `before` is changed in place."""
    return take(before, guard, record, versions, accepted=_accepted, void=_void, chain_only=_chain_only)


def _accepted(before: Document | None, envelope: Envelope, record: Record) -> Document:
    guard, time = envelope.guard, moment(envelope.time)
    if record.value is not None and len(record.value) > _LARGE_SIZE_BYTES:
        _refuse_too_large(envelope.data)
    job = _opened(guard, record, time) if before is None else before
    if job["status"] != _DELETED:
        job.update(_content(job, envelope, time))
    _advance(job, guard, record)
    job["updated_at"] = time
    job["event_count"] += 1
    _note(job, envelope, record, time, void=False)
    return job


def _void(before: Document | None, envelope: Envelope, record: Record) -> Document:
    assert before is not None
    time = moment(envelope.time)
    before["void_count"] += 1
    _note(before, envelope, record, time, void=True)
    return before


def _chain_only(before: Document | None, guard: Guard, record: Record) -> Document:
    if before is None:
        # No body, no event time: the broker's record time stands in for a job whose very first event is unreadable.
        since_ms = min(max(0, record.timestamp_ms), _LAST_MS)
        before = _opened(guard, record, _EPOCH + timedelta(milliseconds=since_ms))
    _advance(before, guard, record)
    return before


def _content(job: Document, envelope: Envelope, time: datetime) -> Document:
    """The fields that an event changes besides chain, status and timeline. Raises Undecodable, and whatever comes
    of missing fields; `job` is as it was."""
    data, run, kind = envelope.data, envelope.guard.run, short_type(envelope.guard.type)
    if "run" in data and data["run"] != run:
        raise Undecodable(f"data.run is {data['run']!r:.20}, the header says {run}")
    match kind:
        case "created":
            labels = mapping(data["labels"])
            if data["execute"] is not (run == 1):
                raise Undecodable(f"data.execute is {data['execute']!r:.20}, the header says run {run}")
            asked = _asked(mapping(data["spec"]), run, time)
            return asked | {"labels": sorted(f"{k}:{text(v)}" for k, v in labels.items())}
        case "execution-requested":
            if run > envelope.guard.version:  # a deletion counts up to it
                raise Undecodable(f"run {run} by event {envelope.guard.version}, but each run takes an event")
            return _asked(mapping(data["spec"]), run, time)
        case "deleted":
            return {"deleted_at": time, "labels": [], "inputs": [], "spec": {}, "run": None}
        case _:
            return {"run": runs.evolve(job["run"], kind, data, time)}


def _refuse_too_large(data: Document) -> None:
    size_bytes = size_of(data)
    if size_bytes > _CONTENT_SIZE_BYTES_MAX:
        raise Undecodable(f"its data would take {size_bytes} bytes in the database")


def _asked(spec: Document, run: int, time: datetime) -> Document:
    """What a job takes from the spec of the run that was asked for; run 0: it was not asked for yet."""
    model, inputs, settings = runs.model_of(spec), runs.inputs_of(spec), runs.settings_of(spec)
    return {
        "model": model,
        "inputs": inputs,
        "spec": settings,
        "run": runs.requested(run, model, inputs, settings, time) if run else None,
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


def _advance(job: Document, guard: Guard, record: Record) -> None:
    """The chain and the status, which the headers alone decide."""
    job["position"] = record.offset
    job["version"] = guard.version
    job["last_event_id"] = guard.event_id
    job["status"] = _status_after(job["status"], guard.type, guard.run > 0)


@lru_cache(maxsize=1024)
def _status_after(before: str, event_type: str, requested: bool) -> str:
    guard = Guard("", "", event_type, 1, "", "", "", "", int(requested))
    return str(status_after(Status(before) if before else None, guard))


def _note(job: Document, envelope: Envelope, record: Record, time: datetime, void: bool) -> None:
    """Puts the event into the timeline, and says where `history` keeps it."""
    guard, timeline = envelope.guard, job["timeline"]
    timeline.append(
        {
            "offset": record.offset,
            "id": guard.event_id,
            "type": guard.type,
            "version": guard.version,
            "time": time,
            "status": job["status"],
            "void": void,
        }
    )
    if len(timeline) > TIMELINE_ENTRIES_MAX:
        del timeline[:-TIMELINE_ENTRIES_MAX]
    turn_page(job["history"], len(record.value or b""))
