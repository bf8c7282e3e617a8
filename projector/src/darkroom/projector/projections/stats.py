"""Read model `stats`: counts and durations per hour, model and partition.

Sums are taken event by event in the order of the log, never batch by batch: floating-point sums would otherwise
depend on where a batch ended.
"""

from dataclasses import dataclass
from datetime import datetime

from darkroom.projector.projections.plain import moment
from darkroom.projector.projections.step import Document, Step
from darkroom.schemas.chain import short_type
from darkroom.schemas.job import Status


@dataclass(frozen=True, slots=True)
class Counted:
    """What one event adds to one document of `stats`. `finished`: the timing of the run, if it made it
    succeed. A run that failed has no stages to take means of, and is counted by its event alone."""

    id: str
    tenant: str
    partition: int
    hour: datetime
    model: Document
    kind: str
    void: bool
    finished: Document | None


def count(step: Step) -> Counted | None:
    """The contribution of a step; None for what is quarantined."""
    job, envelope = step.after, step.envelope
    if job is None or envelope is None:
        return None
    kind = short_type(envelope.guard.type)
    hour = moment(envelope.time).replace(minute=0, second=0, microsecond=0)
    model, partition = job["model"], job["partition"]
    succeeds = step.accepted and kind == "execution-succeeded"
    return Counted(
        id=f"{hour:%Y-%m-%dT%H}|{job['tenant']}|{model['name']}@{model['version']}|p{partition}",
        tenant=job["tenant"],
        partition=partition,
        hour=hour,
        model=model,
        kind=kind,
        void=not step.accepted,
        finished=job["run"]["timing"] if succeeds and job["status"] != Status.DELETED else None,
    )


def fold_stats(before: Document | None, counted: Counted) -> Document:
    """The document with one more event in it."""
    after = dict(before) if before else _empty(counted)
    if counted.void:
        after["void"] += 1
        return after
    events = dict(after["events"])
    events[counted.kind] = events.get(counted.kind, 0) + 1
    after["events"] = events
    if counted.finished is not None:
        after["finished"] += 1
        for name in ("queued_ms", "running_ms", "inference_ms"):
            value = counted.finished.get(name)
            after[name] += float(value) if isinstance(value, int | float) else 0.0
    return after


def _empty(counted: Counted) -> Document:
    return {
        "_id": counted.id,
        "tenant": counted.tenant,
        "partition": counted.partition,
        "hour": counted.hour,
        "model": counted.model["name"],
        "model_version": counted.model["version"],
        "events": {},
        "void": 0,
        "finished": 0,
        "queued_ms": 0.0,
        "running_ms": 0.0,
        "inference_ms": 0.0,
    }
