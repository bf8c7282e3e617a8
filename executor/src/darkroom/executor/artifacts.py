"""Local copies of model files, kept by digest in one folder; every one can be fetched again."""

import contextlib
import itertools
import os
import tempfile
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from darkroom.executor.digests import sha256_of_file
from darkroom.executor.problems import ModelError, digest_mismatch, model_invalid

Fetch = Callable[[], Iterable[bytes]]
_Seen = tuple[int, int, int]


class ArtifactCache:
    """Files named by their sha256, at most ``size_bytes_max`` in sum, the longest unused going first.

    Usable from many threads, and by many processes on one folder: a file appears under its name only when it is
    whole. Archives are kept as they came; the child unpacks the bytes that it verified itself.
    """

    def __init__(self, folder: Path, size_bytes_max: int = 8 * 2**30) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._size_bytes_max = size_bytes_max
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._guard = threading.Lock()  # guards what follows
        self._verified: dict[str, _Seen] = {}
        self._holders: Counter[str] = Counter()
        self._used: dict[str, int] = {}
        self._clock = itertools.count(1)

    @contextmanager
    def hold(self, digest: str, fetch: Fetch) -> Iterator[Path]:
        """As ``ensure``; the file stays at least until the context ends."""
        with self._guard:
            self._holders[digest] += 1
        try:
            yield self.ensure(digest, fetch)
        finally:
            with self._guard:
                self._holders[digest] -= 1

    def ensure(self, digest: str, fetch: Fetch) -> Path:
        """The path of the file ``digest`` (``sha256:<hex>``), fetched in pieces if it is not here or is damaged.

        A file is hashed when it arrives and when this process first meets it; after that, a changed size, time or
        inode has it hashed again. Raises ModelError (model-digest-mismatch, model-invalid) when what was fetched is
        another file or too large, and whatever ``fetch`` raises.
        """
        path = self._path(digest)
        with self._guard:
            lock = self._locks[digest]
        fetched = False
        with lock:
            if not self._is_good(path, digest):
                self._fetch(path, digest, fetch)
                fetched = True
        with self._guard:
            self._used[digest] = next(self._clock)
            if fetched:
                self._evict(digest)
        return path

    def discard(self, digest: str) -> None:
        """Forget a file, as when a child found it damaged: the next ``ensure`` fetches it again."""
        with self._guard:
            self._verified.pop(digest, None)
        self._path(digest).unlink(missing_ok=True)

    def _path(self, digest: str) -> Path:
        kind, _, name = digest.partition(":")
        if kind != "sha256" or len(name) != 64 or not set(name) <= set("0123456789abcdef"):
            raise ModelError(model_invalid(f"{digest[:80]!r} is not a digest of the form sha256:<64 hex digits>."))
        return self._folder / name

    def _is_good(self, path: Path, digest: str) -> bool:
        try:
            seen = _seen(path)
            if self._verified.get(digest) == seen:
                return True
            if sha256_of_file(path) != digest:
                return False
        except FileNotFoundError:
            return False
        self._verified[digest] = seen
        return True

    def _fetch(self, path: Path, digest: str, fetch: Fetch) -> None:
        handle, name = tempfile.mkstemp(prefix="arriving-", dir=self._folder)
        arriving = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                for piece in fetch():
                    file.write(piece)
                    if file.tell() > self._size_bytes_max:
                        raise ModelError(model_invalid(f"The file is larger than {self._size_bytes_max} bytes."))
            found = sha256_of_file(arriving)
            if found != digest:
                raise ModelError(digest_mismatch("file in the blob store", digest, found))
            arriving.replace(path)
            self._verified[digest] = _seen(path)
        finally:
            arriving.unlink(missing_ok=True)

    def _evict(self, kept: str) -> None:
        """Remove the longest unused (by this process, then by time) beyond the limit; the guard is held."""
        stats: dict[str, os.stat_result] = {}
        for path in self._folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another process was quicker
                stats[f"sha256:{path.name}"] = path.stat()
        total = sum(stat.st_size for stat in stats.values())
        for digest in sorted(stats, key=lambda digest: (self._used.get(digest, 0), stats[digest].st_mtime)):
            if total <= self._size_bytes_max:
                return
            if digest != kept and not self._holders[digest] and not digest.startswith("sha256:arriving-"):
                (self._folder / digest.removeprefix("sha256:")).unlink(missing_ok=True)
                total -= stats[digest].st_size


def _seen(path: Path) -> _Seen:
    stat = path.stat()
    return (stat.st_ino, stat.st_size, stat.st_mtime_ns)
