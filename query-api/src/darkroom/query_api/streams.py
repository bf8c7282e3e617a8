"""Live streams of events (Server-Sent Events) that resume exactly: no gap, no repetition.

The id of an entry says where the next one begins: a position token for one job, the whole vector of positions for
all jobs. Streams read `history`, where every event of the log stands, void ones too.
"""

from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import orjson

from darkroom.query_api.present import event_of_history
from darkroom.query_api.reading import Reader
from darkroom.query_api.store_errors import GenerationGone
from darkroom.runtime.ids import Position, Vector
from darkroom.schemas.errors import StoreUnavailable
from darkroom.schemas.views import FAMILY_OF, checkpoint_id

HEARTBEAT_S = 10.0
LIFETIME_S_MAX = 600.0
"""A stream ends after this; clients resume by themselves (EventSource does). So no thread is held for ever."""
CHUNKS_PER_READ_MAX = 4
WINDOW_EVENTS_MIN = 200
WINDOW_EVENTS_MAX = 4_000
"""Offsets of one partition that are read, and sent, at once when a client resumes from far behind. For each window
MongoDB goes over the keys of all chunks that end behind its beginning (2 µs each), so windows grow where events are
small."""
_WINDOW_SIZE_BYTES_AIM = 2**20
_FAMILY = FAMILY_OF["history"]
_RETRY = b"retry: 1000\n\n"
_HEARTBEAT = b": still here\n\n"


def entry(event: dict[str, Any], token: str) -> bytes:
    """One entry of a stream; its JSON holds no line break."""
    return b"id: " + token.encode() + b"\ndata: " + orjson.dumps(event) + b"\n\n"


def job_events(
    reader: Reader, tenant: str, job: str, partition: int, topic_id: str, start: int, void: bool
) -> Iterator[bytes]:
    """The events of one job from offset `start` on, then those to come."""
    next_offset, chunk, chunk_of = start, 0, -1

    def new_entries(generation: int) -> Iterator[bytes] | None:
        nonlocal next_offset, chunk, chunk_of
        if generation != chunk_of:  # another generation may cut its chunks elsewhere
            chunk, chunk_of = first_chunk(reader, generation, tenant, job, next_offset), generation
        found = reader.store.history_of(generation, tenant, job, next_offset, chunk, CHUNKS_PER_READ_MAX)
        if not found:
            return None
        deleted = bool(reader.deleted_among(tenant, found))
        next_offset, chunk = found[-1]["offset"] + 1, found[-1]["chunk"]
        shown = [event_of_history(e, topic_id, deleted) for e in found if void or not e["void"]]
        return iter([entry(e, e["position"]) for e in shown])

    return _endless(reader, lambda g: [checkpoint_id(_FAMILY, g, partition)], new_entries)


def first_chunk(reader: Reader, generation: int, tenant: str, job: str, start: int) -> int:
    """The chunk of a job's history with which a reading from offset `start` on begins."""
    return reader.store.chunk_at(generation, tenant, job, start) if start else 0


def all_events(reader: Reader, tenant: str, start: Vector, void: bool) -> Iterator[bytes]:
    """The events of all jobs from a vector on, then those to come; in order within each partition."""
    nexts = list(start.next)
    turn, window = 0, WINDOW_EVENTS_MIN

    def new_entries(generation: int) -> Iterator[bytes] | None:
        nonlocal turn, window
        # Checkpoints first, documents second: every offset below the checkpoint is there to be read.
        marks = reader.store.marks(_FAMILY, generation)
        behind = [p for p in range(len(nexts)) if p in marks and marks[p].next > nexts[p]]
        if not behind:
            return None
        # One window at a time, the partitions in turn: the first byte waits for one read, and none waits for all.
        partition = min(behind, key=lambda p: (p - turn) % len(nexts))
        turn = partition + 1
        stop = min(marks[partition].next, nexts[partition] + window)
        found = reader.store.history_window(generation, tenant, partition, nexts[partition], stop)
        deleted = reader.deleted_among(tenant, found)
        chunks: list[bytes] = []
        for e in found:
            nexts[partition] = e["offset"] + 1
            if void or not e["void"]:
                token = Vector(start.topic_id, tuple(nexts)).token()
                chunks.append(entry(event_of_history(e, start.topic_id, e["job"] in deleted), token))
        nexts[partition] = stop
        window = window_after(window, sum(len(e["event"]) for e in found))
        return iter(chunks)

    return _endless(reader, lambda g: [checkpoint_id(_FAMILY, g, p) for p in range(len(nexts))], new_entries)


def window_after(window: int, size_bytes: int) -> int:
    """How many offsets to read next, after `window` of them gave so many bytes of events."""
    if size_bytes > 2 * _WINDOW_SIZE_BYTES_AIM:
        return max(WINDOW_EVENTS_MIN, window // 2)
    return min(WINDOW_EVENTS_MAX, 2 * window) if 2 * size_bytes < _WINDOW_SIZE_BYTES_AIM else window


def vector_now(reader: Reader) -> Vector:
    """Where all partitions stand now. Raises StoreUnavailable before the first checkpoint of any."""

    def marks_of(generation: int) -> Vector:
        marks = reader.store.marks(_FAMILY, generation)
        if not marks:
            raise StoreUnavailable("The history has no checkpoint yet.")
        return Vector(
            marks[min(marks)].topic_id,
            tuple(marks[p].next if p in marks else 0 for p in range(max(marks) + 1)),
        )

    return reader.read("history", marks_of)


def _endless(
    reader: Reader,
    checkpoints: Callable[[int], list[str]],
    new_entries: Callable[[int], Iterator[bytes] | None],
) -> Iterator[bytes]:
    """Entries as they come, and a comment now and then. Ends when the service stops, its database is away, or the
    stream has lasted long enough; the client resumes at its last id."""
    ends = monotonic() + LIFETIME_S_MAX
    heartbeat_at = monotonic() + HEARTBEAT_S
    fresh = False
    yield _RETRY
    while not reader.watcher.stopping and monotonic() < ends:
        try:
            generation = reader.store.generation(_FAMILY, fresh)
            ids = checkpoints(generation)
            since = reader.watcher.seen(ids)
            found = new_entries(generation)
            fresh = False
        except GenerationGone:
            fresh = True
            continue
        except StoreUnavailable:
            return
        if found is not None:
            yield from found
            heartbeat_at = monotonic() + HEARTBEAT_S
            continue
        if monotonic() >= heartbeat_at:
            heartbeat_at = monotonic() + HEARTBEAT_S
            yield _HEARTBEAT
        reader.watcher.wait_change(ids, since, min(1.0, max(0.0, heartbeat_at - monotonic())))


def position_after(token: str, topic_id: str, partition: int) -> int:
    """The offset at which a stream of one job resumes. Raises ValueError for a token of another place."""
    position = Position.parse(token)
    if (position.topic_id, position.partition) != (topic_id, partition):
        raise ValueError("a position of another log or partition")
    return position.offset + 1
