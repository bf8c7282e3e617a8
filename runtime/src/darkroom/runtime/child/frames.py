"""Messages between a child and its parent over a socket: a JSON object, then raw blobs, each sent once.

A frame is a big-endian u32, the length of a JSON header {"message": …, "blobs": [sizes]}, the header, the blobs.
Nothing is pickled, so a child that went wrong can at worst send nonsense, which is noticed as such.
"""

import json
import socket
import struct
import time
from collections.abc import Sequence
from typing import Any

HEADER_BYTES_MAX = 64 * 2**20
BLOBS_BYTES_MAX = 512 * 2**20
_LENGTH = struct.Struct(">I")


class FrameError(Exception):
    """What arrived is not a frame, or is over the limits."""


class Closed(Exception):
    """The other side is gone."""


class Deadline:
    """A point in time by the monotonic clock; None never comes (only for a child that waits for work)."""

    def __init__(self, after_s: float | None) -> None:
        self._at = None if after_s is None else time.monotonic() + after_s

    def left_s(self) -> float | None:
        """Seconds left. Raises TimeoutError when none are."""
        if self._at is None:
            return None
        left_s = self._at - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        return left_s


def send(sock: socket.socket, message: dict[str, Any], blobs: Sequence[bytes], deadline: Deadline) -> None:
    """Send one frame. Raises TimeoutError at the deadline, Closed when nobody reads, FrameError when too large."""
    if sum(map(len, blobs)) > BLOBS_BYTES_MAX:
        raise FrameError(f"blobs of more than {BLOBS_BYTES_MAX} bytes in one frame")
    header = json.dumps(
        {"message": message, "blobs": [len(blob) for blob in blobs]}, separators=(",", ":"), allow_nan=False
    ).encode()
    if len(header) > HEADER_BYTES_MAX:
        raise FrameError(f"a message of more than {HEADER_BYTES_MAX} bytes")
    try:
        for part in (_LENGTH.pack(len(header)) + header, *blobs):
            sock.settimeout(deadline.left_s())
            sock.sendall(part)
    except TimeoutError:
        raise
    except OSError as error:  # broken pipe, or closed on this side by another thread
        raise Closed from error


def receive(sock: socket.socket, deadline: Deadline) -> tuple[dict[str, Any], list[bytes]]:
    """Receive one frame. Raises TimeoutError at the deadline, Closed at the end of the stream, FrameError."""
    (length,) = _LENGTH.unpack(_exactly(sock, _LENGTH.size, deadline))
    if length > HEADER_BYTES_MAX:
        raise FrameError(f"a header of {length} bytes")
    try:
        header = json.loads(_exactly(sock, length, deadline))
        message, sizes = header["message"], header["blobs"]
        known = isinstance(message, dict) and all(isinstance(size, int) and size >= 0 for size in sizes)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FrameError(f"a header that is not ours: {error!r}") from error
    if not known or sum(sizes) > BLOBS_BYTES_MAX:
        raise FrameError("a header that is not ours")
    return message, [_exactly(sock, size, deadline) for size in sizes]


def _exactly(sock: socket.socket, size: int, deadline: Deadline) -> bytes:
    buffer = bytearray(size)
    view, filled = memoryview(buffer), 0
    while filled < size:
        try:
            sock.settimeout(deadline.left_s())
            got = sock.recv_into(view[filled:])
        except TimeoutError:
            raise
        except OSError as error:
            raise Closed from error
        if not got:
            raise Closed
        filled += got
    return bytes(buffer)
