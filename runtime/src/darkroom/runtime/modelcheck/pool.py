"""Heads in memory without opening a database anew for each: that would be a quarter of all the work.

A database that is closed is emptied and kept; the layout is copied in as bytes once it was made.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

_KEPT_MAX = 16
_connect = sqlite3.connect


def _nothing() -> bytes:
    with _connect(":memory:") as db:
        db.execute("CREATE TABLE passing (x)")
        db.execute("DROP TABLE passing")
        empty: bytes = db.serialize()
    db.close()
    return empty


class _Kept(sqlite3.Connection):
    layouts: dict[str, bytes] = {}  # noqa: RUF012 - one for all, and it only grows by what the code's layouts are
    idle: list["_Kept"] = []  # noqa: RUF012 - the pool itself
    empty = _nothing()

    def executescript(self, script: str, /) -> sqlite3.Cursor:
        if script in self.layouts:
            self.deserialize(self.layouts[script])
            return self.cursor()
        made = super().executescript(script)
        self.layouts[script] = self.serialize()
        return made

    def close(self) -> None:
        if self.in_transaction:
            self.execute("ROLLBACK")
        if len(self.idle) >= _KEPT_MAX:
            super().close()
            return
        self.deserialize(self.empty)
        self.idle.append(self)

    def really_close(self) -> None:
        super().close()


def _pooled(database: Any, *args: Any, **options: Any) -> sqlite3.Connection:
    if str(database) != ":memory:":
        return _connect(database, *args, **options)
    return _Kept.idle.pop() if _Kept.idle else _connect(database, *args, factory=_Kept, **options)


@contextmanager
def pooled() -> Iterator[None]:
    """While it lasts, databases in memory come from a pool."""
    with patch.object(sqlite3, "connect", _pooled):
        try:
            yield
        finally:
            while _Kept.idle:
                _Kept.idle.pop().really_close()
