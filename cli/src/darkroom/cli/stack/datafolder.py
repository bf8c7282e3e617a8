"""The folder in which a stack keeps everything: marked as ours, and used by one stack at a time."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from darkroom.cli.stack.errors import StackError

_MARKER = "darkroom-stack.json"
_LOCK = "lock"
_FORMAT = 1


@contextmanager
def opened(folder: Path, replicas: int, *, reset: bool) -> Iterator[Path]:
    """The folder, made if need be, locked while the context lasts; `reset` empties it first.

    Raises StackError if another stack uses it, if it was made for another number of replicas, or if `reset` is
    asked of a folder that no stack made.
    """
    folder = folder.absolute()
    if reset and folder.is_dir() and any(folder.iterdir()) and not (folder / _MARKER).is_file():
        raise StackError(
            f"--reset: {folder} was not made by `darkroom up` ({_MARKER} is missing); nothing was removed"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise StackError(
                f"{folder} is in use by another `darkroom up` (pid {lock.read().strip() or 'unknown'}): stop that "
                "one, or give another folder with --data"
            ) from None
        if reset:
            _empty(folder)
        _mark(folder, replicas)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield folder


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        # The marker goes last and the lock is held: a reset killed half way can be done again.
        if entry.name in (_MARKER, _LOCK):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    (folder / _MARKER).unlink(missing_ok=True)


def _mark(folder: Path, replicas: int) -> None:
    marker = folder / _MARKER
    try:
        found = json.loads(marker.read_text("utf-8"))
    except FileNotFoundError:
        marker.write_text(json.dumps({"format": _FORMAT, "replicas": replicas}), "utf-8")
        return
    if found["format"] != _FORMAT:
        raise StackError(f"{folder} was made by another version of darkroom: --reset empties it")
    if found["replicas"] != replicas:
        raise StackError(
            f"{folder} was made with --replicas {found['replicas']}: give the same, another --data, or --reset"
        )
