"""One partition of an archive: where its segments are, and the records in them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from darkroom.runtime.archive.durable import sync_folder
from darkroom.runtime.archive.manifest import Manifest, PartitionArchive
from darkroom.runtime.archive.segment import read_segment
from darkroom.runtime.eventlog.port import Record


@dataclass(frozen=True, slots=True)
class Part:
    """`topic`: what its topic is for. Its text is for messages."""

    folder: Path
    topic: str
    number: int
    archived: PartitionArchive

    def __str__(self) -> str:
        return f"partition {self.number} of {self.topic}"

    @property
    def place(self) -> Path:
        """The folder of its segments."""
        return self.folder / self.topic / f"p{self.number}"

    def make_place(self) -> None:
        """Makes that folder, if it is missing."""
        if not self.place.is_dir():
            self.place.mkdir(parents=True, exist_ok=True)
            sync_folder(self.place.parent)
            sync_folder(self.folder)

    def records(self, start: int = 0) -> Iterator[Record]:
        """The archived records from offset `start` on. Raises ArchiveError where a file is not what was written."""
        for segment in self.archived.segments:
            if segment.next > start:
                for record in read_segment(self.place, self.number, segment):
                    if record.offset >= start:
                        yield record

    def last(self) -> Record | None:
        """The last archived record. Raises ArchiveError."""
        if not self.archived.segments:
            return None
        *_, last = self.records(self.archived.next - 1)
        return last


def parts_of(folder: Path, manifest: Manifest) -> Iterator[Part]:
    """All of them, in the order of the manifest."""
    for name, topic in manifest.topics.items():
        for number, archived in enumerate(topic.partitions):
            yield Part(folder, name, number, archived)
