"""What is seen of each request: its ids, a log line, a metric. Never its query, body or credentials."""

import re
from time import perf_counter

import structlog
from flask import Flask, Response, g, request
from prometheus_client import Counter, Histogram

from darkroom.runtime.ids import new_id
from darkroom.runtime.telemetry import continued_trace

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_QUIET = ("/health/", "/metrics")

REQUESTS = Counter("darkroom_http_requests_total", "Requests answered", ["service", "method", "route", "status"])
SECONDS = Histogram(
    "darkroom_http_request_seconds",
    "Time until the answer's head was ready",
    ["service", "route"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60),
)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})


def traceparent() -> str:
    """The trace context of the request in hand: the caller's, or a new one."""
    found: str = g.traceparent
    return found


def register(app: Flask, service: str) -> None:
    """Gives every request a request id (the caller's `X-Request-Id` if it is plain) and a trace context."""
    log = structlog.get_logger("darkroom.http")

    @app.before_request
    def begin() -> None:
        given = request.headers.get("X-Request-Id", "")
        g.request_id = given if _REQUEST_ID.fullmatch(given) else new_id()
        g.traceparent = continued_trace(request.headers.get("Traceparent"))
        g.started = perf_counter()
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=g.request_id, trace_id=g.traceparent.split("-")[1])

    @app.after_request
    def end(response: Response) -> Response:
        if "request_id" not in g:
            return response
        response.headers["X-Request-Id"] = g.request_id
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        route = str(request.url_rule) if request.url_rule else "none"
        method = request.method if request.method in _METHODS else "other"
        took_s = perf_counter() - g.started
        REQUESTS.labels(service, method, route, response.status_code).inc()
        SECONDS.labels(service, route).observe(took_s)
        if not request.path.startswith(_QUIET):
            log.info(
                "request",
                method=method,
                route=route,
                status=response.status_code,
                took_ms=round(took_s * 1000, 1),
            )
        return response

    @app.teardown_request
    def forget(_error: BaseException | None) -> None:
        structlog.contextvars.clear_contextvars()  # the thread serves other requests next
