"""What the routes are made of: wired once, in app.py, and handed to each blueprint."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Any

import orjson
from flask import Response

from darkroom.query_api.content import Content
from darkroom.query_api.present import Presenter, when
from darkroom.query_api.reading import Reader
from darkroom.runtime.http.problems import ProblemError
from darkroom.runtime.ids import Position, parse_uuid

TENANT = "default"
"""Whose jobs are read, until there is authentication."""


@dataclass(frozen=True, slots=True)
class Parts:
    reader: Reader
    content: Content
    presenter: Presenter
    public_url: str
    pixels_max: int

    def job(self, job: str, after: list[Position] | None = None, wait_s: float = 0) -> dict[str, Any]:
        """A job that is there to be shown. Raises ProblemError (unknown-job, job-deleted)."""
        found = self.reader.job(TENANT, job_id(job), after or [], monotonic() + wait_s)
        return shown(found)


def job_id(text: str) -> str:
    """The canonical id. What is no UUID is an unknown job."""
    canonical = parse_uuid(text)
    if canonical is None:
        raise unknown_job()
    return canonical


def shown(job: dict[str, Any] | None) -> dict[str, Any]:
    """Raises ProblemError for a job that is unknown, or deleted (with its tombstone)."""
    if job is None:
        raise unknown_job()
    if job["status"] == "deleted":
        deleted_at: datetime | None = job["deleted_at"]
        raise ProblemError("job-deleted", "The job was deleted.", id=job["_id"], deleted_at=when(deleted_at))
    return job


def unknown_job() -> ProblemError:
    return ProblemError("unknown-job", "There is no job of that id.")


def json_response(body: Any, headers: Mapping[str, str] | None = None) -> Response:
    """JSON that is asked for again each time (with its ETag, where it has one)."""
    response = Response(orjson.dumps(body), mimetype="application/json")
    response.headers["Cache-Control"] = "no-cache"
    response.headers.update(headers or {})
    return response
