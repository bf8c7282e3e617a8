"""Seals: how a process knows that nobody but itself has written to a file.

After each of its own writes it gives the file a modification time that no other write leaves behind: the past
second, with random nanoseconds. Any other write leaves the kernel's time, any other file has another inode or
another seal.
"""

import os
import random
import time
from pathlib import Path

from darkroom.schemas.errors import StoreUnavailable

Seal = tuple[int, int, int, int]
"""Device, inode, size in bytes, modification time in nanoseconds."""
_SECOND_NS = 1_000_000_000


class HeadsFileLost(StoreUnavailable):
    """The heads file is no longer what this process has written: it must be opened anew."""


def look(path: Path) -> Seal | None:
    """How the file is now; None if it is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def seal_of(path: Path) -> Seal:
    """Seals a file. Raises OSError."""
    mark_ns = (time.time_ns() // _SECOND_NS - 1) * _SECOND_NS + random.randrange(_SECOND_NS)
    os.utime(path, ns=(mark_ns, mark_ns))
    found = os.stat(path)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def sealed_again(path: Path, before: Seal) -> Seal:
    """Seals a file after a write of our own. Raises HeadsFileLost if another file stands there than before."""
    try:
        seal = seal_of(path)
    except OSError as error:
        raise HeadsFileLost(f"the heads file cannot be looked at: {error}") from None
    if seal[:2] != before[:2]:
        raise HeadsFileLost(f"somebody else has put another file in the place of {path}")
    return seal
