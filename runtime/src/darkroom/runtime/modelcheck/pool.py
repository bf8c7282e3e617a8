"""Heads in memory without making a database anew for each: that would be a quarter of all the work.

A connection that is closed is kept, and the next empty database is copied into it as bytes.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from darkroom.runtime.headsfile import HeadsFile, Stamp

_IDLE_MAX = 16
_idle: list["_Kept"] = []
_empty: dict[Stamp, bytes] = {}
_connect = sqlite3.connect
_in_memory = HeadsFile.in_memory


class _Kept(sqlite3.Connection):
    def close(self) -> None:
        if self.in_transaction:
            self.execute("ROLLBACK")
        if len(_idle) < _IDLE_MAX:
            _idle.append(self)
        else:
            super().close()

    def really_close(self) -> None:
        super().close()


def _keeping(database: Any, *args: Any, **options: Any) -> sqlite3.Connection:
    if str(database) == ":memory:":
        options["factory"] = _Kept
    made: sqlite3.Connection = _connect(database, *args, **options)
    return made


def _copied(stamp: Stamp) -> HeadsFile:
    if stamp not in _empty:
        file = _in_memory(stamp)
        _empty[stamp] = file.db.serialize()
        return file
    if not _idle:
        return _in_memory(stamp)
    kept = _idle.pop()
    kept.deserialize(_empty[stamp])
    return HeadsFile(kept, None)


@contextmanager
def pooled() -> Iterator[None]:
    """While it lasts, databases in memory come from a pool."""
    with patch.object(sqlite3, "connect", _keeping), patch.object(HeadsFile, "in_memory", _copied):
        try:
            yield
        finally:
            while _idle:
                _idle.pop().really_close()
