"""Kafka's jars: fetched once from the list in this package, checked by sha256, kept in the user's cache.

`kafka-jars.json` names each jar with its size and sha256, so nothing is resolved on the user's machine. The list
was resolved once (see `resolve_jars.py` beside this module).
"""

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import file_digest
from importlib.resources import files
from pathlib import Path

from darkroom.cli.stack.errors import StackError
from darkroom.cli.stack.places import cache_folder

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all)."""

_FETCHERS = 8
_TRIES = 3
_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class Jar:
    """One jar, by its Maven coordinates."""

    group: str
    artifact: str
    version: str
    size_bytes: int
    sha256: str

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"


def listed_jars() -> tuple[Jar, ...]:
    """The jars that Kafka's broker and its console tools need."""
    text = files("darkroom.cli.stack").joinpath("kafka-jars.json").read_text("utf-8")
    return tuple(Jar(**row) for row in json.loads(text))


def jars_folder() -> Path:
    return cache_folder() / "kafka-jars"


def missing_jars(folder: Path, jars: Sequence[Jar]) -> list[Jar]:
    """Those not in `folder` with the right size. A jar only enters the folder checked and whole, so the size is
    enough here; `damaged_jars` reads them all."""
    return [jar for jar in jars if _size_bytes(folder / jar.file_name) != jar.size_bytes]


def damaged_jars(folder: Path, jars: Sequence[Jar]) -> list[Jar]:
    """Those not in `folder` with the right sha256."""
    return [jar for jar in jars if _sha256(folder / jar.file_name) != jar.sha256]


def class_path(progress: Progress | None = None) -> str:
    """The class path of all of Kafka, fetching what is missing. Raises StackError."""
    folder, jars = jars_folder(), listed_jars()
    fetch_jars(folder, jars, progress)
    return os.pathsep.join(str(folder / jar.file_name) for jar in jars)


def fetch_jars(
    folder: Path, jars: Sequence[Jar], progress: Progress | None = None, *, verify: bool = False
) -> list[Jar]:
    """Fetches what is missing (with `verify`: or damaged) into `folder`, and says which jars those were.

    Raises StackError if one cannot be had or has another checksum; what was fetched before stays.
    """
    wanting = damaged_jars if verify else missing_jars
    if not wanting(folder, jars):
        return []
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        todo = wanting(folder, jars)  # another process may have fetched them while this one waited
        _fetch_all(folder, todo, progress or (lambda _done, _total: None))
        return todo


def _fetch_all(folder: Path, jars: Sequence[Jar], progress: Progress) -> None:
    for left_over in folder.glob(".fetch-*"):  # of a process that was killed: we hold the lock
        shutil.rmtree(left_over, ignore_errors=True)
    total = sum(jar.size_bytes for jar in jars)
    done = 0
    progress(done, total)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as scratch:
        pool = ThreadPoolExecutor(_FETCHERS, thread_name_prefix="jar")
        try:
            for future in as_completed([pool.submit(_fetch, jar, Path(scratch), folder) for jar in jars]):
                done += future.result()
                progress(done, total)
        finally:
            pool.shutdown(cancel_futures=True)


def _fetch(jar: Jar, scratch: Path, folder: Path) -> int:
    found = _download(jar, scratch)
    if (digest := _sha256(found)) != jar.sha256:
        raise StackError(
            f"{jar.file_name} has sha256 {digest}, the list says {jar.sha256}: it was changed on its way or at its "
            "source and is not used. Try again; if it stays so, report it."
        )
    os.replace(found, folder / jar.file_name)
    return jar.size_bytes


def _download(jar: Jar, scratch: Path) -> Path:
    # jgo knows where artifacts are published; imported late, it is slow to load.
    from jgo.maven import MavenContext

    trouble: Exception | None = None
    for attempt in range(_TRIES):
        try:
            # A cache per try: jgo takes a file that is there for whole, and a broken try may have left half of one.
            context = MavenContext(repo_cache=scratch / f"{jar.file_name}.{attempt}", timeout=_TIMEOUT_S)
            found: Path = context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
            return found
        except Exception as error:  # jgo raises RuntimeError, and whatever requests raises
            trouble = error
    raise StackError(f"cannot fetch {jar.file_name}: {trouble}. Is there a network? Then run it again.")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One fetching process per folder; the lock goes with its holder."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _size_bytes(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _sha256(path: Path) -> str | None:
    try:
        with path.open("rb") as stream:
            return file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        return None
