"""Runs an app under gunicorn: one worker process of threads, its clients made after the fork."""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from math import ceil
from select import POLLIN, poll
from time import monotonic
from typing import Any

import orjson
from flask import Flask
from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]
from gunicorn.arbiter import Arbiter  # type: ignore[import-untyped]
from gunicorn.config import Config  # type: ignore[import-untyped]
from gunicorn.glogging import Logger  # type: ignore[import-untyped]
from gunicorn.http.errors import (  # type: ignore[import-untyped]
    InvalidResponseHeader,
    InvalidResponseHeaderName,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
    UnsupportedTransferCoding,
)
from gunicorn.http.parser import RequestParser  # type: ignore[import-untyped]
from gunicorn.util import write_nonblock  # type: ignore[import-untyped]
from gunicorn.workers.gthread import _DEFER, ThreadWorker  # type: ignore[import-untyped]

from darkroom.runtime.http.api import close_app, failure_of
from darkroom.runtime.http.gate import CLOSE, guard
from darkroom.runtime.http.problems import MEDIA_TYPE, PROBLEMS, Kind
from darkroom.runtime.http.receiving import BoundedUnreader, Limits, TooSlow, linger

_ANSWER_S = 6.0
_CLOSE_S = 3
"""What closing the app may take after the last answer: the producers' last events, the tails."""
_KEEP_ALIVE_S = 15
_SEND_STALL_S = 15.0
"""A client that takes nothing for so long in the middle of an answer is let go."""
_FIRST_BYTE_S = 0.05
"""A fresh connection may keep a thread for so long without a byte; after that it waits in the main loop."""
_NEXT_REQUEST_S = 0.02
"""A thread stays with a connection for so long after an answer: the two changes of threads that it saves cost more
than all of Flask."""
_ASK_EVERY_S = 0.9
"""How often the app is asked whether a part of it has failed: the heads look at their file for that."""
_FAILED = Arbiter.WORKER_BOOT_ERROR
"""The only exit status of a worker, beside that of a broken app, after which the arbiter ends too."""
_HEADER_SIZE_BYTES_MAX = 32_000
"""Above what the door refuses by itself (a long idempotency key), so that it answers, not the server."""

stopping = threading.Event()
"""Set once the server was told to stop: whoever streams an endless answer shall end it now."""


def serve(
    app_factory: Callable[[], Flask],
    host: str,
    port: int,
    threads: int,
    start_timeout_s: float,
    receiving: Limits = Limits(),  # noqa: B008 - frozen
    answer_s: float = _ANSWER_S,
) -> None:
    """Serves until SIGTERM or SIGINT, then answers what is under way, closes the app and exits with status 0,
    within `answer_s` (what the slowest request may take) and three seconds more.

    `app_factory` is called in the worker, so that no client crosses the fork; it may take `start_timeout_s`. If it
    raises, or a part of the app has failed for good (`api.end_when`), the process exits with another status.
    """
    _Server(app_factory, host, port, threads, start_timeout_s, receiving, answer_s).run()


class _Server(BaseApplication):  # type: ignore[misc]
    def __init__(
        self,
        app_factory: Callable[[], Flask],
        host: str,
        port: int,
        threads: int,
        start_timeout_s: float,
        receiving: Limits,
        answer_s: float,
    ) -> None:
        self._app_factory = app_factory
        self._threads = threads
        self.receiving = receiving
        self.answer_s = ceil(answer_s)
        self._options = {
            "bind": f"{host}:{port}",
            "workers": 1,
            "threads": threads,
            "worker_class": "darkroom.runtime.http.server.Worker",
            "worker_connections": 1000,
            "preload_app": False,
            "timeout": int(start_timeout_s) + 30,  # no sign of life is given while the app starts
            "graceful_timeout": self.answer_s + _CLOSE_S,
            "keepalive": _KEEP_ALIVE_S,
            "limit_request_field_size": _HEADER_SIZE_BYTES_MAX,
            "limit_request_line": 8190,
            "forwarded_allow_ips": "",  # no client, nor a proxy beside us, says by header where the app is mounted
            "logger_class": _ToRootLog,
            "accesslog": None,
            "control_socket_disable": True,
            "worker_exit": _closed,
        }
        super().__init__()

    def load_config(self) -> None:
        config: Config = self.cfg
        for name, value in self._options.items():
            config.set(name, value)

    def load(self) -> Flask:
        app = self._app_factory()
        guard(app, self._threads)
        app.wsgi_app = _closing(app.wsgi_app)  # type: ignore[method-assign]
        return app


class _ToRootLog(Logger):  # type: ignore[misc]
    """Gunicorn's own lines go where all others go."""

    def setup(self, cfg: Config) -> None:
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True
        self.error_log.setLevel(logging.INFO)


class Worker(ThreadWorker):  # type: ignore[misc]
    """Tells streams when to end, answers unreadable requests in the form of all other errors, bounds the time that
    a request may take to arrive, and ends when a part of the app has failed."""

    _failure: str | None = None
    _asked_at = 0.0

    def handle_exit(self, sig: int, frame: Any) -> None:
        stopping.set()
        super().handle_exit(sig, frame)

    def handle_quit(self, sig: int, frame: Any) -> None:
        stopping.set()
        super().handle_quit(sig, frame)

    def notify(self) -> None:
        # Called at every turn of the main loop, which is at least once a second, and under load far more often.
        super().notify()
        if self._failure is not None or monotonic() < self._asked_at + _ASK_EVERY_S:
            return
        self._asked_at = monotonic()
        if failure := failure_of(self.wsgi):
            self._failure = failure
            self.log.error("the service ends, for a new start: %s", failure)
            self.handle_exit(0, None)

    def run(self) -> None:
        # The arbiter kills after the whole grace: a part of it is for closing.
        self.cfg.set("graceful_timeout", self.app.answer_s)
        super().run()
        if self._failure is not None:
            raise SystemExit(_FAILED)

    def set_accept_enabled(self, enabled: bool) -> None:
        if not self.alive and self._accepting:
            self._accept_the_rest()
        super().set_accept_enabled(enabled)
        if not self.alive:
            for listener in self.sockets:
                listener.close()  # who comes now is refused, and goes to another instance

    def _accept_the_rest(self) -> None:
        """Takes the connections that the kernel has accepted for us: closing the listener with them would reset
        requests that were sent before the signal."""
        for listener in self.sockets:
            while _readable(listener, 0) and self.nr_conns < self.worker_connections:
                self.accept(listener)

    def _cap_keepalive(self, deadline: float) -> None:
        super()._cap_keepalive(deadline)
        for conn in self.pending_conns:  # connected, and silent so far: they must not use up the grace
            conn.timeout = min(conn.timeout, deadline)

    def handle(self, conn: Any) -> Any:
        if not conn.initialized and not conn.wait_for_data(_FIRST_BYTE_S):
            return _DEFER
        limits: Limits = self.app.receiving
        if conn.parser is None:
            conn.parser = RequestParser(self.cfg, conn.sock, conn.client)
            conn.parser.unreader = BoundedUnreader(conn.sock, limits)
        while True:
            conn.parser.unreader.begin()
            kept = super().handle(conn)
            if kept is not True or not self._more_at_once(conn):
                break
        if kept is False:
            linger(conn.sock, limits.linger_s)
        return kept

    def _more_at_once(self, conn: Any) -> bool:
        """Does the client send its next request before the way back to the main loop, and out of it again, would
        have paid? Only while nobody else needs this thread."""
        if not self.alive or not self.tpool._work_queue.empty():
            return False
        return _readable(conn.sock, _NEXT_REQUEST_S)

    def handle_request(self, req: Any, conn: Any) -> Any:
        conn.parser.unreader.head_received()
        conn.sock.settimeout(_SEND_STALL_S)
        return super().handle_request(req, conn)

    def _keepalive_after(self, conn: Any, keepalive: Any) -> bool:
        try:
            return bool(super()._keepalive_after(conn, keepalive))
        except TooSlow:  # the answer is out; what was left of the body does not come
            return False

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        # Gunicorn's own version logs and sends back what it received, which may hold a secret.
        ours = isinstance(exc, InvalidResponseHeader | InvalidResponseHeaderName)
        if isinstance(exc, ParseException) and not ours:
            name = next((name for kind, name in _UNREADABLE.items() if isinstance(exc, kind)), "malformed-request")
            self.log.warning("a request could not be read: %s", type(exc).__name__)
        else:
            name = "internal-error"
            self.log.error("a request failed outside the app: %s", type(exc).__name__, exc_info=exc)
        with suppress(OSError):
            write_nonblock(client, _answer(PROBLEMS[name]))


_UNREADABLE = {
    TooSlow: "request-timeout",
    LimitRequestLine: "uri-too-long",
    LimitRequestHeaders: "headers-too-large",
    UnsupportedTransferCoding: "not-implemented",
}


def _readable(sock: Any, timeout_s: float) -> bool:
    # Not select(): it takes no descriptor above 1,023, and a thousand connections may be open.
    readable = poll()
    readable.register(sock, POLLIN)
    return bool(readable.poll(timeout_s * 1000))


def _closing(app: Any) -> Any:
    """WSGI middleware: says `Connection: close` where the app asks for it, and waits for no more of a body."""

    def call(environ: dict[str, Any], start_response: Any) -> Any:
        def start(*arguments: Any) -> Any:
            if environ.get(CLOSE):
                start_response.__self__.force_close()  # gunicorn's response
            return start_response(*arguments)

        return app(environ, start)

    return call


def _answer(kind: Kind) -> bytes:
    status = kind.statuses[0]
    body = orjson.dumps({"type": kind.type, "title": kind.title, "status": status, "detail": kind.explanation})
    head = (
        f"HTTP/1.1 {status} {kind.title}\r\nConnection: close\r\nContent-Type: {MEDIA_TYPE}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _closed(_server: Any, worker: ThreadWorker) -> None:
    app = getattr(worker, "wsgi", None)
    if isinstance(app, Flask):
        close_app(app)
