"""A job's inputs as pictures: re-encoded, plain or with the results drawn in."""

import threading
from typing import Any

from flask import Response, request

from darkroom.query_api.arguments import AnnotatedArguments, Nothing
from darkroom.query_api.draw import UnreadablePicture, annotate, encoded, upright
from darkroom.query_api.live import TooManyWaiting
from darkroom.query_api.parts import Parts
from darkroom.query_api.present import PREFIX
from darkroom.query_api.routes.jobs import find_run
from darkroom.runtime.http.api import Blueprint
from darkroom.runtime.http.openapi import problems
from darkroom.runtime.http.problems import ProblemError
from darkroom.schemas.errors import BlobMissing

DECODED_AT_ONCE_MAX = 2
_PATIENCE_S = 10.0
_PICTURES = {
    200: {
        "description": "The upright picture",
        "headers": {"ETag": {"schema": {"type": "string"}}},
        "content": {
            media_type: {"schema": {"type": "string", "contentMediaType": media_type}}
            for media_type in ("image/jpeg", "image/png")
        },
    }
}
_PROBLEMS = (
    "unknown-job",
    "job-deleted",
    "not-found",
    "invalid-request",
    "picture-broken",
    "store-unavailable",
    "too-busy",
)


def blueprint(parts: Parts) -> Blueprint:
    blp = Blueprint("pictures", __name__, url_prefix=f"{PREFIX}/jobs/<string:job>/inputs/<int:index>")
    decoding = threading.BoundedSemaphore(DECODED_AT_ONCE_MAX)

    def drawn(digest: str, etag: str, result: dict[str, Any] | None = None, min_score: float = 0) -> Response:
        if request.if_none_match.contains(etag):
            response = Response(status=304)
        else:
            try:
                raw = parts.content.picture(digest)
            except BlobMissing:
                raise ProblemError("not-found", "The picture is no longer kept.") from None
            # Decoded pictures are large: few at once, whatever is asked for.
            if not decoding.acquire(timeout=_PATIENCE_S):
                raise TooManyWaiting("Too many pictures are being drawn.")
            try:
                picture, shown_as = upright(raw, parts.pixels_max)
                if result is not None:
                    annotate(picture, result, min_score)
                data, media_type = encoded(picture, shown_as)
            except UnreadablePicture as error:
                raise ProblemError("picture-broken", f"{str(error).capitalize()}.") from None
            finally:
                decoding.release()
            response = Response(data, mimetype=media_type)
        response.set_etag(etag)
        # Asked for again each time: a deleted job's pictures are gone at once.
        response.headers["Cache-Control"] = "private, no-cache"
        return response

    @blp.route("")
    @blp.doc(summary="An input, re-encoded", operationId="getInput", responses=_PICTURES)
    @blp.arguments(Nothing, location="query")
    @blp.alt_response(304, description="The picture is that of If-None-Match")
    @problems(*_PROBLEMS)
    def get_input(_arguments: dict[str, Any], job: str, index: int) -> Response:
        digest = _input(parts.job(job)["inputs"], index)["digest"]
        return drawn(digest, digest.removeprefix("sha256:"))

    @blp.route("/annotated")
    @blp.doc(
        summary="An input with its result drawn in",
        description="Boxes with labels, or the top classes. 409 while the run has no result.",
        operationId="getAnnotatedInput",
        responses=_PICTURES,
    )
    @blp.arguments(AnnotatedArguments, location="query")
    @blp.alt_response(304, description="The picture is that of If-None-Match")
    @problems("job-state", *_PROBLEMS)
    def get_annotated(arguments: dict[str, Any], job: str, index: int) -> Response:
        doc = parts.job(job)
        run = find_run(parts, doc["_id"], arguments["run"]) if "run" in arguments else doc["run"]
        source = _input(run["inputs"] if run else doc["inputs"], index)
        results = parts.content.results_of(run)
        if run is None or results is None:
            status = run["status"] if run else doc["status"]
            raise ProblemError(
                "job-state", f"A run that is {status} has no result to draw.", job_status=doc["status"]
            )
        result = next((r for r in results if r.get("input") == index), None)
        if result is None:
            raise ProblemError("not-found", f"The run has no result for input {index}.")
        etag = f"{doc['_id']}-{run['run']}-{index}-{arguments['min_score']:g}"
        return drawn(source["digest"], etag, result, arguments["min_score"])

    return blp


def _input(inputs: list[dict[str, Any]], index: int) -> dict[str, Any]:
    if index >= len(inputs):
        raise ProblemError("not-found", f"The job has {len(inputs)} inputs, counted from 0.")
    return inputs[index]
