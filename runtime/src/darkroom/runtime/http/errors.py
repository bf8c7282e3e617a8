"""Turns every exception into problem+json: one table from the domain's errors to problem types."""

import errno
import logging
from typing import Any

import orjson
from flask import Flask, Response
from gunicorn.http.errors import ParseException  # type: ignore[import-untyped]
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge

from darkroom.runtime.http.problems import MEDIA_TYPE, PROBLEMS, ProblemError
from darkroom.runtime.http.receiving import TooSlow
from darkroom.schemas.errors import (
    BadMedia,
    BlobMissing,
    DarkroomError,
    LogUnavailable,
    ReadModelBehind,
    Refused,
    StoreUnavailable,
    TailBehind,
    Unavailable,
)
from darkroom.schemas.job import Why

_log = logging.getLogger("darkroom.http")

_UNAVAILABLE: dict[type[Unavailable], str] = {
    LogUnavailable: "log-unavailable",
    TailBehind: "tail-behind",
    StoreUnavailable: "store-unavailable",
    ReadModelBehind: "read-model-behind",
    Unavailable: "too-busy",
}
_REFUSED: dict[Why, str] = {
    Why.UNKNOWN: "unknown-job",
    Why.DELETED: "job-deleted",
    Why.STATE: "job-state",
    Why.VERSION: "version-differs",
    Why.KEY_REUSED: "key-reused",
}
_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_BY_STATUS: dict[int, str] = {
    404: "not-found",
    405: "method-not-allowed",
    406: "not-acceptable",
    408: "request-timeout",
    413: "body-too-large",
    414: "uri-too-long",
    415: "unsupported-media-type",
    422: "invalid-request",
    429: "rate-limited",
    431: "headers-too-large",
    501: "not-implemented",
}


def as_problem(error: Exception) -> ProblemError:
    """The problem that an exception is shown as. What is not foreseen is an internal error without details."""
    match error:
        case ProblemError():
            return error
        case Unavailable():
            name = next(name for kind, name in _UNAVAILABLE.items() if isinstance(error, kind))
            return ProblemError(name, str(error), headers={"Retry-After": str(error.retry_after_s)})
        case Refused(refusal=refusal):
            more: dict[str, Any] = {"job_status": refusal.status.value} if refusal.status else {}
            return ProblemError(_REFUSED[refusal.why], refusal.detail, **more)
        case BadMedia(problem=name, detail=detail):
            return ProblemError(name, detail)
        case BlobMissing():
            return ProblemError("store-unavailable", str(error), headers={"Retry-After": "1"})
        case HTTPException():
            return _from_http(error)
        case TooSlow():
            return ProblemError("request-timeout", "The body did not arrive in time.")
        case OSError(errno=number) if number in _DISK_FULL:  # an upload passes through files of this machine
            return ProblemError("store-unavailable", "This instance has no disk space left.")
        case ParseException():  # the server reads a chunked body only when the app does
            return ProblemError("malformed-request", "The body's chunks cannot be read.")
        case _:
            return ProblemError("internal-error", "The service failed in a way that was not foreseen.")


def _from_http(error: HTTPException) -> ProblemError:
    status = error.code or 500
    name = _BY_STATUS.get(status, "malformed-request" if status < 500 else "internal-error")
    kind = PROBLEMS[name]
    headers: dict[str, str] = {}
    detail = kind.explanation
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        headers["Allow"] = ", ".join(sorted(error.valid_methods))
        detail = f"Allowed here: {headers['Allow']}."
    elif isinstance(error, RequestEntityTooLarge):
        detail = "The request's body, or the number or size of its parts, is over the limit."
    return ProblemError(name, detail, status=status if status in kind.statuses else None, headers=headers)


def problem_response(problem: ProblemError) -> Response:
    """The HTTP answer of a problem."""
    response = Response(orjson.dumps(problem.body()), problem.status, mimetype=MEDIA_TYPE)
    for name, value in problem.headers.items():
        response.headers[name] = value
    if problem.status == 503 and "Retry-After" not in response.headers:
        response.headers["Retry-After"] = "1"
    return response


def register_error_handlers(app: Flask) -> None:
    """Makes every error of the app a problem. The stack of an unforeseen one goes to the log alone."""

    def handle(error: Exception) -> Response:
        problem = as_problem(error)
        if problem.status >= 500 and not isinstance(error, DarkroomError | ProblemError):
            _log.error("a request failed: %s", type(error).__name__, exc_info=error)
        elif problem.status >= 500:
            _log.warning("a request could not be served: %s", problem.detail)
        return problem_response(problem)

    for kind in (HTTPException, DarkroomError, ProblemError, Exception):
        app.register_error_handler(kind, handle)
