"""What a partition's documents add up to; and, kept aside for where they differ, each one's id and digest."""

import tempfile
import zlib
from collections.abc import Iterator

from darkroom.projector.checksum import Checksum

Place = tuple[int, str]
"""(partition, read model)"""
NOWHERE = -1
"""The partition of a document whose id belongs to none: nobody who folds the log makes such a one."""
_BLOCK_SIZE_BYTES = 2**16
_DIGEST_SIZE_BYTES = 16


class Tally:
    """Counts and checksums by partition and read model; `blocks` keeps the ids and digests."""

    def __init__(self, blocks: "Blocks") -> None:
        self.sums: dict[Place, Checksum] = {}
        self._blocks = blocks

    def add(self, place: Place, id: str, document: bytes) -> None:
        """Takes one document in, as BSON bytes."""
        found = self.sums.get(place)
        if found is None:
            found = self.sums[place] = Checksum()
        self._blocks.add(place, entry_of(id, found.add(document)))

    def of(self, place: Place) -> Checksum:
        return self.sums.get(place, Checksum())


class Blocks:
    """Entries by place, gathered into blocks and handed on. Override `take`."""

    def __init__(self) -> None:
        self._gathered: dict[Place, bytearray] = {}

    def add(self, place: Place, entry: bytes) -> None:
        gathered = self._gathered.get(place)
        if gathered is None:
            gathered = self._gathered[place] = bytearray()
        gathered += entry
        if len(gathered) >= _BLOCK_SIZE_BYTES:
            self.take(place, bytes(self._gathered.pop(place)))

    def flush(self) -> None:
        """Hands on what has been gathered so far."""
        for place in list(self._gathered):
            self.take(place, bytes(self._gathered.pop(place)))

    def take(self, place: Place, block: bytes) -> None:
        """A block of whole entries."""
        raise NotImplementedError


class Spool(Blocks):
    """Keeps the blocks in a file without a name, which the system takes back when the process ends."""

    def __init__(self) -> None:
        super().__init__()
        self._file = tempfile.TemporaryFile(prefix="darkroom-replay-")  # noqa: SIM115 - closed by `close`
        self._blocks: dict[Place, list[tuple[int, int]]] = {}

    def take(self, place: Place, block: bytes) -> None:
        self._blocks.setdefault(place, []).append((self._file.seek(0, 2), len(block)))
        self._file.write(block)

    def entries(self, place: Place) -> Iterator[tuple[str, bytes]]:
        """Ids and digests of one place. Flush before."""
        for offset, size in self._blocks.get(place, []):
            self._file.seek(offset)
            yield from entries_of(self._file.read(size))

    def close(self) -> None:
        self._file.close()


def entry_of(id: str, value: int) -> bytes:
    """An id and a digest as bytes."""
    raw = id.encode("utf-8", "surrogatepass")
    return len(raw).to_bytes(4, "little") + raw + value.to_bytes(_DIGEST_SIZE_BYTES, "little")


def entries_of(block: bytes) -> Iterator[tuple[str, bytes]]:
    """What `entry_of` made, one after the other."""
    at = 0
    while at < len(block):
        start = at + 4
        stop = start + int.from_bytes(block[at:start], "little")
        at = stop + _DIGEST_SIZE_BYTES
        yield block[start:stop].decode("utf-8", "surrogatepass"), block[stop:at]


def partition_of_document(read_model: str, id: str, partitions: int) -> int:
    """The partition whose fold makes the document with this id (see the ids in schemas.views); NOWHERE if none."""
    match read_model:
        case "jobs" | "models":
            return zlib.crc32(id.encode("utf-8", "surrogatepass")) % partitions
        case "runs" | "history":
            key, colon, _ = id.rpartition(":")
            return zlib.crc32(key.encode("utf-8", "surrogatepass")) % partitions if colon else NOWHERE
        case "stats":
            found = id.rpartition("|p")[2]
        case _:  # quarantined records: <topic>:p<partition>:<offset>
            found = id.rpartition(":")[0].rpartition(":p")[2]
    known = found.isascii() and found.isdigit() and len(found) < 9 and int(found) < partitions
    return int(found) if known else NOWHERE
