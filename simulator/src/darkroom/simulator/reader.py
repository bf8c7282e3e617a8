"""A client of the query API: jobs, live events, models, projections. Every call ends by a deadline."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any

import httpx
import httpx_sse

from darkroom.schemas.chain import Guard
from darkroom.schemas.job import Status, status_after
from darkroom.simulator.client import PREFIX, Answer, Unreachable, body_of, retry_after_s

WAIT_S_MAX = 60.0
"""The query API lets nobody wait longer in one request."""
_MARGIN_S = 10.0


class Refused(Exception):
    """The service answered with a problem. `again_after_s`: what passes (503) is worth asking again then."""

    def __init__(self, answer: Answer, again_after_s: float | None = None) -> None:
        super().__init__(answer.explain())
        self.answer = answer
        self.again_after_s = again_after_s


@dataclass(frozen=True, slots=True)
class Step:
    """One accepted event of a job: its short type, and where the job stood after it."""

    kind: str
    status: Status
    event: Mapping[str, Any]


class QueryClient:
    """Raises Unreachable where the service does not answer, Refused where it answers with a problem.

    A 503 passes (the read model is behind, the service is busy): what waits for a job or for models asks again
    after Retry-After, and only a 503 that outlasts the call's deadline is Refused.
    """

    def __init__(
        self, base_url: str, *, timeout_s: float = 10.0, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._timeout_s = timeout_s
        self._http = httpx.Client(base_url=base_url.rstrip("/"), timeout=timeout_s, transport=transport)

    def job(
        self, job_id: str, *, after: str | None = None, wait_s: float = 0.0, patience_s: float | None = None
    ) -> Mapping[str, Any]:
        """The job as read, not older than position `after`; with `wait_s`, once it is terminal or the time is
        up (at most WAIT_S_MAX). `patience_s`: how long a 503 is asked again; by default the client's timeout."""
        wait_s = min(wait_s, WAIT_S_MAX)
        ask = partial(
            self._get,
            f"{PREFIX}/jobs/{job_id}",
            params={"after": after} if after else {},
            headers={"Prefer": f"wait={int(wait_s)}"} if wait_s >= 1 else {},
            timeout_s=self._timeout_s + wait_s,
        )
        return _patiently(ask, monotonic() + (self._timeout_s if patience_s is None else patience_s))

    def finished(self, job_id: str, *, after: str | None = None, timeout_s: float = 120.0) -> Mapping[str, Any]:
        """The job once it is terminal. Raises Unreachable if it is not after `timeout_s`, Refused if it could not
        be read by then."""
        until = monotonic() + timeout_s

        def ask() -> Mapping[str, Any]:
            return self.job(job_id, after=after, wait_s=max(1.0, until - monotonic()), patience_s=0.0)

        while True:
            late = monotonic() >= until
            job = _patiently(ask, until)
            if job.get("status") not in (Status.CREATED, Status.QUEUED, Status.RUNNING):
                return job
            if late:
                raise Unreachable(f"job {job_id} is still {job.get('status')} after {timeout_s:g} s")

    def steps(self, job_id: str, timeout_s: float) -> Iterator[Step]:
        """The job's accepted events as they happen, from the first one on, until it is terminal. The stream
        is taken up again where it broke. Raises Unreachable once `timeout_s` have passed."""
        until, last_id, status = monotonic() + timeout_s, "", None
        while (left_s := until - monotonic()) > 0:
            headers = {"Last-Event-ID": last_id} if last_id else {}
            pause_s = 0.2
            try:
                with httpx_sse.connect_sse(
                    self._http,
                    "GET",
                    f"{PREFIX}/jobs/{job_id}/events",
                    headers=headers,
                    timeout=httpx.Timeout(self._timeout_s, read=min(left_s, 3 * _MARGIN_S)),
                ) as source:
                    response = source.response
                    if response.status_code != 200:
                        response.read()
                        refused = _refused(response)
                        if refused.again_after_s is None or monotonic() + refused.again_after_s >= until:
                            raise refused
                        pause_s = refused.again_after_s
                    for message in source.iter_sse() if response.status_code == 200 else ():
                        last_id = message.id or last_id
                        event = _event_of(message)
                        if event is None:
                            continue
                        step = step_of(event, status)
                        status = step.status
                        yield step
                        if status in TERMINAL:
                            return
                        if monotonic() > until:
                            break
            except httpx.TransportError:
                pass
            threading.Event().wait(pause_s)  # then the stream resumes after the last event that was seen
        raise Unreachable(f"job {job_id} has not ended after {timeout_s:g} s")

    def models(self) -> Sequence[Mapping[str, Any]]:
        """The catalogue: one entry per name, each with its versions."""
        found = _patiently(partial(self._get, f"{PREFIX}/models"), monotonic() + self._timeout_s)
        return list(found.get("items", []))

    def stats(self) -> Mapping[str, Any]:
        return self._get(f"{PREFIX}/stats")

    def projections(self) -> Mapping[str, Any]:
        return self._get(f"{PREFIX}/projections")

    def ready(self) -> bool:
        """Whether the service says that it is ready."""
        try:
            return self._http.get("/health/ready").status_code == 200
        except httpx.TransportError:
            return False

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> "QueryClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _get(
        self,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Mapping[str, Any]:
        try:
            response = self._http.get(path, params=params, headers=headers, timeout=timeout_s or self._timeout_s)
        except httpx.TransportError as error:
            raise Unreachable(f"GET {self._http.base_url}{path}: {type(error).__name__}: {error}") from None
        if response.status_code >= 400:
            raise _refused(response)
        return body_of(response)


def _refused(response: httpx.Response) -> Refused:
    again_after_s = retry_after_s(response) if response.status_code == 503 else None
    return Refused(Answer(response.status_code, body_of(response)), again_after_s)


def _patiently(ask: Callable[[], Mapping[str, Any]], until: float) -> Mapping[str, Any]:
    """The answer; what passes is waited for until `until` (monotonic). Raises Refused, Unreachable."""
    while True:
        try:
            return ask()
        except Refused as refused:
            if refused.again_after_s is None or monotonic() + refused.again_after_s >= until:
                raise
            threading.Event().wait(refused.again_after_s)


TERMINAL = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELLED, Status.DELETED})


def step_of(event: Mapping[str, Any], before: Status | None) -> Step:
    """The step that an accepted CloudEvent of a job is, by the same rule as every fold."""
    event_type = str(event.get("type", ""))
    guard = Guard(
        key=str(event.get("subject", "")),
        event_id=str(event.get("id", "")),
        type=event_type,
        version=int(event.get("streamversion", 0)),
        prev_id=str(event.get("previd", "")),
        command_id="",
        request_hash="",
        tenant="",
        run=int(event.get("run", 0)),
        attempt=int(event.get("attempt", 0)),
    )
    parts = event_type.rsplit(".", 2)
    return Step(parts[1] if len(parts) == 3 else event_type, status_after(before, guard), event)


def _event_of(message: httpx_sse.ServerSentEvent) -> Mapping[str, Any] | None:
    """The CloudEvent in a message, whether it stands there bare or beside its position."""
    try:
        data = message.json()
    except ValueError:
        return None
    if not isinstance(data, dict):
        return None
    event = data.get("event", data)
    return event if isinstance(event, dict) and "specversion" in event else None
