"""The bodies of accepted commands, and the addresses in them."""

from dataclasses import dataclass
from typing import Any

from darkroom.runtime.http.api import PREFIX
from darkroom.runtime.ids import Position
from darkroom.runtime.protocol import Accepted
from darkroom.runtime.settings import Settings

RETRY_AFTER_S = 1
Answer = tuple[dict[str, Any], dict[str, str]]
"""Body and headers."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where clients reach the two services."""

    command: str
    query: str
    web: str

    @classmethod
    def of(cls, settings: Settings) -> "Addresses":
        return cls(settings.command_url + PREFIX, settings.query_url + PREFIX, settings.query_url)


def job_answer(job_id: str, accepted: Accepted, at: Addresses) -> Answer:
    """The 202 of a command on a job: built from what the fold accepted."""
    outcome = accepted.outcome
    position = Position(accepted.topic_id, accepted.partition, accepted.offset).token()
    get = f"{at.query}/jobs/{job_id}"
    result = f"{get}?after={position}"
    body = {
        "id": job_id,
        "status": outcome.status.value,
        "version": outcome.version,
        "run": outcome.run,
        "position": position,
        "urls": {
            "get": get,
            "result": result,
            "events": f"{get}/events",
            "web": f"{at.web}/jobs/{job_id}",
            "cancel": f"{at.command}/jobs/{job_id}/cancel",
        },
    }
    return body, _headers(result)


def model_answer(name: str, version: str, digest: str, status: str, accepted: Accepted, at: Addresses) -> Answer:
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
    return body, _headers(result)


def _headers(location: str) -> dict[str, str]:
    return {"Location": location, "Retry-After": str(RETRY_AFTER_S)}
