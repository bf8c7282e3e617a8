"""Files that are there whole, or not at all, whenever the machine stops."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

UNFINISHED = "unfinished.tmp"
"""The name of a file that is still being written; whoever finds one may delete it."""


class NewFile:
    """A file to write, without a name of its own yet."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file = file
        self._path = path
        self.write = file.write

    def keep(self, path: Path) -> None:
        """Gives it its name (in the same folder), in the place of an earlier one, when all of it is on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        os.replace(self._path, path)
        sync_folder(path.parent)


@contextmanager
def new_file(folder: Path) -> Iterator[NewFile]:
    """A file in that folder; it is gone afterwards if nobody kept it."""
    path = folder / UNFINISHED
    try:
        with path.open("wb") as file:
            yield NewFile(file, path)
    finally:
        with suppress(FileNotFoundError):
            path.unlink()


def sync_folder(folder: Path) -> None:
    """The names in the folder are on the disk, too."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
