"""One run inside a job's document: its latest one, from its request to its end.

A run is never changed in place: each event makes another one, which shares with it what stays.
"""

from datetime import datetime
from typing import Any

from darkroom.projector.projections.plain import mapping, milliseconds, number, plain, sequence, text, whole
from darkroom.schemas.errors import Undecodable

Document = dict[str, Any]

# A run may be tried again and again, and its document must stay under 16 MiB: the newest attempts are kept.
_ATTEMPTS_MAX = 100
_NAME_LENGTH_MAX = 500
_DETAIL_LENGTH_MAX = 8_000


def model_of(spec: Document) -> Document:
    """The pinned model of a run's spec."""
    model = mapping(spec["model"])
    return {name: text(model[name]) for name in ("name", "version", "digest")}


def inputs_of(spec: Document) -> list[Document]:
    """The inputs of a run's spec."""
    return [
        {
            "digest": text(media["digest"]),
            "media_type": text(media["media_type"]),
            "size_bytes": whole(media["size_bytes"]),
            "width_px": whole(media["width_px"]),
            "height_px": whole(media["height_px"]),
        }
        for media in map(mapping, sequence(spec["inputs"]))
    ]


def settings_of(spec: Document) -> Document:
    """What a run's spec says besides model and inputs."""
    return {
        "parameters": plain(mapping(spec["parameters"])),
        "deadline_s": number(spec["deadline_s"]),
        "max_attempts": whole(spec["max_attempts"]),
    }


def requested(run: int, model: Document, inputs: list[Document], settings: Document, time: datetime) -> Document:
    """A run that was just asked for."""
    return {
        "run": run,
        "status": "queued",
        "model": model,
        "inputs": inputs,
        **settings,
        "requested_at": time,
        "started_at": None,
        "finished_at": None,
        "attempt": 0,
        "attempts": [],
        "progress": None,
        "results": None,
        "results_blob": None,
        "error": None,
        "timing": None,
        "provenance": None,
    }


def evolve(run: Document | None, kind: str, data: Document, time: datetime) -> Document:
    """The run after an event of the short type `kind`. Raises Undecodable."""
    if run is None or run["run"] != data["run"]:
        raise Undecodable(f"it is about run {data['run']!r:.20}, which is not the latest one")
    match kind:
        case "execution-started":
            return _started(run, data, time)
        case "execution-progressed":
            return run | {"progress": {"done": whole(data["done"]), "total": whole(data["total"])}}
        case "execution-succeeded":
            return _ended(run, "succeeded", time, whole(data["attempt"])) | {
                "results": plain(sequence(data["results"])),
                "results_blob": _blob(data["results_blob"]),
                "timing": plain(mapping(data["timing"])) | _durations(run, time),
                "provenance": plain(mapping(data["provenance"])),
            }
        case "execution-failed":
            error = _problem(data["error"])
            return _ended(run, "failed", time, whole(data["attempt"]), error) | {
                "error": error,
                "timing": _durations(run, time),
            }
        case "attempt-expired":
            attempt, reason = whole(data["attempt"]), _problem(data["reason"])
            attempts = _closed(run["attempts"], attempt, "expired", time, reason)
            return run | {"status": "queued", "attempts": attempts, "progress": None}
        case "cancelled":
            return _ended(run, "cancelled", time, run["attempt"])
        case _:
            raise Undecodable(f"no fold for events of the type {kind!r}")


def _started(run: Document, data: Document, time: datetime) -> Document:
    attempt = {
        "attempt": whole(data["attempt"]),
        "executor": text(data["executor"], _NAME_LENGTH_MAX),
        "started_at": time,
        "ended_at": None,
        "outcome": "running",
        "reason": None,
    }
    return run | {
        "status": "running",
        "started_at": run["started_at"] or time,
        "attempt": attempt["attempt"],
        "attempts": [*run["attempts"][1 - _ATTEMPTS_MAX :], attempt],
    }


def _ended(run: Document, status: str, time: datetime, attempt: int, reason: Document | None = None) -> Document:
    return run | {
        "status": status,
        "finished_at": time,
        "attempts": _closed(run["attempts"], attempt, status, time, reason),
    }


def _closed(
    attempts: list[Document], number: int, outcome: str, time: datetime, reason: Document | None
) -> list[Document]:
    return [
        a | {"ended_at": time, "outcome": outcome, "reason": reason}
        if a["attempt"] == number and a["outcome"] == "running"
        else a
        for a in attempts
    ]


def _durations(run: Document, end: datetime) -> Document:
    """`queued_ms` until the first attempt started, `running_ms` from then to the end, lost attempts included."""
    return {
        "queued_ms": milliseconds(run["requested_at"], run["started_at"] or end),
        "running_ms": milliseconds(run["started_at"], end),
    }


def _problem(value: Any) -> Document:
    problem = mapping(value)
    return {
        "type": text(problem["type"], _NAME_LENGTH_MAX),
        "title": text(problem["title"], _NAME_LENGTH_MAX),
        "detail": text(problem["detail"], _DETAIL_LENGTH_MAX),
    }


def _blob(value: Any) -> Document | None:
    if value is None:
        return None
    blob = mapping(value)
    return {"digest": text(blob["digest"]), "size_bytes": whole(blob["size_bytes"])}
