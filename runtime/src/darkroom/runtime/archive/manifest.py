"""The manifest: which segments belong to the archive, of which topics, and how far it was to go.

It is written in one canonical form and carries the checksum of itself, so that no byte of it can change unnoticed.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from darkroom.runtime import failpoints
from darkroom.runtime.archive.durable import new_file
from darkroom.runtime.archive.errors import ArchiveError
from darkroom.runtime.archive.segment import Segment

FILE = "manifest.json"
FORMAT = "darkroom-log-archive"
VERSION = 1
_SIZE_BYTES_MAX = 2**30


@dataclass(slots=True)
class PartitionArchive:
    """One partition. `end`: the end of the log when the last export began, up to which it was to go."""

    end: int = 0
    segments: list[Segment] = field(default_factory=list)

    @property
    def next(self) -> int:
        """The offset of the next record that the archive does not hold yet."""
        return self.segments[-1].next if self.segments else 0


@dataclass(slots=True)
class TopicArchive:
    """One topic, with the name and the id that it had."""

    topic: str
    topic_id: str
    partitions: list[PartitionArchive]

    @property
    def events(self) -> int:
        return sum(p.next for p in self.partitions)


@dataclass(frozen=True, slots=True)
class ListedBlobs:
    """The file that lists the blobs: `required` are named by what still stands, `released` by deleted jobs alone;
    `unreadable` counts the events that may name more."""

    size_bytes: int
    sha256: str
    required: int
    released: int
    unreadable: int


@dataclass(slots=True)
class Manifest:
    """`topics`: by what they are for ("jobs", "models"). `exported_at`: UTC, when the ends were asked for. `blobs`:
    None until the list is written."""

    exported_at: datetime
    topics: dict[str, TopicArchive]
    blobs: ListedBlobs | None = None

    @property
    def events(self) -> int:
        return sum(t.events for t in self.topics.values())

    @property
    def lacking(self) -> int:
        """How many events the last export was to write and has not written: it was interrupted."""
        return sum(max(0, p.end - p.next) for t in self.topics.values() for p in t.partitions)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replaces the manifest, all or nothing."""
    failpoints.reach("archive-manifest")
    with new_file(folder) as file:
        file.write(_render(manifest))
        file.keep(folder / FILE)
    failpoints.reach("archive-manifest-kept")


def read_manifest(folder: Path) -> Manifest:
    """Raises ArchiveError for a folder without one, and for one that is damaged or of a newer format."""
    path = folder / FILE
    try:
        with path.open("rb") as file:
            content = file.read(_SIZE_BYTES_MAX)
    except OSError as error:
        raise ArchiveError(f"{folder} is no archive of a log: {path} cannot be read ({error.strerror})") from None
    try:
        found = orjson.loads(content)
        if found["format"] == FORMAT and isinstance(found["version"], int) and found["version"] > VERSION:
            raise ArchiveError(
                f"{path} has version {found['version']} of the format, this program knows up to {VERSION}: use the "
                "Darkroom that wrote it, or a newer one"
            )
        manifest = _parse(found)
    except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError) as error:
        raise _damaged(path, repr(error)[:200]) from None
    except ValueError as error:
        if isinstance(error, ArchiveError):
            raise
        raise _damaged(path, str(error)[:200]) from None
    if _render(manifest) != content:
        raise _damaged(path, "its checksum is another")
    for name, topic in manifest.topics.items():
        for number, partition in enumerate(topic.partitions):
            expected = 0
            for segment in partition.segments:
                if segment.first != expected or segment.next <= segment.first:
                    raise _damaged(path, f"partition {number} of {name} has no segment that begins at {expected}")
                expected = segment.next
    return manifest


def _damaged(path: Path, why: str) -> ArchiveError:
    return ArchiveError(f"{path} is damaged ({why}): take it from another copy, or export into a new folder")


def _render(manifest: Manifest) -> bytes:
    body = {
        "format": FORMAT,
        "version": VERSION,
        "exported_at": manifest.exported_at.isoformat(),
        "topics": {name: _topic_body(topic) for name, topic in manifest.topics.items()},
        "blobs": None if manifest.blobs is None else _blobs_body(manifest.blobs),
    }
    checksum = hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()
    return orjson.dumps(
        body | {"checksum": checksum}, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    )


def _topic_body(topic: TopicArchive) -> dict[str, Any]:
    return {
        "topic": topic.topic,
        "topic_id": topic.topic_id,
        "partitions": [
            {"end": p.end, "segments": [_segment_body(s) for s in p.segments]} for p in topic.partitions
        ],
    }


def _segment_body(segment: Segment) -> dict[str, Any]:
    return {
        "file": segment.file,
        "first": segment.first,
        "next": segment.next,
        "events": segment.events,
        "size_bytes": segment.size_bytes,
        "lines_size_bytes": segment.lines_size_bytes,
        "sha256": segment.sha256,
    }


def _blobs_body(blobs: ListedBlobs) -> dict[str, Any]:
    return {
        "size_bytes": blobs.size_bytes,
        "sha256": blobs.sha256,
        "required": blobs.required,
        "released": blobs.released,
        "unreadable": blobs.unreadable,
    }


def _parse(found: Mapping[str, Any]) -> Manifest:
    blobs = found["blobs"]
    return Manifest(
        datetime.fromisoformat(found["exported_at"]),
        {str(name): _topic(topic) for name, topic in found["topics"].items()},
        None if blobs is None else ListedBlobs(**blobs),
    )


def _topic(found: Mapping[str, Any]) -> TopicArchive:
    partitions: Sequence[Mapping[str, Any]] = found["partitions"]
    return TopicArchive(
        str(found["topic"]),
        str(found["topic_id"]),
        [PartitionArchive(int(p["end"]), [_segment(s) for s in p["segments"]]) for p in partitions],
    )


def _segment(found: Mapping[str, Any]) -> Segment:
    return Segment(
        int(found["first"]),
        int(found["next"]),
        int(found["size_bytes"]),
        int(found["lines_size_bytes"]),
        str(found["sha256"]),
    )
