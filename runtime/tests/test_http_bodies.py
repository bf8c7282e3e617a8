"""Large bodies are let in within bounds; small ones always."""

import threading
from collections.abc import Iterator

import pytest
from flask import Flask, request

from darkroom.runtime.http import bodies
from darkroom.runtime.http.api import make_app
from darkroom.runtime.settings import read_settings

MB = 2**20
PATIENCE_S = 20


class Held:
    """An app in which requests to /hold stay until they are let go."""

    def __init__(self, bodies_max: int, size_bytes_max: int) -> None:
        settings = read_settings()
        self.app: Flask
        self.app, _ = make_app("t", "T", "T.", "http://t", settings, lambda: None, import_name=__name__)
        bodies.register(self.app, bodies.Room(bodies_max, size_bytes_max), 4 * MB)
        self.entered, self.leave = threading.Semaphore(0), threading.Event()
        self._threads: list[threading.Thread] = []

        @self.app.post("/hold")
        def hold() -> dict[str, int]:
            self.entered.release()
            assert self.leave.wait(PATIENCE_S)
            return {"size_bytes": len(request.get_data())}

        @self.app.post("/fail")
        def fail() -> None:
            raise ZeroDivisionError

    def post(self, size_bytes: int, path: str = "/hold", **more: object) -> tuple[int, str, str]:
        answer = self.app.test_client().post(path, data=bytes(size_bytes), **more)
        return answer.status_code, (answer.json or {}).get("type", ""), answer.headers.get("Retry-After", "")

    def hold(self, size_bytes: int) -> None:
        """A request that has entered, and stays."""
        thread = threading.Thread(target=self.post, args=(size_bytes,))
        self._threads.append(thread)
        thread.start()
        assert self.entered.acquire(timeout=PATIENCE_S)

    def let_go(self) -> None:
        self.leave.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)


@pytest.fixture
def two() -> Iterator[Held]:
    held = Held(2, 10 * MB)
    yield held
    held.let_go()


BUSY = (503, "urn:darkroom:problem:too-busy", "1")


def test_no_more_large_bodies_than_there_is_room_for(two: Held) -> None:
    two.hold(MB)
    two.hold(MB)
    assert two.post(MB) == BUSY
    two.hold(1000)  # small
    two.let_go()
    assert two.post(MB)[0] == 200


def test_no_more_bytes_than_there_is_room_for() -> None:
    held = Held(9, 5 * MB)
    try:
        held.hold(4 * MB)
        assert held.post(2 * MB) == BUSY
        held.hold(MB // 2)
    finally:
        held.let_go()
    assert held.post(3 * MB)[0] == 200


def test_a_body_without_a_length_counts_like_the_largest() -> None:
    held = Held(9, 5 * MB)
    chunked = {"headers": {"Transfer-Encoding": "chunked"}, "environ_overrides": {"CONTENT_LENGTH": ""}}
    try:
        held.hold(2 * MB)
        assert held.post(10, **chunked) == BUSY
    finally:
        held.let_go()
    assert held.post(10, **chunked)[0] == 200


def test_whatever_comes_of_it_the_place_is_given_back(two: Held) -> None:
    for _ in range(5):
        assert two.post(9 * MB, "/fail")[0] == 500
        assert two.post(9 * MB, "/nowhere")[0] == 404
