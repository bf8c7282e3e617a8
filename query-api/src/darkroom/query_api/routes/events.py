"""Histories as CloudEvents, and live streams of them."""

from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

from flask import Response, request

from darkroom.query_api import bodies, examples, streams
from darkroom.query_api.arguments import EventsArguments, JobEventsArguments, position
from darkroom.query_api.parts import TENANT, Parts, job_id, json_response, unknown_job
from darkroom.query_api.present import PREFIX, event_of_history
from darkroom.runtime.http.api import Blueprint
from darkroom.runtime.http.openapi import problems
from darkroom.runtime.http.problems import ProblemError
from darkroom.runtime.ids import Vector

STREAM = "text/event-stream"
_READING = ("invalid-request", "malformed-position", "store-unavailable", "too-busy")
_LAST_EVENT_ID = {
    "in": "header",
    "name": "Last-Event-ID",
    "schema": {"type": "string"},
    "example": "MS4zLjE3LjVrN1Z4dw",
    "description": "The `id` of the last entry that was received: the stream goes on right after it.",
}
_STREAM_EXAMPLE = (
    "id: MS4zLjE3LjVrN1Z4dw\n"
    'data: {"specversion":"1.0","type":"darkroom.job.execution-started.v1","status":"running"}\n\n'
)


def blueprint(parts: Parts) -> Blueprint:
    blp = Blueprint("events", __name__, url_prefix=PREFIX, description="What happened, as it stands in the log.")

    @blp.route("/jobs/<string:job>/events")
    @blp.doc(
        summary="A job's history, oldest first; with `Accept: text/event-stream`, live",
        operationId="getJobEvents",
        parameters=[_LAST_EVENT_ID],
        responses={200: {"content": {STREAM: {"schema": {"type": "string"}, "example": _STREAM_EXAMPLE}}}},
    )
    @blp.arguments(JobEventsArguments, location="query")
    @blp.response(200, bodies.EventList, example=examples.EVENTS)
    @problems("unknown-job", "not-acceptable", "read-model-behind", *_READING)
    def job_events(arguments: dict[str, Any], job: str) -> Response:
        doc = parts.reader.job(TENANT, job_id(job), arguments["after"], monotonic() + arguments["wait"])
        if doc is None:
            raise unknown_job()
        topic_id, partition = doc["topic_id"], doc["partition"]
        void = arguments.get("include") == "void"
        if _wants_stream():
            start = _resume_job(topic_id, partition)
            return _stream(
                parts,
                lambda: streams.job_events(parts.reader, TENANT, doc["_id"], partition, topic_id, start, void),
            )
        start = _after_cursor(arguments.get("cursor"), topic_id, partition)
        limit: int = arguments["limit"]
        entries = parts.reader.read(
            "history",
            lambda g: _entries(parts, g, doc["_id"], start, limit + 1, void),
            arguments["after"],
            monotonic() + arguments["wait"],
        )
        deleted = bool(parts.reader.deleted_among(TENANT, entries))
        items = [event_of_history(e, topic_id, deleted) for e in entries[:limit]]
        more = len(entries) > limit
        return json_response({"items": items, "next": items[-1]["position"] if more else None})

    @blp.route("/events")
    @blp.doc(
        summary="The events of all jobs, live",
        operationId="streamEvents",
        parameters=[_LAST_EVENT_ID],
        responses={
            200: {
                "description": "Server-Sent Events; without Last-Event-ID, from now on",
                "content": {STREAM: {"schema": {"type": "string"}, "example": _STREAM_EXAMPLE}},
            }
        },
    )
    @blp.arguments(EventsArguments, location="query")
    @problems("not-acceptable", *_READING)
    def all_events(arguments: dict[str, Any]) -> Response:
        if not _accepts_stream():
            raise ProblemError("not-acceptable", f"All jobs' events come as {STREAM} only.")
        now = streams.vector_now(parts.reader)
        start = _resume_all(now)
        void = arguments.get("include") == "void"
        return _stream(parts, lambda: streams.all_events(parts.reader, TENANT, start, void))

    return blp


def _entries(parts: Parts, generation: int, job: str, start: int, count: int, void: bool) -> list[dict[str, Any]]:
    """Up to `count` entries, void ones among them only with `void`."""
    found: list[dict[str, Any]] = []
    chunk = streams.first_chunk(parts.reader, generation, TENANT, job, start)
    while len(found) < count:
        some = parts.reader.store.history_of(generation, TENANT, job, start, chunk, streams.CHUNKS_PER_READ_MAX)
        if not some:
            break
        start, chunk = some[-1]["offset"] + 1, some[-1]["chunk"]
        found += [e for e in some if void or not e["void"]]
    return found[:count]


def _stream(parts: Parts, make: Callable[[], Iterator[bytes]]) -> Response:
    release = parts.reader.waiting.a_stream()
    try:
        response = Response(make(), mimetype=STREAM)
    except BaseException:
        release()
        raise
    # Not in the generator: one that was never begun would never end.
    response.call_on_close(release)
    response.headers["Cache-Control"] = "no-cache"
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _wants_stream() -> bool:
    best = request.accept_mimetypes.best_match(["application/json", STREAM])
    if best is None and request.accept_mimetypes:
        raise ProblemError("not-acceptable", f"A history comes as application/json or {STREAM}.")
    return best == STREAM


def _accepts_stream() -> bool:
    return not request.accept_mimetypes or request.accept_mimetypes[STREAM] > 0


def _resume_job(topic_id: str, partition: int) -> int:
    token = request.headers.get("Last-Event-ID")
    if not token:
        return 0
    try:
        return streams.position_after(token, topic_id, partition)
    except ValueError:
        raise ProblemError("malformed-position", "Last-Event-ID is not an id of this job's stream.") from None


def _resume_all(now: Vector) -> Vector:
    token = request.headers.get("Last-Event-ID")
    if not token:
        return now
    try:
        start = Vector.parse(token)
    except ValueError:
        raise ProblemError("malformed-position", "Last-Event-ID is not an id of this stream.") from None
    if start.topic_id != now.topic_id or len(start.next) > len(now.next):
        raise ProblemError("malformed-position", "Last-Event-ID belongs to a stream of another log.")
    # Partitions that had no checkpoint yet when the token was given: from their beginning.
    return Vector(start.topic_id, start.next + (0,) * (len(now.next) - len(start.next)))


def _after_cursor(cursor: str | None, topic_id: str, partition: int) -> int:
    if cursor is None:
        return 0
    found = position(cursor)
    if (found.topic_id, found.partition) != (topic_id, partition):
        raise ProblemError("malformed-position", "The cursor belongs to another job.")
    return found.offset + 1
