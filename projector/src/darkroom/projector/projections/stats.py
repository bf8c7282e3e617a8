"""Read model `stats`: counts and durations per hour, model and partition.

Sums are taken event by event in the order of the log, never batch by batch: floating-point sums would otherwise
depend on where a batch ended.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from darkroom.projector.projections.step import Document, Step
from darkroom.schemas.chain import short_type
from darkroom.schemas.job import Status

_DELETED = str(Status.DELETED)
_DURATION_MAX_MS = 2.0**53  # the years 1 to 9999 have fewer: what is larger is no duration, and spoils no sum

Place = tuple[datetime, str, str, str, int]
"""Hour, tenant, model, its version, partition: what one document counts."""


@dataclass(slots=True)
class Tally:
    """What the events of a batch add to one document, in their order. `finished`: the timings of runs that
    succeeded. A run that failed has no stages to take means of, and is counted by its event alone."""

    kinds: dict[str, int] = field(default_factory=dict)
    void: int = 0
    finished: list[Document] = field(default_factory=list)


class Stats:
    """What a batch changes in `stats`."""

    def __init__(self) -> None:
        self._tallies: dict[Place, Tally] = {}

    def see(self, step: Step) -> None:
        """Takes in the next step of the partition; what is quarantined is not counted here."""
        job, envelope = step.after, step.envelope
        if job is None or envelope is None:
            return
        model, hour = job["model"], envelope.time.replace(minute=0, second=0, microsecond=0)
        place = hour, job["tenant"], model["name"], model["version"], job["partition"]
        tally = self._tallies.get(place)
        if tally is None:
            tally = self._tallies[place] = Tally()
        if not step.accepted:
            tally.void += 1
            return
        kind = short_type(envelope.guard.type)
        tally.kinds[kind] = tally.kinds.get(kind, 0) + 1
        if kind == "execution-succeeded" and job["status"] != _DELETED:
            tally.finished.append(job["run"]["timing"])

    def ids(self) -> dict[str, None]:
        """The documents that change."""
        return {_id(place): None for place in self._tallies}

    def changed(self, before: Mapping[str, Document]) -> dict[str, Document]:
        """The documents by id, given those that exist."""
        return {
            id: _counted(before.get(id) or _empty(id, place), tally)
            for place, tally in self._tallies.items()
            for id in (_id(place),)
        }


def _id(place: Place) -> str:
    hour, tenant, model, version, partition = place
    return f"{hour:%Y-%m-%dT%H}|{tenant}|{model}@{version}|p{partition}"


def _counted(document: Document, tally: Tally) -> Document:
    document["void"] += tally.void
    events = document["events"]
    for kind, count in tally.kinds.items():
        events[kind] = events.get(kind, 0) + count
    for timing in tally.finished:
        document["finished"] += 1
        for name in ("queued_ms", "running_ms", "inference_ms"):
            document[name] += _milliseconds(timing.get(name))
    return document


def _milliseconds(value: object) -> float:
    return float(value) if isinstance(value, int | float) and abs(value) <= _DURATION_MAX_MS else 0.0


def _empty(id: str, place: Place) -> Document:
    hour, tenant, model, version, partition = place
    return {
        "_id": id,
        "tenant": tenant,
        "partition": partition,
        "hour": hour,
        "model": model,
        "model_version": version,
        "events": {},
        "void": 0,
        "finished": 0,
        "queued_ms": 0.0,
        "running_ms": 0.0,
        "inference_ms": 0.0,
    }
