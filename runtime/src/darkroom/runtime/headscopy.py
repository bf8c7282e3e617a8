"""Copies of the heads file in the blob store, so that a machine without a file need not read the whole log.

A copy is the file as one checkpoint left it, compressed. Its name says what it is of (topic id, partitions, version
of the fold), how many events it has passed, its size and its digest. It is a convenience and never trusted: whoever
brings one verifies name, digest, size, stamp and content, that it is not ahead of the log, and then reads the log
from there. Nothing is lost if all copies are deleted at any time.
"""

import logging
import re
import threading
import zlib
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from time import monotonic

from prometheus_client import Counter

from darkroom.runtime.blobs import BlobMissing, BlobStore
from darkroom.runtime.heads import HeadStore
from darkroom.runtime.headsfile import Stamp
from darkroom.schemas.errors import StoreUnavailable, Unavailable

_log = logging.getLogger("darkroom.heads")
_made = Counter("darkroom_heads_copies_total", "Copies of the heads file put into the blob store", ["outcome"])

KEPT = 2
"""How many copies stay for one stamp; each is deleted when so many newer ones are there."""
_TRIED_MAX = 2 * KEPT
_CHECK_EVERY_S = 5.0
_RETRY_AFTER_S = 60.0
_CHUNK_SIZE_BYTES = 2**20
_LEVEL = 1  # half the size at ten times the speed of the default level: ids and hashes do not compress
_LAST_PART = re.compile(r"(?P<passed>[0-9]{16})-(?P<size_bytes>[0-9]{1,16})-(?P<digest>[0-9a-f]{64})")
_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}")


class HeadCopies:
    """The copies in a blob store. `bring_timeout_s`: how long a start may take over bringing one."""

    def __init__(self, blobs: BlobStore, bring_timeout_s: float = 30.0) -> None:
        self._blobs = blobs
        self._bring_timeout_s = bring_timeout_s

    def bring(self, stamp: Stamp, path: Path) -> Iterator[str]:
        """Puts one copy after the other at `path`, the newest first, and names it; ends when there is none left or
        the time is over. Each is as it was put, which says nothing of its content. Never raises."""
        deadline = monotonic() + self._bring_timeout_s
        try:
            names = sorted(self._names(stamp), reverse=True)[:_TRIED_MAX]
        except Unavailable as error:
            _log.warning("no copy of the heads can be looked for: %s", error)
            return
        for name in names:
            arriving = Path(f"{path}.copy")
            try:
                self._fetch(name, arriving, deadline)
                for suffix in ("", "-wal", "-shm"):
                    Path(f"{path}{suffix}").unlink(missing_ok=True)
                arriving.replace(path)
            except (Unavailable, BlobMissing, OSError, ValueError, zlib.error) as error:
                _log.warning("the copy %s of the heads cannot be had: %s", name, error)
                arriving.unlink(missing_ok=True)
                continue
            yield name

    def newest(self, stamp: Stamp, passed_max: int) -> int:
        """How many events the newest copy has passed, of those that claim at most `passed_max`; 0 if there is none.
        Raises StoreUnavailable."""
        return max((n for name in self._names(stamp) if (n := _passed(name)) <= passed_max), default=0)

    def put(self, stamp: Stamp, file: Path, passed: int) -> str:
        """Compresses and keeps a file that has passed so many events, and deletes older copies. Raises
        StoreUnavailable, OSError."""
        packed = Path(f"{file}.z")
        try:
            digest = _compress(file, packed)
            name = f"{_folder(stamp)}/{passed:016d}-{file.stat().st_size}-{digest}"
            self._blobs.put_copy(name, packed)
        finally:
            packed.unlink(missing_ok=True)
        # What claims to be ahead of this instance is left to those who are.
        older = sorted((n for n in self._names(stamp) if _passed(n) <= passed), reverse=True)
        for outdated in older[KEPT:]:
            self._blobs.delete_copy(outdated)
        return name

    def _names(self, stamp: Stamp) -> list[str]:
        folder = _folder(stamp)
        return [
            name
            for name in self._blobs.copies(folder)
            if name.startswith(f"{folder}/") and _LAST_PART.fullmatch(name.removeprefix(f"{folder}/"))
        ]

    def _fetch(self, name: str, target: Path, deadline: float) -> None:
        said = _LAST_PART.fullmatch(name.rpartition("/")[2])
        assert said is not None
        size_bytes, unpacking, checksum = int(said["size_bytes"]), zlib.decompressobj(), sha256()
        written = 0
        with target.open("wb") as out:
            for packed in self._blobs.stream_copy(name):
                if monotonic() > deadline:
                    raise StoreUnavailable("it does not arrive in time")
                checksum.update(packed)
                while packed:
                    chunk = unpacking.decompress(packed, _CHUNK_SIZE_BYTES)
                    packed = unpacking.unconsumed_tail
                    written += out.write(chunk)
                    if written > size_bytes:
                        raise ValueError("it is longer than its name says")
            written += out.write(unpacking.flush())
        if checksum.hexdigest() != said["digest"] or not unpacking.eof or written != size_bytes:
            raise ValueError("it is not what its name says")


class HeadsCopier:
    """Copies an instance's heads every so many events, in a thread of its own, one copy at a time."""

    def __init__(self, heads: HeadStore, path: Path, copies: HeadCopies, every_events: int) -> None:
        """`path`: the heads file, beside which the copy is prepared. `every_events`: 0 for never."""
        self._heads = heads
        self._copies = copies
        self._every_events = every_events
        self._preparing = Path(f"{path}.copy")
        self._covered = 0
        self._not_before_s = 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heads-copier", daemon=True)

    def start(self) -> None:
        if self._every_events:
            self._thread.start()

    def stop(self, timeout_s: float = 1.0) -> None:
        """Makes no further copy. One that is being put is left behind: it is there whole or not at all."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def turn(self) -> str | None:
        """Makes a copy if it is time; gives its name. Never raises."""
        passed = sum(self._heads.positions().values())
        # With the age of the log copies grow larger and come less often: all of them together stay in proportion.
        due_events = max(self._every_events, passed // 20)
        if not self._every_events or passed - self._covered < due_events or monotonic() < self._not_before_s:
            return None
        stamp = self._heads.stamp
        try:
            others = self._copies.newest(stamp, passed + due_events)
            if passed - others < due_events:
                self._covered = others  # another instance was first
                return None
            passed = self._heads.copy_to(self._preparing)
            name = self._copies.put(stamp, self._preparing, passed)
        except (Unavailable, OSError) as error:
            _log.warning("the heads could not be copied into the blob store: %s", error)
            _made.labels("failed").inc()
            self._not_before_s = monotonic() + _RETRY_AFTER_S
            return None
        finally:
            self._preparing.unlink(missing_ok=True)
        _made.labels("made").inc()
        _log.info("the heads were copied into the blob store as %s", name)
        self._covered = passed
        return name

    def _run(self) -> None:
        while not self._stopping.wait(_CHECK_EVERY_S):
            try:
                self.turn()
            except Exception:
                _log.exception("a bug in the copier of the heads")
                self._not_before_s = monotonic() + _RETRY_AFTER_S


def _folder(stamp: Stamp) -> str:
    topic = stamp.topic_id
    if _PLAIN.fullmatch(topic) is None:
        topic = sha256(topic.encode()).hexdigest()
    return f"heads/{topic}/{stamp.partitions}-{stamp.fold_version}"


def _passed(name: str) -> int:
    return int(name.rpartition("/")[2].partition("-")[0])


def _compress(file: Path, target: Path) -> str:
    checksum, packing = sha256(), zlib.compressobj(_LEVEL)
    with file.open("rb") as plain, target.open("wb") as out:
        while chunk := plain.read(_CHUNK_SIZE_BYTES):
            packed = packing.compress(chunk)
            checksum.update(packed)
            out.write(packed)
        packed = packing.flush()
        checksum.update(packed)
        out.write(packed)
    return checksum.hexdigest()
