"""Large bodies are let in within bounds, before any of them is read: those who send pictures shall not take all
threads, nor all memory, from those who send commands."""

import threading
from time import monotonic

from flask import Flask, g, request

from darkroom.schemas.errors import Unavailable

_SMALL_SIZE_BYTES_MAX = 2**16
"""Bodies of so many bytes are read from one or two packets, and always let in."""
_DISCARD_S = 1.0
_PIECE_SIZE_BYTES = 2**16


class Room:
    """What large bodies may take at the same time."""

    def __init__(self, bodies_max: int, size_bytes_max: int) -> None:
        self._lock = threading.Lock()
        self._bodies_free = bodies_max
        self._bytes_free = size_bytes_max
        self._discards = threading.BoundedSemaphore(max(1, bodies_max // 2))

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

    def discard(self) -> None:
        """Reads the body of a refused request, for a second at most, and keeps nothing of it: a client that still
        sends when the connection ends may never see its answer. Few are treated so well at once."""
        if not self._discards.acquire(blocking=False):
            return
        try:
            until = monotonic() + _DISCARD_S
            while monotonic() < until and request.stream.read(_PIECE_SIZE_BYTES):
                pass
        finally:
            self._discards.release()


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
            room.discard()
            raise Unavailable("Too many uploads at once.")
        g.room_taken_bytes = size_bytes

    @app.teardown_request
    def leave(_error: BaseException | None) -> None:
        size_bytes = g.pop("room_taken_bytes", None)
        if size_bytes is not None:
            room.leave(size_bytes)
