"""Documents of the read model as bodies of the API. Pure; http-api.md's shapes, stated again in bodies.py."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from darkroom.query_api.store import Mark
from darkroom.runtime.ids import Position
from darkroom.schemas.wire import rfc3339

PREFIX = "/api/v1/inference"
Body = dict[str, Any]
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
"""When a projector has seen the end of a partition whose checkpoint was made and not moved yet."""


class Presenter:
    """Knows the public base URLs of the two services."""

    def __init__(self, command_url: str, query_url: str) -> None:
        self._commands = command_url + PREFIX
        self._queries = query_url + PREFIX
        self._pages = query_url

    def urls(self, job: str, position: str) -> Body:
        get = f"{self._queries}/jobs/{job}"
        return {
            "get": get,
            "result": f"{get}?after={position}",
            "events": f"{get}/events",
            "runs": f"{get}/runs",
            "web": f"{self._pages}/jobs/{job}",
            "cancel": f"{self._commands}/jobs/{job}/cancel",
        }

    def summary(self, doc: Mapping[str, Any], topic_id: str) -> Body:
        """A job in a list: as read, without results and provenance."""
        run = doc["run"] or {}
        position = Position(topic_id, doc["partition"], doc["position"]).token()
        return {
            "id": doc["_id"],
            "tenant": doc["tenant"],
            "status": doc["status"],
            "version": doc["version"],
            "position": position,
            "model": doc["model"],
            "created_at": when(doc["created_at"]),
            "updated_at": when(doc["updated_at"]),
            "labels": labels_of(doc["labels"]),
            "inputs": doc["inputs"],
            "run": run.get("run", 0),
            "attempt": run.get("attempt", 0),
            "error": run.get("error"),
            "timing": run.get("timing") or {},
            "urls": self.urls(doc["_id"], position),
        }

    def job(self, doc: Mapping[str, Any], topic_id: str, results: Any) -> Body:
        """A job as read. `results`: those of its latest run, from the document or from the blob store."""
        body = self.summary(doc, topic_id)
        urls = body.pop("urls")
        return body | {
            "results": results,
            "provenance": (doc["run"] or {}).get("provenance") or {},
            "urls": urls,
        }

    def run(self, doc: Mapping[str, Any]) -> Body:
        """A run without its results (a list); `with_results` adds them."""
        return {
            "run": doc["run"],
            "status": doc["status"],
            "model": doc["model"],
            "parameters": doc["parameters"],
            "deadline_s": doc["deadline_s"],
            "max_attempts": doc["max_attempts"],
            "requested_at": when(doc["requested_at"]),
            "started_at": when(doc["started_at"]),
            "finished_at": when(doc["finished_at"]),
            "attempt": doc["attempt"],
            "attempts": [
                a | {"started_at": when(a["started_at"]), "ended_at": when(a["ended_at"])} for a in doc["attempts"]
            ],
            "progress": doc["progress"],
            "error": doc["error"],
            "timing": doc["timing"] or {},
        }


def with_results(body: Body, doc: Mapping[str, Any], results: Any) -> Body:
    return body | {
        "inputs": doc["inputs"],
        "results": results,
        "provenance": doc["provenance"] or {},
    }


def when(time: datetime | None) -> str | None:
    return rfc3339(time) if time is not None else None


def labels_of(labels: list[str]) -> dict[str, str]:
    """`key:value` strings as an object; keys hold no colon."""
    return dict(label.split(":", 1) for label in labels)


def event_of_history(entry: Mapping[str, Any], topic_id: str, deleted: bool = False) -> Body:
    """One event of the log: its CloudEvent, with `position`, `partition`, `offset`, `void` and `status` (where the
    job stood after it) beside the attributes, as CloudEvents extensions. Of a deleted job's events the attributes
    are shown and `data` is not: inputs, results and labels are gone."""
    try:
        event = orjson.loads(entry["event"])
    except orjson.JSONDecodeError:
        event = None
    if not isinstance(event, dict):  # quarantined: the log holds something else, and says so
        event = {"type": entry["type"], "data": None, "unreadable": True}
    if deleted:
        event = {name: value for name, value in event.items() if name not in ("data", "data_base64")}
    return event | {
        "position": Position(topic_id, entry["partition"], entry["offset"]).token(),
        "partition": entry["partition"],
        "offset": entry["offset"],
        "void": entry["void"],
        "status": entry["status"],
    }


def model(doc: Mapping[str, Any], labels: Mapping[str, list[str] | None]) -> Body:
    """A model with its versions in the order of their registration. `labels`: names by digest of the label map."""
    return {
        "name": doc["_id"],
        "versions": [
            {
                "version": v["version"],
                "digest": v["digest"],
                "kind": v["kind"],
                "runtime": v["runtime"],
                "status": v["status"],
                "source": v["source"],
                "artifact": v["artifact"],
                "input": v["input"],
                "output": v["output"],
                "labels": labels.get(v["labels"].get("digest", "")),
                "labels_digest": v["labels"].get("digest"),
                "registered_at": when(v["registered_at"]),
                "retired_at": when(v["retired_at"]),
            }
            for v in doc["versions"]
        ],
    }


def projection(
    read_model: str, alias: Mapping[str, Any], marks: list[tuple[str, int, Mark]], quarantined: Mapping[str, int]
) -> Body:
    """One read model: the live generation of its family, and how far that has folded each partition."""
    family, generation = alias["_id"], alias["live"]
    live = sorted((m for f, g, m in marks if (f, g) == (family, generation)), key=lambda m: m.partition)
    return {
        "read_model": read_model,
        "family": family,
        "generation": generation,
        "kept": alias.get("kept", []),
        "building": alias.get("building"),
        "fold_version": alias.get("fold_versions", {}).get(str(generation), {}).get(read_model),
        "topic": live[0].topic if live else None,
        "quarantined": quarantined.get(family, 0),
        "lag": sum(_lag(m) for m in live),
        "partitions": [
            {
                "partition": m.partition,
                "position": Position(m.topic_id, m.partition, m.next - 1).token() if m.next else None,
                "next": m.next,
                "end_seen": m.end_seen,
                "end_seen_at": when(m.end_seen_at if m.end_seen_at > _NEVER else None),
                "lag": _lag(m),
            }
            for m in live
        ],
    }


def _lag(mark: Mark) -> int:
    """Events that the projector has seen in the log and not yet folded."""
    return max(0, mark.end_seen - mark.next)


def statistics(by_status: Mapping[str, int], by_model: list[dict[str, Any]]) -> Body:
    """Counts by status and model, and mean durations of the runs that succeeded, in milliseconds."""
    return {
        "jobs": {"total": sum(by_status.values()), "by_status": dict(by_status)},
        "models": [
            {
                "model": m["_id"]["model"],
                "version": m["_id"]["version"],
                "events": m["events"],
                "void": m["void"],
                "finished": m["finished"],
                "mean_ms": {
                    "queued": _mean(m["queued_ms"], m["finished"]),
                    "running": _mean(m["running_ms"], m["finished"]),
                    "inference": _mean(m["inference_ms"], m["finished"]),
                },
            }
            for m in by_model
        ],
    }


def _mean(total: float, count: int) -> float | None:
    return round(total / count, 3) if count else None
