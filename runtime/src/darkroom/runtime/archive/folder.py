"""The folder of an archive: one writer at a time, and nothing of ours in it that nobody lists."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from darkroom.runtime.archive.durable import UNFINISHED, sync_folder
from darkroom.runtime.archive.errors import ArchiveError
from darkroom.runtime.archive.manifest import Manifest
from darkroom.runtime.archive.part import parts_of
from darkroom.runtime.archive.segment import SUFFIX

_LOCK = ".lock"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Makes the folder if it is missing, and keeps other exports out of it. Raises ArchiveError, OSError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ArchiveError(f"{folder} cannot be a folder, since a file stands there: name another one") from None
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ArchiveError(f"another export is writing into {folder}: let it end") from None
        yield
    finally:
        os.close(descriptor)


def is_empty(folder: Path) -> bool:
    """Whether nothing stands in it, but for what an export leaves that was killed before its first manifest."""
    return all(path.name in (_LOCK, UNFINISHED) for path in folder.iterdir())


def tidy(folder: Path, manifest: Manifest) -> None:
    """Deletes what a killed export left, and segments that were written anew with what came behind them: files of
    our own kind that the manifest does not list. The manifest must be on the disk already."""
    (folder / UNFINISHED).unlink(missing_ok=True)
    for part in parts_of(folder, manifest):
        if not part.place.is_dir():
            continue
        listed = {segment.file for segment in part.archived.segments}
        ours = [path for path in part.place.iterdir() if path.name.endswith((SUFFIX, UNFINISHED))]
        unlisted = [path for path in ours if path.name not in listed]
        for path in unlisted:
            path.unlink()
        if unlisted:
            sync_folder(part.place)
