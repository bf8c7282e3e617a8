"""A client of the command API: every call ends by a deadline, and is repeated under its key where it helps."""

import base64
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, BinaryIO

import httpx

from darkroom.simulator.pictures import Picture

PREFIX = "/api/v1/inference"
RETRY_AFTER_S_MAX = 2.0
_RETRY_AFTER_S_MIN = 0.02
_CONNECT_TIMEOUT_S = 5.0


class Unreachable(Exception):
    """The service did not answer within the deadline; whether a command took effect is not known."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the service. `body` is {} where it was no JSON object. `tries`: how often it was asked."""

    status: int
    body: Mapping[str, Any]
    tries: int = 1

    @property
    def ok(self) -> bool:
        return self.status < 400

    @property
    def problem(self) -> str:
        """The last part of the problem type, as in `picture-broken`; "" where there is none."""
        return str(self.body.get("type", "")).rpartition(":")[2]

    def explain(self) -> str:
        """What went wrong, in the service's own words, on one line per fault."""
        lines = [f"{self.body.get('title') or 'HTTP error'} ({self.status}): {self.body.get('detail', '')}"]
        lines += [f"  {e.get('pointer', '')}: {e.get('detail', '')}" for e in self.body.get("errors") or []]
        return "\n".join(lines).rstrip(": ")


class CommandClient:
    """Safe to use from many threads. A 503, and an answer that never came, are asked for again under the same
    idempotency key until `patience_s` of that call have passed; the call as a whole ends by `deadline_s`."""

    def __init__(
        self,
        base_url: str,
        *,
        deadline_s: float = 15.0,
        patience_s: float | None = None,
        connections_max: int = 64,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._deadline_s = deadline_s
        self._patience_s = deadline_s if patience_s is None else patience_s
        self._http = httpx.Client(
            base_url=base_url.rstrip("/") + PREFIX,
            timeout=httpx.Timeout(deadline_s, connect=min(deadline_s, _CONNECT_TIMEOUT_S)),
            limits=httpx.Limits(max_connections=connections_max),
            transport=transport,
        )

    def create(self, body: Mapping[str, Any], key: str, job_id: str | None = None) -> Answer:
        """Create a job from a JSON body. With `job_id` it is put under that id, which is its key then."""
        if job_id is not None:
            return self._call("PUT", f"/jobs/{job_id}", None, json=body)
        return self._call("POST", "/jobs", key, json=body)

    def create_from_files(
        self,
        model: str,
        pictures: Sequence[Picture],
        key: str,
        *,
        parameters: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Answer:
        """Create a job from a form with the pictures as files."""
        fields = {"model": model}
        if parameters:
            fields["parameters"] = json.dumps(parameters)
        if labels:
            fields["labels"] = json.dumps(labels)
        files = [("file", (p.name, p.data, p.media_type)) for p in pictures]
        return self._call("POST", "/jobs", key, data=fields, files=files)

    def upload(self, picture: Picture) -> Answer:
        """Keep a picture; the answer's body names its digest. The same bytes may be uploaded any number of
        times."""
        return self._call(
            "POST", "/media", None, content=picture.data, headers={"Content-Type": picture.media_type}
        )

    def run(self, job_id: str, key: str, body: Mapping[str, Any] | None = None) -> Answer:
        """Execute a job (again)."""
        return self._call("POST", f"/jobs/{job_id}/runs", key, json=dict(body or {}))

    def cancel(self, job_id: str, key: str) -> Answer:
        return self._call("POST", f"/jobs/{job_id}/cancel", key)

    def delete(self, job_id: str, key: str) -> Answer:
        return self._call("DELETE", f"/jobs/{job_id}", key)

    def register_model(self, description: Mapping[str, Any], artifact: Path, deadline_s: float = 120.0) -> Answer:
        """Register a version of a model; `artifact` is its .tflite file or .tar.gz archive."""
        path = f"/models/{description['name']}/versions/{description['version']}"
        with artifact.open("rb") as file:
            return self._call(
                "PUT",
                path,
                None,
                deadline_s=deadline_s,
                rewind=file,
                data={"description": json.dumps(description)},
                files={"file": (artifact.name, file, "application/octet-stream")},
            )

    def retire_model(self, name: str, version: str) -> Answer:
        return self._call("DELETE", f"/models/{name}/versions/{version}", None)

    def positions(self) -> Answer:
        """The end offset of each partition: what the log holds now."""
        return self._call("GET", "/positions", None)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> "CommandClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(
        self,
        method: str,
        path: str,
        key: str | None,
        *,
        deadline_s: float | None = None,
        rewind: BinaryIO | None = None,
        headers: Mapping[str, str] | None = None,
        **content: Any,
    ) -> Answer:
        until = monotonic() + (deadline_s or self._deadline_s)
        try_until = min(until, monotonic() + self._patience_s)
        sent = dict(headers or {})
        if key is not None:
            sent["Idempotency-Key"] = key
        tries = 0
        while True:
            tries += 1
            wait_s, failure = 0.1 * tries, ""
            if rewind is not None:
                rewind.seek(0)
            try:
                timeout = httpx.Timeout(max(0.05, until - monotonic()), connect=_CONNECT_TIMEOUT_S)
                response = self._http.request(method, path, headers=sent, timeout=timeout, **content)
            except httpx.TransportError as error:
                failure = f"{type(error).__name__}: {error}"
            else:
                if response.status_code != 503:
                    return Answer(response.status_code, body_of(response), tries)
                wait_s = retry_after_s(response)
            if monotonic() + wait_s >= try_until:
                if failure:
                    raise Unreachable(f"{method} {self._http.base_url}{path.lstrip('/')}: {failure}")
                return Answer(response.status_code, body_of(response), tries)
            threading.Event().wait(wait_s)


def data_url(picture: Picture) -> str:
    """The picture as a `data:` URL, for a JSON body."""
    return f"data:{picture.media_type};base64,{base64.b64encode(picture.data).decode()}"


def body_of(response: httpx.Response) -> Mapping[str, Any]:
    """The response's JSON object, or {}."""
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def retry_after_s(response: httpx.Response) -> float:
    """How long to wait before the same is asked again: what the service says, within bounds."""
    given = response.headers.get("Retry-After", "")
    return min(max(float(given), _RETRY_AFTER_S_MIN), RETRY_AFTER_S_MAX) if given.isdigit() else 0.5
