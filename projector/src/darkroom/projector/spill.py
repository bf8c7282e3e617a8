"""Documents that a replay cannot hold in memory, in a temporary file of its own.

The file has no name: the system takes it back when its process ends, however that comes about.
"""

import errno
import sqlite3
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

_IDS_PER_QUERY_MAX = 500
_CACHE_KIBIBYTES = 8_192


class Spill:
    """BSON documents by read model and id. For one thread at a time. Raises OSError where the disk is full."""

    def __init__(self) -> None:
        with _as_os_error():
            # No file name: SQLite makes a private file in the folder for temporary files, and unlinks it at once.
            self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode = OFF")
            self._database.execute("PRAGMA synchronous = OFF")
            self._database.execute(f"PRAGMA cache_size = -{_CACHE_KIBIBYTES}")
        self._tables: set[str] = set()

    def put(self, read_model: str, documents: Iterable[tuple[str, bytes]]) -> None:
        """Takes documents in; each takes the place of an earlier one with its id."""
        with _as_os_error():
            if read_model not in self._tables:
                self._database.execute(f'CREATE TABLE "{read_model}" (id TEXT UNIQUE, document BLOB)')
                self._tables.add(read_model)
            self._database.execute("BEGIN")
            self._database.executemany(f'INSERT OR REPLACE INTO "{read_model}" VALUES (?, ?)', documents)
            self._database.execute("COMMIT")

    def get(self, read_model: str, ids: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """Those of the documents that are here."""
        if read_model not in self._tables:
            return
        wanted = list(ids)
        for start in range(0, len(wanted), _IDS_PER_QUERY_MAX):
            some = wanted[start : start + _IDS_PER_QUERY_MAX]
            query = f'SELECT id, document FROM "{read_model}" WHERE id IN ({",".join("?" * len(some))})'
            with _as_os_error():
                yield from self._database.execute(query, some).fetchall()

    def remove(self, read_model: str, ids: Collection[str]) -> None:
        """Forgets documents; those that are not here do not matter."""
        if read_model in self._tables:
            with _as_os_error():
                self._database.executemany(f'DELETE FROM "{read_model}" WHERE id = ?', ((id,) for id in ids))

    def all(self, read_model: str) -> Iterator[tuple[str, bytes]]:
        """Every document of a read model, in no order that means anything."""
        if read_model in self._tables:
            with _as_os_error():
                yield from self._database.execute(f'SELECT id, document FROM "{read_model}"')

    def close(self) -> None:
        self._database.close()


@contextmanager
def _as_os_error() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise OSError(
            errno.ENOSPC,
            f"a replay's temporary file cannot be used (set TMPDIR to a larger disk?): {error}",
        ) from error
