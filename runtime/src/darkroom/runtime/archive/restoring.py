"""Restore: an archive made a log again, every record at the offset that it had.

1. verify the whole archive, and refuse one whose last export was interrupted: no topic is opened or made before;
2. refuse the very log that was archived, and topics that hold anything but the beginning of this very archive (an
   interrupted restore leaves that);
3. per partition, append what is missing; each acknowledged offset must be the archived one;
4. read back what was written, and compare it with the archive: a broker may set other times, for one.
A crash leaves a beginning of the archive in the topics; the same call goes on behind it.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from pathlib import Path

from darkroom.runtime import failpoints
from darkroom.runtime.archive.errors import ArchiveError
from darkroom.runtime.archive.manifest import Manifest
from darkroom.runtime.archive.part import Part, parts_of
from darkroom.runtime.archive.progress import Progress, Tell
from darkroom.runtime.archive.reading import LOG_TIMEOUT_S
from darkroom.runtime.archive.record import restored_ms
from darkroom.runtime.archive.verifying import compare_part, verify
from darkroom.runtime.eventlog.port import Ack, EventLog
from darkroom.schemas.errors import LogUnavailable

ACK_TIMEOUT_S = 60.0
"""Without an acknowledgement for so long a restore gives up. Give its logs a longer delivery time-out: a record
that is dropped on the way lets the next one take its offset."""
_FLIGHT_RECORDS_MAX = 2_000
_FLIGHT_SIZE_BYTES_MAX = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Restored:
    """`found`: events that stood there already, left by a restore before."""

    manifest: Manifest
    written: int
    found: int


def restore(
    folder: Path, open_logs: Callable[[Manifest], Mapping[str, EventLog]], tell: Tell, *, incomplete: bool = False
) -> Restored:
    """Writes the archive in `folder` into empty topics, whose logs `open_logs` gives once the archive is found
    whole. `incomplete`: also one whose last export was interrupted.

    Raises ArchiveError, with a sentence that says what to do; LogUnavailable: start it again then, it goes on.
    """
    manifest = verify(folder, tell)
    if manifest.lacking and not incomplete:
        raise ArchiveError(
            f"the last export into {folder} was interrupted, {manifest.lacking} events are missing: export again, "
            "or, if the log is gone, restore what there is (--incomplete)"
        )
    logs = open_logs(manifest)
    parts = list(parts_of(folder, manifest))
    starts = _standing(parts, manifest, logs, tell)
    found = sum(starts)
    writing = Progress(tell, "restoring", manifest.events - found)
    for part, start in zip(parts, starts, strict=True):
        _append(part, logs[part.topic], start, writing)
    reading = Progress(tell, "comparing", manifest.events - found)
    for part, start in zip(parts, starts, strict=True):
        end = logs[part.topic].end_offset(part.number, LOG_TIMEOUT_S)
        if end != part.archived.next:
            raise _disturbed(part, f"it ends at {end}, the archive at {part.archived.next}")
        compare_part(part, logs[part.topic], start, end, reading)
    reading.say()
    return Restored(manifest, writing.done, found)


def _standing(parts: Sequence[Part], manifest: Manifest, logs: Mapping[str, EventLog], tell: Tell) -> list[int]:
    """The end of each partition of logs that are empty, or hold a beginning of the archive and nothing else."""
    for name, topic in manifest.topics.items():
        if logs[name].topic_id == topic.topic_id:
            raise ArchiveError(
                f"this is the log that was archived: nothing to restore ({name} has the same topic id); to restore "
                "it beside the old one, name new topics in the settings"
            )
        if len(topic.partitions) != logs[name].partitions:
            raise ArchiveError(
                f"the archive of {name} has {len(topic.partitions)} partitions, the topic {logs[name].partitions}: "
                f"keys would move; restore into a topic with {len(topic.partitions)}"
            )
    ends = []
    for part in parts:
        log = logs[part.topic]
        first, end = log.first_offset(part.number, LOG_TIMEOUT_S), log.end_offset(part.number, LOG_TIMEOUT_S)
        if first > 0 or end > part.archived.next:
            raise _not_empty(part, f"it begins at offset {first} and ends at {end}")
        ends.append(end)
    progress = Progress(tell, "comparing", sum(ends))
    for part, end in zip(parts, ends, strict=True):
        try:
            compare_part(part, logs[part.topic], 0, end, progress)
        except ArchiveError as error:
            raise _not_empty(part, str(error)) from None
    return ends


def _append(part: Part, log: EventLog, start: int, progress: Progress) -> None:
    under_way: deque[tuple[int, int, Future[Ack]]] = deque()
    flying_bytes = 0

    def land() -> None:
        nonlocal flying_bytes
        offset, size_bytes, future = under_way.popleft()
        try:
            ack = future.result(ACK_TIMEOUT_S)
        except FutureTimeout:
            raise LogUnavailable(
                f"{part}: no acknowledgement for {ACK_TIMEOUT_S:g} s; start it again, it goes on where it was"
            ) from None
        if ack.offset is not None and ack.offset != offset:
            raise _disturbed(part, f"the record of offset {offset} landed at {ack.offset}")
        flying_bytes -= size_bytes
        progress.step()
        failpoints.reach("restore-landed")

    for record in part.records(start):
        size_bytes = len(record.value or b"")
        while len(under_way) >= _FLIGHT_RECORDS_MAX or (
            under_way and flying_bytes + size_bytes > _FLIGHT_SIZE_BYTES_MAX
        ):
            land()
        future = log.append(part.number, record.key, record.value, record.headers, restored_ms(record))
        under_way.append((record.offset, size_bytes, future))
        flying_bytes += size_bytes
    while under_way:
        land()


def _not_empty(part: Part, what: str) -> ArchiveError:
    return ArchiveError(
        f"{part} is not empty ({what}): restore into new topics, named in the settings, or delete these first"
    )


def _disturbed(part: Part, what: str) -> ArchiveError:
    return ArchiveError(
        f"somebody else writes into {part} ({what}): stop all services, delete the topic, and restore again"
    )
