"""Segments: runs of records of one partition, without a gap, each in a file of its own that never changes."""

import gzip
import hashlib
import io
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from darkroom.runtime import failpoints
from darkroom.runtime.archive.durable import new_file
from darkroom.runtime.archive.errors import ArchiveError
from darkroom.runtime.archive.record import LINE_SIZE_BYTES_MAX, line_of, record_of
from darkroom.runtime.eventlog.port import Record

SUFFIX = ".jsonl.gz"
_GZIP = zlib.MAX_WBITS | 16
_LEVEL = 6
"""Measured on events of this product: 6 packs 18 : 1 at 85,000 events/s, 3 packs 12 : 1 at 165,000, 9 packs 19 : 1
at 36,000; a backup is kept for longer than it is made."""
_BUFFER_SIZE_BYTES = 2**17
_REMEDY = "take the archive from another copy, or, while the log still has everything, export into a new folder"


@dataclass(frozen=True, slots=True)
class Bounds:
    """How large a segment may be: in events, and in bytes of its lines (the last event may exceed them)."""

    events_max: int = 50_000
    size_bytes_max: int = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Segment:
    """The records from offset `first` to before `next`. `size_bytes` and `sha256` are those of the file,
    `lines_size_bytes` is the size of what is packed in it."""

    first: int
    next: int
    size_bytes: int
    lines_size_bytes: int
    sha256: str

    @property
    def events(self) -> int:
        return self.next - self.first

    @property
    def file(self) -> str:
        """The name of its file: sorted by name, segments stand in their order."""
        return f"{self.first:020}-{self.next:020}{SUFFIX}"

    def small(self, bounds: Bounds) -> bool:
        """Whether it would rather be written anew with what comes behind it: an archive that grows a little every
        few minutes would otherwise be all small files."""
        return self.events < bounds.events_max // 2 and self.lines_size_bytes < bounds.size_bytes_max // 2


def write_segment(folder: Path, records: Iterable[Record], bounds: Bounds) -> Segment | None:
    """Takes records until the bounds are reached, and keeps them; None if there are none. On return the segment is
    on the disk. Raises ArchiveError where an offset is missing between two of them."""
    packing = _Packing()
    with new_file(folder) as file:
        for record in records:
            file.write(packing.pack(record))
            if packing.events >= bounds.events_max or packing.lines_size_bytes >= bounds.size_bytes_max:
                break
        if packing.first is None:
            return None
        file.write(packing.rest())
        failpoints.reach("archive-segment-written")
        segment = packing.segment()
        file.keep(folder / segment.file)
    failpoints.reach("archive-segment-kept")
    return segment


def read_segment(folder: Path, partition: int, segment: Segment) -> Iterator[Record]:
    """The records of a segment; not one of them unless its file is what was written. Raises ArchiveError."""
    packed = _read_checked(folder / segment.file, segment)
    return _unpack(packed, partition, segment, folder / segment.file)


def check_segment(folder: Path, segment: Segment) -> None:
    """Raises ArchiveError unless the file is what was written. Unpacks nothing."""
    _read_checked(folder / segment.file, segment)


class _Packing:
    """Packs records into the bytes of a file, and counts what the segment says of them."""

    def __init__(self) -> None:
        self.first: int | None = None
        self.next = 0
        self.lines_size_bytes = 0
        self._size_bytes = 0
        self._packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
        self._checksum = hashlib.sha256()

    @property
    def events(self) -> int:
        return 0 if self.first is None else self.next - self.first

    def pack(self, record: Record) -> bytes:
        if self.first is None:
            self.first = record.offset
        elif record.offset != self.next:
            raise missing(record.partition, self.next, record.offset)
        self.next = record.offset + 1
        line = line_of(record)
        self.lines_size_bytes += len(line)
        return self._counted(self._packer.compress(line))

    def rest(self) -> bytes:
        return self._counted(self._packer.flush())

    def segment(self) -> Segment:
        assert self.first is not None
        checksum = self._checksum.hexdigest()
        return Segment(self.first, self.next, self._size_bytes, self.lines_size_bytes, checksum)

    def _counted(self, packed: bytes) -> bytes:
        self._checksum.update(packed)
        self._size_bytes += len(packed)
        return packed


def missing(partition: int, expected: int, offset: int) -> ArchiveError:
    """Says that a log has a gap."""
    return ArchiveError(
        f"after offset {expected - 1} partition {partition} goes on at {offset}: records were deleted, or written "
        "in transactions, and such a log cannot be made again at the same offsets; back up the broker's own data "
        "instead"
    )


def _read_checked(path: Path, segment: Segment) -> bytes:
    try:
        size_bytes = path.stat().st_size
        packed = path.read_bytes() if size_bytes == segment.size_bytes else b""
    except OSError as error:
        raise ArchiveError(f"segment {path} cannot be read ({error.strerror}): {_REMEDY}") from None
    if size_bytes != segment.size_bytes:
        raise ArchiveError(f"segment {path} has {size_bytes} bytes, not {segment.size_bytes}: {_REMEDY}")
    if hashlib.sha256(packed).hexdigest() != segment.sha256:
        raise ArchiveError(f"segment {path} is damaged, its checksum is another: {_REMEDY}")
    return packed


def _unpack(packed: bytes, partition: int, segment: Segment, path: Path) -> Iterator[Record]:
    expected = segment.first
    for line in _lines(packed, path):
        record = record_of(line, partition)
        if record.offset != expected or expected >= segment.next:
            raise ArchiveError(f"segment {path} holds offset {record.offset} in the place of {expected}: {_REMEDY}")
        expected += 1
        yield record
    if expected != segment.next:
        raise ArchiveError(f"segment {path} ends before offset {expected}, not before {segment.next}: {_REMEDY}")


def _lines(packed: bytes, path: Path) -> Iterator[bytes]:
    """Unpacked as they are asked for: memory holds the packed bytes and a line."""
    try:
        unpacked = gzip.GzipFile(fileobj=io.BytesIO(packed))
        with io.BufferedReader(unpacked, _BUFFER_SIZE_BYTES) as lines:
            while line := lines.readline(LINE_SIZE_BYTES_MAX):
                yield line
    except (EOFError, OSError, zlib.error) as error:
        raise ArchiveError(f"segment {path} cannot be unpacked ({error}): {_REMEDY}") from None
