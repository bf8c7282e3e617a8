"""Export: what the log holds and the archive does not, written behind what it has.

1. ask for the ends of all partitions: the export goes up to there;
2. read the manifest that stands in the folder, check the files that it lists, and that this log is the one it was
   written from: the same topic id, and in each partition the last archived record where it was;
3. write the manifest with the new ends: from here to the end of 4 the archive says itself that it is not complete;
4. per partition, write segments; each is on the disk before a manifest lists it;
5. list the blobs, and write the manifest for the last time.
A crash loses at most the segments that no manifest lists: the next export deletes them and writes them again.
"""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from time import monotonic

from darkroom.runtime.archive.blobs import list_blobs
from darkroom.runtime.archive.errors import ArchiveError
from darkroom.runtime.archive.folder import alone, is_empty, tidy
from darkroom.runtime.archive.manifest import (
    FILE,
    Manifest,
    PartitionArchive,
    TopicArchive,
    read_manifest,
    write_manifest,
)
from darkroom.runtime.archive.part import Part, parts_of
from darkroom.runtime.archive.progress import Progress, Tell
from darkroom.runtime.archive.reading import LOG_TIMEOUT_S, records_of
from darkroom.runtime.archive.record import difference
from darkroom.runtime.archive.segment import Bounds, write_segment
from darkroom.runtime.archive.verifying import check_files
from darkroom.runtime.eventlog.port import EventLog

_MANIFEST_EVERY_S = 1.0
"""A manifest lists every segment: written after each, that of a large archive would be most of the work."""
_BOUNDS = Bounds()


@dataclass(frozen=True, slots=True)
class Source:
    """A topic to archive: its name, and the log that reads it."""

    topic: str
    log: EventLog


@dataclass(frozen=True, slots=True)
class Exported:
    """`written`: events that were not in the archive before."""

    manifest: Manifest
    written: int


def export(sources: Mapping[str, Source], folder: Path, tell: Tell, bounds: Bounds = _BOUNDS) -> Exported:
    """Brings the archive in `folder` up to what the log holds now; begins one if the folder is empty or missing.

    `sources`: by what they are for. Name a topic before those that it refers to: their ends are asked for in this
    order, so that the archive never holds a job whose model it lacks. Raises ArchiveError, with a sentence that
    says what to do, LogUnavailable, OSError; after each, the same call goes on where it was.
    """
    with alone(folder):
        now = datetime.now(UTC)
        ends = {name: _ends(source.log) for name, source in sources.items()}
        manifest = _standing(folder, sources, now, tell)
        before = manifest.events
        for part in parts_of(folder, manifest):
            end = ends[part.topic][part.number]
            _must_continue(part, sources[part.topic].log, end)
            part.archived.end = end
        manifest.exported_at = now
        if manifest.lacking or manifest.blobs is None:
            manifest.blobs = None
            write_manifest(folder, manifest)
            tidy(folder, manifest)
            _write_new(folder, manifest, sources, bounds, tell)
            manifest.blobs = list_blobs(folder, manifest, tell)
        write_manifest(folder, manifest)
        tidy(folder, manifest)
    return Exported(manifest, manifest.events - before)


def _ends(log: EventLog) -> list[int]:
    return [log.end_offset(partition, LOG_TIMEOUT_S) for partition in range(log.partitions)]


def _standing(folder: Path, sources: Mapping[str, Source], now: datetime, tell: Tell) -> Manifest:
    """The manifest in the folder, all of whose files are what was written; a new one for an empty folder."""
    if not (folder / FILE).exists():
        if not is_empty(folder):
            raise ArchiveError(f"{folder} is not empty, and no archive of a log: name another folder")
        topics = {
            name: TopicArchive(s.topic, s.log.topic_id, [PartitionArchive() for _ in range(s.log.partitions)])
            for name, s in sources.items()
        }
        return Manifest(now, topics)
    manifest = read_manifest(folder)
    if manifest.topics.keys() != sources.keys():
        raise ArchiveError(f"{folder} archives {', '.join(manifest.topics)}, not {', '.join(sources)}")
    for name, topic in manifest.topics.items():
        source = sources[name]
        if topic.topic_id != source.log.topic_id or len(topic.partitions) != source.log.partitions:
            raise ArchiveError(
                f"{folder} archives topic {topic.topic} with the id {topic.topic_id}, but {source.topic} has the "
                f"id {source.log.topic_id}: another log needs an archive of its own, so name another folder"
            )
    check_files(folder, manifest, tell)
    return manifest


def _must_continue(part: Part, log: EventLog, end: int) -> None:
    """Raises ArchiveError unless the log holds what comes next, behind what is archived."""
    first, following = log.first_offset(part.number, LOG_TIMEOUT_S), part.archived.next
    if first > following:
        raise ArchiveError(
            f"{part} begins at offset {first}: the records from {following} on were deleted, so there is nothing "
            "whole to archive; look for an older archive, and at the topic's retention"
        )
    archived = part.last()
    if archived is None:
        return
    lost = (
        f"the log has lost its end or is another one; keep {part.folder} (it may hold what the log lost), and "
        "export into a new folder"
    )
    if end < following:
        raise ArchiveError(f"{part} ends at {end}, the archive at {following}: {lost}")
    what = difference(archived, log.read_one(part.number, archived.offset, LOG_TIMEOUT_S))
    if what is not None:
        raise ArchiveError(
            f"the record at offset {archived.offset} of {part} has another {what} than the archived one: {lost}"
        )


def _write_new(folder: Path, manifest: Manifest, sources: Mapping[str, Source], bounds: Bounds, tell: Tell) -> None:
    progress = Progress(tell, "exporting", manifest.lacking)
    manifest_at = monotonic() + _MANIFEST_EVERY_S
    for part in parts_of(folder, manifest):
        archived = part.archived
        if archived.next >= archived.end:
            continue
        part.make_place()
        grown, again = list(archived.segments), archived.next
        if grown and grown[-1].small(bounds):
            again = grown.pop().first
        old = part.records(again)
        with closing(records_of(sources[part.topic].log, part.number, archived.next, archived.end)) as new:
            records = chain(old, progress.counting(new))
            while (segment := write_segment(part.place, records, bounds)) is not None:
                grown.append(segment)
                archived.segments = list(grown)
                if monotonic() >= manifest_at:
                    write_manifest(folder, manifest)
                    manifest_at = monotonic() + _MANIFEST_EVERY_S
    progress.say()
