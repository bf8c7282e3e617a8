"""The gate in front of an app: who gets in, who waits, who is refused, and what is always answered."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any

import pytest

from darkroom.runtime.http.gate import Gate, places_of


class App:
    """Answers a path at once, or when it is told to; says whether a request was to be refused."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.inside = threading.Semaphore(0)

    def __call__(self, environ: dict[str, Any], _start_response: Any) -> Iterator[bytes]:
        if environ.get("darkroom.refused"):
            return iter([b"refused"])
        if environ["PATH_INFO"] == "/fails":
            raise RuntimeError("no answer")
        if environ["PATH_INFO"] == "/slow":
            self.inside.release()
            assert self.go_on.wait(10)
        return iter([b"served"])


def ask(gate: Gate, path: str) -> bytes:
    answer = gate({"PATH_INFO": path}, None)
    try:
        return b"".join(answer)
    finally:
        if hasattr(answer, "close"):
            answer.close()


def test_full_and_nobody_leaves() -> None:
    app = App()
    gate = Gate(app, places=2, patience_s=0.1)
    with ThreadPoolExecutor(2) as threads:
        slow = [threads.submit(ask, gate, "/slow") for _ in range(2)]
        for _ in slow:
            assert app.inside.acquire(timeout=10)
        begun = monotonic()
        assert ask(gate, "/jobs") == b"refused"
        assert ask(gate, "/jobs") == b"refused"
        assert ask(gate, "/health/live") == b"served"
        assert ask(gate, "/metrics") == b"served"
        assert monotonic() - begun < 5
        app.go_on.set()
        assert [one.result(10) for one in slow] == [b"served"] * 2
    assert ask(gate, "/jobs") == b"served"


def test_full_but_others_leave() -> None:
    app = App()
    gate = Gate(app, places=1, patience_s=10.0)
    with ThreadPoolExecutor(2) as threads:
        slow = threads.submit(ask, gate, "/slow")
        assert app.inside.acquire(timeout=10)
        waits = threads.submit(ask, gate, "/jobs")
        app.go_on.set()
        assert slow.result(10) == b"served"
        assert waits.result(10) == b"served"


def test_a_place_is_held_until_the_answer_is_sent_and_given_back_whatever_happens() -> None:
    gate = Gate(App(), places=1, patience_s=0.05)
    streaming = gate({"PATH_INFO": "/stream"}, None)
    assert ask(gate, "/jobs") == b"refused"
    streaming.close()  # type: ignore[attr-defined]
    assert ask(gate, "/jobs") == b"served"
    with pytest.raises(RuntimeError):
        ask(gate, "/fails")
    assert ask(gate, "/jobs") == b"served"


@pytest.mark.parametrize(("threads", "places"), [(1, 1), (3, 3), (4, 3), (8, 6), (16, 12), (64, 60)])
def test_places(threads: int, places: int) -> None:
    assert places_of(threads) == places
