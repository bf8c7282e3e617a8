"""A gate in front of an app: how many requests are served at once, so that threads are left for health and metrics.
It stands behind the receiving of heads, whose own limit (receiving.py) bounds what slow clients can hold.

A broker that does not answer keeps every command until its deadline. Without the gate they would take all threads
of the server, and whoever asks for liveness would wait behind them and restart a service that is well.
"""

import threading
from collections.abc import Iterable, Iterator
from time import monotonic
from typing import Any

from flask import Flask, request
from prometheus_client import Counter, Gauge

from darkroom.runtime.http.problems import ProblemError

THREADS_KEPT = 4
"""Threads of the server that only health, metrics and refusals use."""
PATIENCE_S = 0.5
"""How long a request may find the gate full, and nobody leaving, before it is refused."""
WAIT_S_MAX = 2.0
"""How long it may find the gate full at all: it holds a thread meanwhile, one of those that are kept."""

_ALWAYS = ("/health/", "/metrics")
_REFUSED = "darkroom.refused"
CLOSE = "darkroom.close"
"""In the environment of a request: its connection ends with the answer, whatever of its body is still to come."""

INSIDE = Gauge("darkroom_http_requests_inside", "Requests being served, health and metrics aside")
REFUSALS = Counter("darkroom_http_refusals_total", "Requests refused because too many were being served")


class Gate:
    """WSGI middleware. A request that finds all places taken waits for one as long as others leave; once nobody has
    left for `patience_s`, and after two seconds anyway, it is refused with 503."""

    def __init__(self, app: Any, places: int, patience_s: float = PATIENCE_S) -> None:
        self._app = app
        self._places = places
        self._patience_s = patience_s
        self._changed = threading.Condition()
        self._inside = 0
        self._moved_at = monotonic()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        free = environ.get("PATH_INFO", "").startswith(_ALWAYS)
        if not free and not self._enter():
            REFUSALS.inc()
            environ[_REFUSED] = environ[CLOSE] = free = True
        if free:
            answer: Iterable[bytes] = self._app(environ, start_response)
            return answer
        place = _Place(self)
        try:
            return place.until_sent(self._app(environ, start_response))
        except BaseException:
            place.leave()
            raise

    def _enter(self) -> bool:
        until = monotonic() + WAIT_S_MAX
        with self._changed:
            while self._inside >= self._places:
                left_s = min(until, self._moved_at + self._patience_s) - monotonic()
                if left_s <= 0:
                    return False
                self._changed.wait(left_s)
            self._inside += 1
            self._moved_at = monotonic()
            INSIDE.set(self._inside)
            return True

    def _leave(self) -> None:
        with self._changed:
            self._inside -= 1
            self._moved_at = monotonic()
            INSIDE.set(self._inside)
            self._changed.notify()


class _Place:
    """A request's place, held until its answer is sent: a stream keeps its thread until then."""

    def __init__(self, gate: Gate) -> None:
        self._gate: Gate | None = gate
        self._answer: Iterable[bytes] = ()

    def until_sent(self, answer: Iterable[bytes]) -> "_Place":
        self._answer = answer
        return self

    def leave(self) -> None:
        gate, self._gate = self._gate, None
        if gate is not None:
            gate._leave()

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._answer)

    def close(self) -> None:
        """Called by the server once all is sent, or the client is gone."""
        try:
            if hasattr(self._answer, "close"):
                self._answer.close()
        finally:
            self.leave()


def register(app: Flask) -> None:
    """Lets the app refuse what a gate in front of it has turned away, in the form of all its errors."""

    @app.before_request
    def refuse() -> None:
        if request.environ.get(_REFUSED):
            raise ProblemError(
                "too-busy",
                "This instance serves as many requests as it can, and none of them has ended lately.",
                headers={"Retry-After": "1"},
            )


def guard(app: Flask, threads: int) -> None:
    """Puts a gate in front of an app whose server has so many threads."""
    app.wsgi_app = Gate(app.wsgi_app, places_of(threads))  # type: ignore[method-assign]


def places_of(threads: int) -> int:
    """How many requests are served at once by a server of so many threads."""
    return threads - min(THREADS_KEPT, threads // 4)
