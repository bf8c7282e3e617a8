"""The socket between a replay and one of its workers, on which each side speaks and listens at the same time."""

import select
import socket
import threading
from collections.abc import Sequence
from typing import Any

from darkroom.runtime.child import frames

_FRAME_S_MAX = 30.0
"""A frame that has begun has arrived, or is gone, by then."""


class Connection:
    """Any thread may `say`; one listens. Each raises frames.Closed when the other side is gone."""

    def __init__(self, connection: socket.socket) -> None:
        # A socket's time-out is for all its threads alike, so none of them ever sets it to "none", which another
        # one would take over in the middle of a wait: waiting is done here, in front of the socket.
        self._socket = connection
        self._speaking = threading.Lock()
        self._readable = select.poll()
        self._readable.register(connection, select.POLLIN)

    def say(self, message: dict[str, Any], blobs: Sequence[bytes] = ()) -> None:
        """Raises TimeoutError if the other side does not listen."""
        with self._speaking:
            frames.send(self._socket, message, blobs, frames.Deadline(_FRAME_S_MAX))

    def hear(self, timeout_s: float | None = None) -> tuple[dict[str, Any], list[bytes]]:
        """The next message. Raises TimeoutError if none begins within `timeout_s`, frames.FrameError."""
        try:
            if not self._readable.poll(None if timeout_s is None else timeout_s * 1000):
                raise TimeoutError
        except (OSError, ValueError):
            raise frames.Closed from None  # closed on this side
        return frames.receive(self._socket, frames.Deadline(_FRAME_S_MAX))
