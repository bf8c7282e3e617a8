"""Signals, and the health port of services without an HTTP API."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from darkroom.runtime.lifecycle import Readiness, serve_health, stop_on_signals


@pytest.fixture
def served() -> Iterator[Callable[[Readiness], str]]:
    """Starts a health port; gives its URL."""
    servers = []

    def serve(readiness: Readiness) -> str:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server = serve_health("127.0.0.1", port, readiness)
        assert server is not None
        servers.append(server)
        return f"http://127.0.0.1:{port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def get(url: str) -> tuple[int, str]:
    try:
        with urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_health_pages(served: Callable[[Readiness], str]) -> None:
    reasons: list[str | None] = [None, "the tail is behind"]
    url = served(lambda: reasons[0])
    assert get(f"{url}/health/live") == (200, "ok")
    assert get(f"{url}/health/ready") == (200, "ok")
    reasons.pop(0)
    assert get(f"{url}/health/live") == (200, "ok")
    assert get(f"{url}/health/ready") == (503, "the tail is behind")
    status, metrics = get(f"{url}/metrics")
    assert status == 200
    assert "python_info" in metrics
    assert get(f"{url}/other")[0] == 404


def test_liveness_answers_while_readiness_waits_for_a_broker(served: Callable[[Readiness], str]) -> None:
    asked, answer = threading.Event(), threading.Event()

    def readiness() -> str | None:
        asked.set()
        assert answer.wait(10)
        return None

    url = served(readiness)
    with ThreadPoolExecutor(1) as thread:
        ready = thread.submit(get, f"{url}/health/ready")
        assert asked.wait(10)
        assert get(f"{url}/health/live") == (200, "ok")
        answer.set()
        assert ready.result(10) == (200, "ok")


def test_no_port_no_server() -> None:
    assert serve_health("127.0.0.1", 0, lambda: None) is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_ask_for_a_stop(number: signal.Signals) -> None:
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        stopping = stop_on_signals()
        assert not stopping.is_set()
        os.kill(os.getpid(), number)
        assert stopping.wait(5)
    finally:
        for n, handler in before.items():
            signal.signal(n, handler)
