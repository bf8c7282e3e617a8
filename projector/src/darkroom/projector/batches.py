"""Records as batches of one partition, bounded in events and in bytes (a transaction must end well within 60 s)."""

from collections.abc import Iterator, Sequence

from darkroom.runtime.eventlog.port import Record

EVENTS_MAX = 2_000
SIZE_BYTES_MAX = 8 * 2**20


def by_partition(records: Sequence[Record]) -> Iterator[tuple[int, list[Record]]]:
    """The records of each partition in their order, in pieces within the bounds."""
    grouped: dict[int, list[Record]] = {}
    for record in records:
        grouped.setdefault(record.partition, []).append(record)
    for partition, group in grouped.items():
        piece: list[Record] = []
        size_bytes = 0
        for record in group:
            record_bytes = len(record.value or b"")
            if piece and (len(piece) >= EVENTS_MAX or size_bytes + record_bytes > SIZE_BYTES_MAX):
                yield partition, piece
                piece, size_bytes = [], 0
            piece.append(record)
            size_bytes += record_bytes
        yield partition, piece
