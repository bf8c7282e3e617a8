"""For tests: logs to archive; as a program: an export that a test kills."""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from random import Random

from darkroom.runtime.archive.exporting import Exported, Source, export
from darkroom.runtime.archive.progress import Moment
from darkroom.runtime.archive.restoring import Restored, restore
from darkroom.runtime.archive.segment import Bounds
from darkroom.runtime.eventlog.memory import MemoryLog
from darkroom.runtime.eventlog.port import Record

BOUNDS = Bounds(events_max=40, size_bytes_max=20_000)
"""Small segments, so that a small log has many."""


def nobody(_: Moment) -> None:
    """Hears of the progress."""


def filled(seed: int, events: int, partitions: int = 3, log: MemoryLog | None = None) -> MemoryLog:
    """A log with so many records of all kinds; with `log`, that one goes on."""
    random = Random(seed)
    log = log or MemoryLog(partitions, f"topic-{seed}")
    for _ in range(events):
        headers = [(f"h{random.randrange(5)}", random.randbytes(random.randrange(20))) for _ in range(3)]
        key = random.choice((None, b"", b"key", random.randbytes(8)))
        value = random.choice((None, b"", b'{"text": "\xc3\xa4"}', random.randbytes(random.randrange(900))))
        log.append(random.randrange(partitions), key, value, headers, random.randrange(1, 2**41))
    return log


def records_of(log: MemoryLog) -> list[tuple[object, ...]]:
    """Everything that an archive keeps of a log."""
    found: Iterable[Record] = (
        log.read_one(p, offset, 1) for p in range(log.partitions) for offset in range(log.end_offset(p, 1))
    )
    return [(r.partition, r.offset, r.key, r.value, r.headers, r.timestamp_ms) for r in found]


def exported(folder: Path, logs: Mapping[str, MemoryLog], bounds: Bounds = BOUNDS) -> Exported:
    """Exports logs in memory."""
    return export({name: Source(f"topic.{name}", log) for name, log in logs.items()}, folder, nobody, bounds)


def restored(folder: Path, logs: Mapping[str, MemoryLog], **more: bool) -> Restored:
    """Restores into logs in memory."""
    return restore(folder, lambda _: logs, nobody, **more)


if __name__ == "__main__":
    folder, seed, events = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    log = filled(seed, events)
    print("begins", flush=True)
    exported(folder, {"jobs": log})
