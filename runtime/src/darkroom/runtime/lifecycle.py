"""How a service without an HTTP API lives: signals, and the health port."""

import signal
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from types import FrameType
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CONTENT_TYPE_LATEST, disable_created_metrics, generate_latest

disable_created_metrics()  # type: ignore[no-untyped-call]  # a series for each series, which nobody asks for

Readiness = Callable[[], str | None]
"""None if ready, otherwise why not."""


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM or SIGINT sets. Call it in the main thread."""
    stopping = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    return stopping


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass  # probes every second would drown the log


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True  # a readiness check that waits for a broker must not hold back liveness


def serve_health(host: str, port: int, readiness: Readiness) -> WSGIServer | None:
    """Serves /health/live, /health/ready and /metrics from a daemon thread; port 0 means none. Close the
    result with `shutdown()`."""
    if port == 0:
        return None

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            start_response("200 OK", [("Content-Type", CONTENT_TYPE_LATEST)])
            return [generate_latest()]
        reason = None
        if path == "/health/ready":
            reason = readiness()
        elif path != "/health/live":
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"no such page"]
        if reason:
            start_response("503 Service Unavailable", [("Content-Type", "text/plain"), ("Retry-After", "1")])
        else:
            start_response("200 OK", [("Content-Type", "text/plain")])
        return [(reason or "ok").encode()]

    server = make_server(host, port, app, server_class=_Server, handler_class=_Quiet)
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server
