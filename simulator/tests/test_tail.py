"""The tail: golden lines, verdicts, filters, and the same on a real broker."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest

from darkroom.runtime.eventlog.kafka import TRUTH, KafkaLog, TopicSpec, ensure_topics
from darkroom.runtime.eventlog.memory import MemoryLog
from darkroom.runtime.eventlog.port import EventLog
from darkroom.runtime.ids import Position
from darkroom.schemas import job
from darkroom.schemas.chain import partition_of
from darkroom.schemas.testing import guard_for
from darkroom.schemas.wire import Context, encode
from darkroom.simulator import tail
from darkroom.simulator.tail import Line, Wanted

CONTEXT = Context("/tests", datetime(2026, 11, 22, 10, tzinfo=UTC), "anonymous", "correlation", "causation")
SPEC = job.RunSpec(
    job.ModelRef("m", "1", "sha256:" + "a" * 64),
    (job.Media("sha256:" + "b" * 64, "image/png", 10, 4, 4),),
    {},
    60.0,
    3,
)
PROBLEM = job.Problem("urn:darkroom:problem:model-crashed", "t", "d")
ALL = Wanted()
LIFE: tuple[job.Event, ...] = (
    job.Created(SPEC, {}, execute=True),
    job.ExecutionStarted(1, 1, "e", 15.0),
    job.ExecutionProgressed(1, 1, "e", 15.0, 1, 2),
    job.AttemptExpired(1, 1, PROBLEM),
    job.ExecutionStarted(1, 2, "e", 15.0),
    job.ExecutionSucceeded(1, 2, (), None, {}, {}),
    job.ExecutionRequested(2, SPEC),
    job.ExecutionStarted(2, 1, "e", 15.0),
    job.ExecutionFailed(2, 1, PROBLEM),
    job.ExecutionRequested(3, SPEC),
    job.Cancelled(3),
    job.Deleted(3),
)
GOLDEN = """\
Inference job (id: one) created: queued
Inference job (id: one) execution-started: running
Inference job (id: one) execution-progressed: running
Inference job (id: one) attempt-expired: queued
Inference job (id: one) execution-started: running
Inference job (id: one) execution-succeeded: succeeded
Inference job (id: one) execution-requested: queued
Inference job (id: one) execution-started: running
Inference job (id: one) execution-failed: failed
Inference job (id: one) execution-requested: queued
Inference job (id: one) cancelled: cancelled
Inference job (id: one) deleted: deleted
""".splitlines()


def append(log: EventLog, key: str, events: tuple[job.Event, ...], *, first: int = 1) -> None:
    """Appends events as one accepted chain, the first of them with stream version `first`."""
    for version, event in enumerate(events, first):
        guard = guard_for(event, version, f"e{version - 1}" if version > 1 else "", key=key)
        log.append(partition_of(key, log.partitions), *encode(guard, event, CONTEXT)).result(10)


def texts(log: EventLog, wanted: Wanted = ALL) -> list[str]:
    return [line.text() for line in tail.lines(log, wanted, follow=False)]


def test_every_event_of_a_job_as_a_line() -> None:
    log = MemoryLog()
    append(log, "one", LIFE)
    assert texts(log) == GOLDEN


def test_a_job_that_is_not_executed_at_once_is_created() -> None:
    log = MemoryLog()
    append(log, "one", (job.Created(SPEC, {}, execute=False),))
    assert texts(log) == ["Inference job (id: one) created: created"]


def test_an_event_that_lost_its_race_is_shown_on_request_only_and_changes_nothing() -> None:
    log = MemoryLog()
    append(log, "one", LIFE[:2])
    append(log, "one", (job.Cancelled(1),), first=2)  # decided before the start was seen
    append(log, "one", (job.ExecutionSucceeded(1, 1, (), None, {}, {}),), first=3)
    assert texts(log) == [
        "Inference job (id: one) created: queued",
        "Inference job (id: one) execution-started: running",
        "Inference job (id: one) execution-succeeded: succeeded",
    ]
    assert "Inference job (id: one) cancelled: void" in texts(log, Wanted(void=True))


def test_records_that_are_no_events_are_passed_over() -> None:
    log = MemoryLog()
    log.append(partition_of("one", 4), b"one", b"rubbish", [])
    append(log, "one", LIFE[:1])
    assert texts(log, Wanted(void=True)) == GOLDEN[:1]


def test_filters_by_job_and_type() -> None:
    log = MemoryLog()
    append(log, "one", LIFE)
    append(log, "two", LIFE[:2])
    assert texts(log, Wanted(job_prefix="tw")) == [
        "Inference job (id: two) created: queued",
        "Inference job (id: two) execution-started: running",
    ]
    both = frozenset({"cancelled", "deleted"})
    assert texts(log, Wanted(types=both)) == GOLDEN[-2:]


def test_a_line_as_json_is_the_event_itself() -> None:
    log = MemoryLog()
    append(log, "one", LIFE[:1])
    (line,) = tail.lines(log, Wanted(), follow=False)
    assert line.json().encode() == line.record.value
    assert "\n" not in line.json()
    assert '"specversion":"1.0"' in line.json().replace(" ", "")


def test_since_understands_times_spans_and_positions() -> None:
    log = MemoryLog()
    append(log, "one", LIFE[:3])
    now = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
    assert tail.since("2026-11-22T10:00:00Z", log, now) == (int(now.timestamp() * 1000), ())
    assert tail.since("2026-11-22T10:00:00", log, now) == tail.since("2026-11-22T11:00:00+01:00", log, now)
    assert tail.since("10m", log, now)[0] == int((now - timedelta(minutes=10)).timestamp() * 1000)
    assert tail.since("1.5h", log, now)[0] == int((now - timedelta(minutes=90)).timestamp() * 1000)
    partition = partition_of("one", 4)
    since_ms, offsets = tail.since(Position("memory", partition, 1).token(), log, now)
    assert offsets == ((partition, 1),)
    assert texts(log, Wanted(since_ms, offsets)) == GOLDEN[1:3]  # with the status that needs the event before


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("yesterday", "no time"),
        ("", "no time"),
        ("m", "no time"),
        (Position("another", 0, 0).token(), "another log"),
        (Position("memory", 99, 0).token(), "another log"),
        (Position("memory", 0, 5).token(), "beyond the end"),
    ],
)
def test_since_refuses_with_a_sentence(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        tail.since(text, MemoryLog(), datetime.now(UTC))


def test_following_gives_what_comes_until_it_is_stopped() -> None:
    log, stopping = MemoryLog(), threading.Event()
    append(log, "one", LIFE[:1])
    following: Iterator[Line] = tail.lines(log, Wanted(), follow=True, stopping=stopping)
    assert next(following).text() == GOLDEN[0]
    append(log, "one", LIFE[1:2], first=2)
    assert next(following).text() == GOLDEN[1]
    stopping.set()
    assert list(following) == []


def test_on_a_real_broker(kafka: str, unique_name: str) -> None:
    ensure_topics(kafka, [TopicSpec(unique_name, 4, 1, TRUTH)], 30)
    log = KafkaLog(kafka, unique_name)
    try:
        keys = [f"job-{n}" for n in range(6)]
        for key in keys:
            append(log, key, LIFE)
        append(log, "job-0", (job.Cancelled(1),), first=2)  # void
        given = list(tail.lines(log, Wanted(), follow=False))
        assert len(given) == len(keys) * len(LIFE)
        for key in keys:
            of_job = [line.text() for line in given if line.job_id == key]
            assert of_job == [text.replace("id: one", f"id: {key}") for text in GOLDEN]
        void = list(tail.lines(log, Wanted(void=True, job_prefix="job-0"), follow=False))
        assert [line.text() for line in void][-1] == "Inference job (id: job-0) cancelled: void"
        middle = given[len(given) // 2].record
        token = Position(log.topic_id, middle.partition, middle.offset).token()
        since_ms, offsets = tail.since(token, log, datetime.now(UTC))
        rest = list(tail.lines(log, Wanted(since_ms, offsets), follow=False))
        assert any((r.record.partition, r.record.offset) == (middle.partition, middle.offset) for r in rest)
        assert all(r.record.timestamp_ms >= middle.timestamp_ms or r.record.offset >= middle.offset for r in rest)
        stopping = threading.Event()
        following = tail.lines(log, Wanted(job_prefix="late"), follow=True, stopping=stopping)
        append(log, "late", LIFE[:2])
        assert [line.status for line in islice(following, 2)] == ["queued", "running"]
        stopping.set()
        assert list(following) == []
    finally:
        log.close(5)
