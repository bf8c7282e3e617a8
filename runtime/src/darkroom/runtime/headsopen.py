"""Which heads file a process begins with: its own, a copy, or an empty one."""

import fcntl
import logging
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from darkroom.runtime import headsrows as rows
from darkroom.runtime.eventlog.port import EventLog
from darkroom.runtime.headsfile import HeadsFile, Stamp
from darkroom.runtime.headsfold import Mark
from darkroom.runtime.headsrows import FOLD_VERSION
from darkroom.runtime.headsseal import HeadsFileLost
from darkroom.schemas.errors import StoreUnavailable

_log = logging.getLogger("darkroom.heads")
_LOG_TIMEOUT_S = 30.0
"""A partition may be electing a leader, for as long as a broker takes to be taken for dead and a bit more."""


class Copies(Protocol):
    """Where a machine without a usable file gets one from."""

    def bring(self, stamp: Stamp, path: Path) -> Iterator[str]:
        """Puts one copy after the other at `path`, the newest first, and names it; ends when there is none left.
        Never raises."""


def lock_file(path: Path | str) -> int | None:
    """Takes the file for this process; gives the descriptor to close, None for ":memory:". Raises StoreUnavailable.

    Two processes that fold into one file would each find the other's events void. A dead process holds no lock,
    however it died.
    """
    if str(path) == ":memory:":
        return None
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise StoreUnavailable(f"the heads file {path} is in use by another process") from None
    return descriptor


def stamp_of(log: EventLog) -> Stamp:
    """What a file must have been made for, to be of use with this log and this code."""
    return Stamp(log.topic_id, log.partitions, FOLD_VERSION)


def open_file(path: Path | str, stamp: Stamp, log: EventLog, copies: Copies | None) -> HeadsFile:
    """The file, whole and not ahead of the log. Raises LogUnavailable, StoreUnavailable."""
    if str(path) == ":memory:":
        return HeadsFile.in_memory(stamp)
    path = Path(path)
    file = _usable(path, stamp, log)
    if file is None and copies is not None:
        for name in copies.bring(stamp, path):
            file = _usable(path, stamp, log, from_elsewhere=True)
            if file is not None:
                _log.info("the heads begin with the copy %s", name)
                return file
            _log.warning("the copy %s of the heads is not used", name)
    if file is None:
        _log.info("the heads are read from the log into a new file %s", path)
        file = HeadsFile.make(path, stamp)
    return file


def _usable(path: Path, stamp: Stamp, log: EventLog, *, from_elsewhere: bool = False) -> HeadsFile | None:
    """The file, if it does not know more than the log holds. What comes from elsewhere is looked through by SQLite
    as well. Raises LogUnavailable."""
    file = HeadsFile.reopen(path, stamp)
    if file is None:
        return None
    usable = None
    try:
        found = file.db.execute(rows.SELECT_POSITIONS).fetchall()
        positions = {partition: next_offset for partition, next_offset, *_ in found}
        if set(positions) != set(range(log.partitions)):
            _log.warning("the heads file %s has other partitions than the log", path)
        elif any(offset > log.end_offset(p, _LOG_TIMEOUT_S) for p, offset in positions.items()):
            _log.warning("the heads file %s knows more than the log holds", path)
        elif (lost := _lost(found, log)) is not None:
            _log.warning("the heads file %s knows records that partition %d has lost", path, lost)
        elif from_elsewhere and file.db.execute("PRAGMA quick_check(1)").fetchall() != [("ok",)]:
            _log.warning("the heads file %s is damaged", path)
        else:
            usable = file
    except sqlite3.DatabaseError as error:
        _log.warning("the heads file %s cannot be used: %s", path, error)
    finally:
        if usable is None:
            with suppress(HeadsFileLost, sqlite3.Error):
                file.checkpoint()  # so that it stays usable where only the log could not be asked
            file.close()
    return usable


def _lost(positions: Iterable[tuple[int, int, int, int, str]], log: EventLog) -> int | None:
    """The first partition in which another record stands before the position than the one that was folded: the log
    has lost its end and gone on, and heads of lost events would let this instance accept what all others find void.
    Raises LogUnavailable."""
    for partition, next_offset, _, epoch, event_id in positions:
        if next_offset > 0:
            found = Mark.of(log.read_one(partition, next_offset - 1, _LOG_TIMEOUT_S))
            if found != Mark(epoch, event_id):
                return partition
    return None
