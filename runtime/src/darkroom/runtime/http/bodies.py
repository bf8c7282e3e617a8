"""Large bodies are let in within bounds, before any of them is read: those who send pictures shall not take all
threads, nor all memory, from those who send commands."""

import threading
from functools import partial

from flask import Flask, g, request

from darkroom.runtime.http.gate import CLOSE
from darkroom.schemas.errors import Unavailable

_SMALL_SIZE_BYTES_MAX = 2**16
"""Bodies of so many bytes are read from one or two packets, and always let in."""


class Room:
    """What large bodies may take at the same time."""

    def __init__(self, bodies_max: int, size_bytes_max: int) -> None:
        self._lock = threading.Lock()
        self._bodies_free = bodies_max
        self._bytes_free = size_bytes_max

    def enter(self, size_bytes: int) -> bool:
        """Takes a place; False, at once, if there is none."""
        with self._lock:
            if self._bodies_free < 1 or self._bytes_free < size_bytes:
                return False
            self._bodies_free -= 1
            self._bytes_free -= size_bytes
            return True

    def leave(self, size_bytes: int) -> None:
        """Gives the place back."""
        with self._lock:
            self._bodies_free += 1
            self._bytes_free += size_bytes


def register(app: Flask, room: Room, body_size_bytes_max: int) -> None:
    """Answers a large body with 503 (too-busy) where there is no room for it. One without a length, or of more than
    `body_size_bytes_max` (a model's file, which goes to disk), counts like one of that size."""

    @app.before_request
    def enter() -> None:
        length = request.content_length
        if length is None:
            length = body_size_bytes_max if "Transfer-Encoding" in request.headers else 0
        if length <= _SMALL_SIZE_BYTES_MAX:
            return
        size_bytes = min(length, body_size_bytes_max)
        if not room.enter(size_bytes):
            request.environ[CLOSE] = True  # the server drops what comes, for a second at most
            raise Unavailable("Too many uploads at once.")
        g.leave_room = partial(room.leave, size_bytes)

    @app.teardown_request
    def leave(_error: BaseException | None) -> None:
        leave_room()


def leave_room() -> None:
    """The body of the request in hand is no longer needed, though the request may go on. May be called again."""
    leave = g.pop("leave_room", None)
    if leave is not None:
        leave()
