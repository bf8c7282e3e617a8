"""How long a request may take to arrive: a client that sends half of one must not keep a thread for ever."""

import socket
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any

from gunicorn.http.errors import LimitRequestHeaders, ParseException  # type: ignore[import-untyped]
from gunicorn.http.unreader import SocketUnreader  # type: ignore[import-untyped]

_LINGER_SIZE_BYTES_MAX = 64 * 2**20
"""Most clients send a body to its end before they read the answer that refuses it: dropping it costs next to
nothing, and a reset would take the answer from them."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`stall_s`: nothing at all was received. `head_s`, `head_size_bytes_max`: request line and headers together.
    Their size is small, for gunicorn looks through all of them again at each piece that comes. `request_s`: the
    whole request, and one second more for each `rate_bytes_s` of it, so that a large upload over a slow but living
    connection gets through. Only the time spent waiting for the client counts, never that of the answer."""

    stall_s: float = 15.0
    head_s: float = 5.0
    head_size_bytes_max: int = 2**16
    request_s: float = 60.0
    rate_bytes_s: int = 2**18
    linger_s: float = 1.0


class TooSlow(ParseException):  # type: ignore[misc]
    """A request did not arrive in time. Not an OSError: werkzeug would take that for a client that has gone."""


class BoundedUnreader(SocketUnreader):  # type: ignore[misc]
    """Reads a connection within the limits. Raises TooSlow, LimitRequestHeaders.

    Gunicorn itself reads the head without any time-out, and everything after it with one per piece at most.
    """

    def __init__(self, connection: socket.socket, limits: Limits) -> None:
        super().__init__(connection)
        self._limits = limits
        self.begin()

    def begin(self) -> None:
        """A new request begins."""
        self._waited_s = 0.0
        self._received_bytes = 0
        self._in_head = True
        self._until_s = self._limits.head_s

    def head_received(self) -> None:
        """From here on the limit of the whole request holds."""
        self._in_head = False
        self._until_s = self._limits.request_s

    def chunk(self, size_hint: int | None = None) -> bytes:
        left_s = self._until_s + self._received_bytes / self._limits.rate_bytes_s - self._waited_s
        if left_s <= 0:
            raise TooSlow
        before_s = self.sock.gettimeout()
        self.sock.settimeout(min(left_s, self._limits.stall_s, left_s if before_s is None else before_s))
        begun = monotonic()
        try:
            data: bytes = super().chunk(size_hint)
        except TimeoutError:
            self._until_s = 0.0
            raise TooSlow from None
        finally:
            self._waited_s += monotonic() - begun
            with suppress(OSError):
                self.sock.settimeout(before_s)
        self._received_bytes += len(data)
        if self._in_head and self._received_bytes > self._limits.head_size_bytes_max:
            raise LimitRequestHeaders("the head as a whole")
        return data


def linger(connection: Any, timeout_s: float) -> None:
    """Lets the client take the end of the last answer, for so long at most, and ends the connection both ways.

    Gunicorn does that in the one thread that accepts connections; after this it has nothing to wait for there.
    """
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        until, drained_bytes = monotonic() + timeout_s, 0
        while drained_bytes < _LINGER_SIZE_BYTES_MAX and (left_s := until - monotonic()) > 0:
            connection.settimeout(left_s)
            data = connection.recv(65_536)
            if not data:
                break
            drained_bytes += len(data)
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
