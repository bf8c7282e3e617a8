"""The bodies of accepted commands, and the addresses in them."""

from dataclasses import dataclass
from typing import Any

import orjson
from flask import Response

from darkroom.runtime.http.api import PREFIX
from darkroom.runtime.ids import Position
from darkroom.runtime.protocol import Accepted
from darkroom.runtime.settings import Settings
from darkroom.schemas.job import Head, Outcome

RETRY_AFTER_S = 1


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where clients reach the two services."""

    command: str
    query: str
    web: str

    @classmethod
    def of(cls, settings: Settings) -> "Addresses":
        return cls(settings.command_url + PREFIX, settings.query_url + PREFIX, settings.query_url)


def job_answer(job_id: str, accepted: Accepted, at: Addresses) -> Response:
    """The 202 of a command on a job: built from what the fold accepted."""
    body = _job(job_id, accepted, accepted.outcome, accepted.offset, at)
    return _json(body, 202, _headers(body["urls"]["result"]))


def ended_answer(job_id: str, accepted: Accepted, head: Head, wait_s: int, at: Addresses) -> Response:
    """The 303 to the result of a run that has ended while the client waited."""
    body = _job(job_id, accepted, head, head.last_offset, at)
    headers = {"Location": body["urls"]["result"], "Preference-Applied": f"wait={wait_s}"}
    return _json(body, 303, headers)


def _job(job_id: str, accepted: Accepted, stands: Outcome | Head, offset: int, at: Addresses) -> dict[str, Any]:
    position = Position(accepted.topic_id, accepted.partition, offset).token()
    get = f"{at.query}/jobs/{job_id}"
    return {
        "id": job_id,
        "status": stands.status.value,
        "version": stands.version,
        "run": stands.run,
        "position": position,
        "urls": {
            "get": get,
            "result": f"{get}?after={position}",
            "events": f"{get}/events",
            "web": f"{at.web}/jobs/{job_id}",
            "cancel": f"{at.command}/jobs/{job_id}/cancel",
        },
    }


def model_answer(name: str, version: str, digest: str, status: str, accepted: Accepted, at: Addresses) -> Response:
    """The 202 of a command on a model."""
    position = Position(accepted.topic_id, accepted.partition, accepted.offset).token()
    get = f"{at.query}/models/{name}"
    result = f"{get}?after={position}"
    body = {
        "name": name,
        "version": version,
        "digest": digest,
        "status": status,
        "position": position,
        "urls": {"get": get, "result": result},
    }
    return _json(body, 202, _headers(result))


def _headers(location: str) -> dict[str, str]:
    return {"Location": location, "Retry-After": str(RETRY_AFTER_S)}


def _json(body: dict[str, Any], status: int, headers: dict[str, str]) -> Response:
    # Not through the schema that documents it: that would cost more than all the rest of the answer.
    return Response(orjson.dumps(body), status, headers, mimetype="application/json")
