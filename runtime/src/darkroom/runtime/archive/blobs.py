"""The blobs that the log names: pictures, model files, label maps, large results.

Found by a fold of its own, in a database on the disk, so that memory is bounded whatever the log holds: void events
name nothing, and what only deleted jobs name is released. A body that today's code cannot read may name blobs that
are not listed; such events are counted.
"""

import hashlib
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson

from darkroom.runtime.archive.durable import new_file
from darkroom.runtime.archive.errors import ArchiveError
from darkroom.runtime.archive.manifest import ListedBlobs, Manifest
from darkroom.runtime.archive.part import parts_of
from darkroom.runtime.archive.progress import Progress, Tell
from darkroom.runtime.archive.reading import LOG_TIMEOUT_S, records_of
from darkroom.runtime.eventlog.port import EventLog, Record
from darkroom.schemas.chain import accepts, partition_of, short_type
from darkroom.schemas.errors import Undecodable
from darkroom.schemas.wire import read_envelope, read_guard

FILE = "blobs.jsonl"
_HELD_MAX = 50_000
"""So many jobs and names are held in memory before they are written out."""
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class NamedBlob:
    """`kinds`: input, model, labels, results. `named_by`: how many jobs and models that still stand name it; 0: it
    is released."""

    digest: str
    kinds: tuple[str, ...]
    named_by: int


class BlobNames:
    """Who names which blob. Give it the records of each partition in their order. `unreadable`: accepted events
    that may name blobs, and that nobody can read. For one thread, within `with`."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="darkroom-blobs-")
        self._db = sqlite3.connect(Path(self._folder.name) / "names.sqlite", isolation_level=None)
        self._db.executescript(_TABLES)
        self._owners: dict[str, tuple[int, str, bool]] = {}
        self._names: set[tuple[str, str, str]] = set()
        self.unreadable = 0

    def __enter__(self) -> "BlobNames":
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()
        self._folder.cleanup()

    def take(self, name: str, partitions: int, records: Iterable[Record]) -> None:
        """Folds records of the topic that is for `name` and has so many partitions."""
        for record in records:
            self._fold(name, partitions, record)
            if len(self._owners) + len(self._names) > _HELD_MAX:
                self._write()

    def __iter__(self) -> Iterator[NamedBlob]:
        """By digest, in its order."""
        self._write()
        for digest, kinds, named_by in self._db.execute(_BLOBS):
            yield NamedBlob(digest, tuple(sorted(kinds.split(","))), named_by)

    def _fold(self, name: str, partitions: int, record: Record) -> None:
        try:
            guard = read_guard(record.key, record.headers)
        except Undecodable:
            return
        if partition_of(guard.key, partitions) != record.partition:
            return
        owner = f"{name}/{guard.key}"
        known = self._owners.get(owner) or self._db.execute(_FIND, (owner,)).fetchone()
        version, last_event_id, stands = known or _NEW
        if not accepts(version, last_event_id, guard):
            return
        kind = short_type(guard.type)
        self._owners[owner] = (guard.version, guard.event_id, bool(stands) and kind != "deleted")
        if (find := _FINDERS.get(kind)) is None:
            return
        try:
            data = read_envelope(guard, record.value, record.headers).data
            self._names.update([(_digest(digest), what, owner) for digest, what in find(data)])
        except (Undecodable, LookupError, TypeError):
            self.unreadable += 1

    def _write(self) -> None:
        self._db.execute("BEGIN")
        self._db.executemany(_PUT, ((owner, *state) for owner, state in self._owners.items()))
        self._db.executemany("INSERT OR IGNORE INTO names VALUES (?, ?, ?)", self._names)
        self._db.execute("COMMIT")
        self._owners.clear()
        self._names.clear()


def names_of_archive(folder: Path, manifest: Manifest, names: BlobNames, tell: Tell) -> None:
    """Folds a whole archive. Raises ArchiveError."""
    progress = Progress(tell, "blobs", manifest.events)
    for part in parts_of(folder, manifest):
        partitions = len(manifest.topics[part.topic].partitions)
        names.take(part.topic, partitions, progress.counting(part.records()))
    progress.say()


def names_of_logs(logs: Mapping[str, EventLog], names: BlobNames, tell: Tell) -> None:
    """Folds logs from their beginning to where they end now. Raises LogUnavailable, ArchiveError for a gap."""
    ends = {
        (name, number): log.end_offset(number, LOG_TIMEOUT_S)
        for name, log in logs.items()
        for number in range(log.partitions)
    }
    progress = Progress(tell, "blobs", sum(ends.values()))
    for (name, number), end in ends.items():
        with closing(records_of(logs[name], number, 0, end)) as records:
            names.take(name, logs[name].partitions, progress.counting(records))
    progress.say()


def list_blobs(folder: Path, manifest: Manifest, tell: Tell) -> ListedBlobs:
    """Writes the list beside the manifest: a JSON line per blob."""
    checksum, size_bytes, counts = hashlib.sha256(), 0, {True: 0, False: 0}
    with BlobNames() as names, new_file(folder) as file:
        names_of_archive(folder, manifest, names, tell)
        for blob in names:
            line = orjson.dumps(
                {"digest": blob.digest, "kinds": blob.kinds, "named_by": blob.named_by},
                option=orjson.OPT_APPEND_NEWLINE,
            )
            file.write(line)
            checksum.update(line)
            size_bytes += len(line)
            counts[blob.named_by > 0] += 1
        file.keep(folder / FILE)
    return ListedBlobs(size_bytes, checksum.hexdigest(), counts[True], counts[False], names.unreadable)


def check_list(folder: Path, manifest: Manifest) -> None:
    """Raises ArchiveError unless the list is what was written, if the manifest names one."""
    if manifest.blobs is None:
        return
    try:
        with (folder / FILE).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ArchiveError(f"{folder / FILE} cannot be read ({error.strerror}); {_REMEDY}") from None
    if found != manifest.blobs.sha256:
        raise ArchiveError(f"{folder / FILE} is damaged, its checksum is another; {_REMEDY}")


_REMEDY = "the log itself is not concerned: `darkroom log blobs` lists them again"

Named = Iterator[tuple[str, str]]
"""Digests with what they are."""


def _of_spec(data: Mapping[str, Any]) -> Named:
    spec = data["spec"]
    yield spec["model"]["digest"], "model"
    for media in spec["inputs"]:
        yield media["digest"], "input"


def _of_success(data: Mapping[str, Any]) -> Named:
    if data.get("results_blob"):
        yield data["results_blob"]["digest"], "results"


def _of_registration(data: Mapping[str, Any]) -> Named:
    description = data["description"]
    yield description["artifact"]["digest"], "model"
    yield description["labels"]["digest"], "labels"


def _digest(found: Any) -> str:
    if not isinstance(found, str) or _DIGEST.fullmatch(found) is None:
        raise Undecodable("not a digest")
    return found


_FINDERS: Mapping[str, Callable[[Mapping[str, Any]], Named]] = {
    "created": _of_spec,
    "execution-requested": _of_spec,
    "execution-succeeded": _of_success,
    "registered": _of_registration,
}

_TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE owners (owner TEXT PRIMARY KEY, version INTEGER, last_event_id TEXT, stands INTEGER) WITHOUT ROWID;
CREATE TABLE names (digest TEXT, kind TEXT, owner TEXT, PRIMARY KEY (digest, kind, owner)) WITHOUT ROWID;
"""
_FIND = "SELECT version, last_event_id, stands FROM owners WHERE owner = ?"
_NEW = (0, "", True)
_PUT = "INSERT OR REPLACE INTO owners VALUES (?, ?, ?, ?)"
_BLOBS = """
SELECT digest, group_concat(DISTINCT kind), count(DISTINCT CASE WHEN stands THEN owner END)
FROM names JOIN owners USING (owner) GROUP BY digest ORDER BY digest
"""
