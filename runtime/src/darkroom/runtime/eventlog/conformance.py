"""What every event log does, as functions that any adapter's tests run: `for scenario in SCENARIOS: scenario(log)`.

Each needs a log with at least two partitions that nobody else appends to, and leaves it usable for the next one.
Plain asserts, no test framework: the suite belongs to the port, not to one adapter's tests.
"""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic, time
from typing import Any, cast

from darkroom.runtime.eventlog.port import Ack, EventLog, Record
from darkroom.schemas.errors import LogUnavailable
from darkroom.schemas.wire import Headers

_TIMEOUT_S = 10.0
_SOON_S = 0.3
_HEADERS: Headers = [("type", b"x"), ("empty", b""), ("type", b"again"), ("bytes", b"\x00\xff")]


def acknowledgements_carry_the_offsets(log: EventLog) -> None:
    """Offsets of a partition rise by one, from its end on, each partition for itself."""
    ends = [_end(log, 0), _end(log, 1)]
    acks = [_append(log, partition) for partition in (0, 1, 0)]
    assert acks == [Ack(0, ends[0]), Ack(1, ends[1]), Ack(0, ends[0] + 1)]
    assert [_end(log, 0), _end(log, 1)] == [ends[0] + 2, ends[1] + 1]
    assert log.first_offset(0, _TIMEOUT_S) == 0


def a_reader_gives_what_was_appended_in_order(log: EventLog) -> None:
    """Key, value and headers come back as they were, in order within each partition."""
    start = {0: _end(log, 0), 1: _end(log, 1)}
    for number in range(20):
        log.append(number % 2, b"key%d" % number, b"value%d" % number, _HEADERS).result(_TIMEOUT_S)
    found = _read(log, start, 20)
    for partition in (0, 1):
        records = [r for r in found if r.partition == partition]
        assert [r.offset for r in records] == list(range(start[partition], start[partition] + 10))
        assert [r.value for r in records] == [b"value%d" % n for n in range(partition, 20, 2)]
        assert [r.key for r in records] == [b"key%d" % n for n in range(partition, 20, 2)]
        assert all(r.headers == _HEADERS for r in records)


def a_reader_starts_at_its_positions(log: EventLog) -> None:
    """From the middle, and only the partitions that were named."""
    begin = _end(log, 0)
    for _ in range(5):
        _append(log, 0)
        _append(log, 1)
    found = _read(log, {0: begin + 3}, 2)
    assert [(r.partition, r.offset) for r in found] == [(0, begin + 3), (0, begin + 4)]


def what_is_missing_stays_missing(log: EventLog) -> None:
    """A record without key or value (a tombstone) and with a null header is read, not refused."""
    start = _end(log, 0)
    log.append(0, None, None, [("null", cast(Any, None))]).result(_TIMEOUT_S)
    log.append(0, b"", b"", []).result(_TIMEOUT_S)
    missing, empty = _read(log, {0: start}, 2)
    assert (missing.key, missing.value, missing.headers) == (None, None, [("null", b"")])
    assert (empty.key, empty.value, empty.headers) == (b"", b"", [])
    assert [log.read_one(0, offset, _TIMEOUT_S).value for offset in (start, start + 1)] == [None, b""]


def a_time_that_is_given_is_kept(log: EventLog) -> None:
    """Also one that is older than the record before it: what is restored keeps its times."""
    start = _end(log, 1)
    times = [1_700_000_000_123, 1, 1_600_000_000_000]
    for given in times:
        log.append(1, b"key", b"value", [], given).result(_TIMEOUT_S)
    assert [r.timestamp_ms for r in _read(log, {1: start}, len(times))] == times


def a_time_is_found(log: EventLog) -> None:
    """The first record that is not older; also where times do not rise; the end where there is none."""
    start = _end(log, 1)
    newest = int(time() * 1000) + 600_000  # than what any other scenario appends; a broker takes an hour at most
    for given in (newest, newest + 200, newest + 100, newest + 300):
        log.append(1, b"key", b"value", [], given).result(_TIMEOUT_S)
    asked = {newest: 0, newest + 1: 1, newest + 150: 1, newest + 200: 1, newest + 201: 3, newest + 301: 4}
    found = {since: log.offset_at(1, since, _TIMEOUT_S) - start for since in asked}
    assert found == asked
    assert log.offset_at(1, 0, _TIMEOUT_S) == 0


def one_record_is_read_by_its_offset(log: EventLog) -> None:
    """Also from several threads at once, and in any order."""
    start = _end(log, 1)
    for number in range(6):
        log.append(1, b"key", b"value%d" % number, []).result(_TIMEOUT_S)
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda n: log.read_one(1, start + n, _TIMEOUT_S), (5, 0, 3, 3, 1, 4)))
    assert [r.value for r in found] == [b"value%d" % n for n in (5, 0, 3, 3, 1, 4)]
    assert [r.offset - start for r in found] == [5, 0, 3, 3, 1, 4]


def a_record_that_is_not_there_is_unavailable(log: EventLog) -> None:
    """Beyond the end there is nothing, and it is said within the deadline."""
    began = monotonic()
    for offset in (_end(log, 0), _end(log, 0) + 1000):
        _raises_unavailable(lambda offset=offset: log.read_one(0, offset, _SOON_S))  # type: ignore[misc]
    assert monotonic() - began < _TIMEOUT_S


def a_position_beyond_the_end_is_lost(log: EventLog) -> None:
    """An alarm, never a silent jump: the log holds less than this reader has read."""
    _append(log, 0)
    reader = log.follow({0: _end(log, 0) + 1000})
    try:
        _raises_unavailable(lambda: _poll_until(reader.poll, lambda found: found))
    finally:
        reader.close()


def a_poll_ends_in_time(log: EventLog) -> None:
    """With nothing when there is nothing, and with no more than was asked for."""
    start = _end(log, 0)
    reader = log.follow({0: start})
    try:
        began = monotonic()
        assert list(reader.poll(0.05, 10)) == []
        assert monotonic() - began < _TIMEOUT_S / 2
        for _ in range(7):
            _append(log, 0)
        sizes: list[int] = []
        until = monotonic() + _TIMEOUT_S
        while sum(sizes) < 7 and monotonic() < until:
            sizes.append(len(reader.poll(_SOON_S, 3)))
        assert sum(sizes) == 7
        assert max(sizes) <= 3
    finally:
        reader.close()


def a_waiting_reader_is_woken(log: EventLog) -> None:
    """A poll that waits for long gives a record soon after it was appended."""
    start = _end(log, 1)
    reader = log.follow({1: start})
    try:
        reader.poll(0.0, 1)
        with ThreadPoolExecutor(1) as thread:
            polled = thread.submit(_poll_until, reader.poll, bool)
            _append(log, 1)
            assert polled.result(_TIMEOUT_S)[0].offset == start
    finally:
        reader.close()


def many_threads_append_side_by_side(log: EventLog) -> None:
    """Each acknowledgement names the place where that very record stands."""
    start = {0: _end(log, 0), 1: _end(log, 1)}
    gate = threading.Barrier(8, timeout=_TIMEOUT_S)

    def append_some(thread: int) -> list[tuple[bytes, Ack]]:
        gate.wait()
        named = [(b"%d-%d" % (thread, n), n % 2) for n in range(25)]
        under_way = [(name, log.append(partition, b"key", name, [])) for name, partition in named]
        return [(name, future.result(_TIMEOUT_S)) for name, future in under_way]

    with ThreadPoolExecutor(8) as threads:
        acked = {name: ack for part in threads.map(append_some, range(8)) for name, ack in part}
    found = {r.value: Ack(r.partition, r.offset) for r in _read(log, start, 200)}
    assert found == acked
    assert len(found) == 200


def closing_waits_for_what_is_under_way(log: EventLog) -> None:
    """Closes the log: runs last."""
    futures: list[Future[Ack]] = [log.append(0, b"key", b"value", []) for _ in range(50)]
    log.close(_TIMEOUT_S)
    assert all(future.done() for future in futures)
    assert [future.result(0).offset for future in futures] == sorted(
        {future.result(0).offset for future in futures}, key=lambda offset: offset or 0
    )


SCENARIOS: tuple[Callable[[EventLog], None], ...] = (
    acknowledgements_carry_the_offsets,
    a_reader_gives_what_was_appended_in_order,
    a_reader_starts_at_its_positions,
    what_is_missing_stays_missing,
    a_time_that_is_given_is_kept,
    one_record_is_read_by_its_offset,
    a_record_that_is_not_there_is_unavailable,
    a_position_beyond_the_end_is_lost,
    a_poll_ends_in_time,
    a_waiting_reader_is_woken,
    many_threads_append_side_by_side,
    a_time_is_found,
)
CLOSING = closing_waits_for_what_is_under_way


def _end(log: EventLog, partition: int) -> int:
    return log.end_offset(partition, _TIMEOUT_S)


def _append(log: EventLog, partition: int) -> Ack:
    return log.append(partition, b"key", b"value", []).result(_TIMEOUT_S)


def _read(log: EventLog, positions: Mapping[int, int], count: int) -> list[Record]:
    """Exactly `count` records from the positions on."""
    reader = log.follow(positions)
    found: list[Record] = []
    until = monotonic() + _TIMEOUT_S
    try:
        while len(found) < count and monotonic() < until:
            found += reader.poll(_SOON_S, 1000)
    finally:
        reader.close()
    assert len(found) == count, f"{len(found)} records, not {count}"
    return found


def _poll_until(poll: Callable[[float, int], Any], done: Callable[[Any], Any]) -> Any:
    until = monotonic() + _TIMEOUT_S
    while monotonic() < until:
        found = poll(_SOON_S, 10)
        if done(found):
            return found
    raise AssertionError("nothing came in time")


def _raises_unavailable(call: Callable[[], Any]) -> None:
    try:
        found = call()
    except LogUnavailable:
        return
    raise AssertionError(f"{found!r} instead of LogUnavailable")
