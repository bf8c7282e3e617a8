"""Is an archive what was written, and is it what a log holds?"""

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from darkroom.runtime.archive.blobs import check_list
from darkroom.runtime.archive.errors import ArchiveError
from darkroom.runtime.archive.manifest import Manifest, read_manifest
from darkroom.runtime.archive.part import Part, parts_of
from darkroom.runtime.archive.progress import Progress, Tell
from darkroom.runtime.archive.reading import LOG_TIMEOUT_S, records_of
from darkroom.runtime.archive.record import difference
from darkroom.runtime.archive.segment import check_segment
from darkroom.runtime.eventlog.port import EventLog


def verify(folder: Path, tell: Tell) -> Manifest:
    """The manifest of an archive each of whose files is what was written, and each of whose records can be read.
    Raises ArchiveError that names the first file that is not."""
    manifest = read_manifest(folder)
    progress = Progress(tell, "verifying", manifest.events)
    for part in parts_of(folder, manifest):
        for _ in part.records():
            progress.step()
    check_list(folder, manifest)
    progress.say()
    return manifest


def check_files(folder: Path, manifest: Manifest, tell: Tell) -> None:
    """Raises ArchiveError unless every segment is what was written. Unpacks nothing."""
    progress = Progress(tell, "checking", manifest.events)
    for part in parts_of(folder, manifest):
        for segment in part.archived.segments:
            check_segment(part.place, segment)
            progress.step(segment.events)


def compare(folder: Path, manifest: Manifest, logs: Mapping[str, EventLog], tell: Tell) -> None:
    """Raises ArchiveError that names the first archived record that does not stand in the log as it is archived."""
    progress = Progress(tell, "comparing", manifest.events)
    for name, topic in manifest.topics.items():
        if len(topic.partitions) != logs[name].partitions:
            raise ArchiveError(
                f"the archive of {name} has {len(topic.partitions)} partitions, the log {logs[name].partitions}: "
                "it is the archive of another log"
            )
    for part in parts_of(folder, manifest):
        log, archived_end = logs[part.topic], part.archived.next
        end = log.end_offset(part.number, LOG_TIMEOUT_S)
        if end < archived_end:
            raise ArchiveError(
                f"{part} ends at {end}, the archive at {archived_end}: the log has lost its end, or is another one"
            )
        compare_part(part, log, 0, archived_end, progress)
    progress.say()


def compare_part(part: Part, log: EventLog, start: int, stop: int, progress: Progress) -> None:
    """The same for the offsets from `start` to before `stop` of one partition, all of which both hold."""
    with closing(records_of(log, part.number, start, stop)) as found:
        for record, archived in zip(found, part.records(start), strict=False):
            what = difference(archived, record)
            if what is not None:
                raise ArchiveError(
                    f"the record at offset {record.offset} of {part} has another {what} in the log than archived"
                )
            progress.step()
