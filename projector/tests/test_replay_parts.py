"""The parts of a replay that need no server."""

import re
import threading
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from time import monotonic

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.projector.checksum import checksum
from darkroom.projector.compare import compare, differing_fields, id_of
from darkroom.projector.projections.families import JOBS
from darkroom.projector.replaying.moments import name_of, parse_as_of, vectors_as_of
from darkroom.projector.replaying.pace import (
    FLOOR_PER_S,
    LAG_GROWTH_EVENTS_MAX,
    Pace,
    Throttle,
    adapted,
    slower,
)
from darkroom.projector.replaying.tally import NOWHERE, Spool, Tally, entries_of, entry_of, partition_of_document
from darkroom.projector.shelf import Shelf
from darkroom.projector.testing import traffic
from darkroom.runtime.eventlog.memory import MemoryLog
from darkroom.runtime.ids import Position, Vector

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def on_a_shelf(records, batch_events: int, size_bytes_max: int | None) -> Shelf:
    shelf = Shelf(size_bytes_max)
    for start in range(0, len(records), batch_events):
        shelf.take(JOBS.fold("t", 1, records[start : start + batch_events], shelf.load))
    return shelf


def test_a_shelf_of_any_size_gives_the_same_documents():
    records = traffic(3, 60, 1)

    def sums(batch_events, size_bytes_max):
        with on_a_shelf(records, batch_events, size_bytes_max) as shelf:
            return {m: checksum(raw for _, raw in shelf.encoded(m)) for m in JOBS.read_models}

    expected = sums(len(records), None)
    assert expected["runs"].count > 60
    assert expected["jobs_quarantine"].count > 0
    for batch_events, size_bytes_max in ((1, None), (7, 0), (7, 20_000), (100, 20_000)):
        assert sums(batch_events, size_bytes_max) == expected, (batch_events, size_bytes_max)


def test_a_shelf_holds_no_more_bytes_than_it_may():
    records = traffic(4, 100, 1)
    free, bounded = on_a_shelf(records, 50, None), on_a_shelf(records, 50, 30_000)
    held = [
        sum(len(raw) for documents in shelf._held.values() for raw in documents.values())
        for shelf in (free, bounded)
    ]
    assert held[0] > 100_000
    assert held[1] <= 30_000
    bounded.close()


def test_the_partition_of_a_document_follows_from_its_id():
    partitions = 3
    records = traffic(5, 60, partitions)
    seen = set()
    for partition in range(partitions):
        mine = [r for r in records if r.partition == partition]
        shelf = Shelf()
        shelf.take(JOBS.fold("a:p7:topic", partitions, mine, shelf.load))
        for read_model in JOBS.read_models:
            for id, _ in shelf.encoded(read_model):
                assert partition_of_document(read_model, id, partitions) == partition
                seen.add(read_model)
    assert seen == set(JOBS.read_models)


@given(st.sampled_from([*JOBS.read_models, "models", "models_quarantine"]), st.text(), st.integers(1, 64))
def test_any_id_has_a_partition_or_none(read_model, id, partitions):
    assert NOWHERE <= partition_of_document(read_model, id, partitions) < partitions


@given(st.lists(st.tuples(st.text(st.characters()), st.integers(0, 2**128 - 1))))
def test_entries_come_back_as_they_were(entries):
    block = b"".join(entry_of(id, value) for id, value in entries)
    assert [(id, int.from_bytes(digest, "little")) for id, digest in entries_of(block)] == entries


@pytest.fixture
def spool():
    with ExitStack() as opened:
        yield lambda: opened.enter_context(closing(Spool()))


def test_a_comparison_finds_what_is_missing_extra_and_changed(spool):
    a, b = spool(), spool()
    live, rebuilt = Tally(a), Tally(b)
    for number in range(40):
        partition, id = number % 2, f"job-{number:02}"
        if number != 3:
            live.add((partition, "jobs"), id, b"same" if number != 5 else b"altered")
        if number != 4:
            rebuilt.add((partition, "jobs"), id, b"same")
    live.add((NOWHERE, "jobs"), "?", b"by hand")
    a.flush()
    b.flush()
    found, none = compare(["jobs", "runs"], live.sums, a, rebuilt.sums, b)
    assert (found.missing, found.extra, found.changed, found.equal) == (1, 2, 1, False)
    assert {(e.id, "not in the log" in e.what) for e in found.examples} == {
        ("job-03", False),
        ("job-04", True),
        ("?", True),
    }
    assert found.altered == [(1, "job-05")]
    assert (found.live.count, found.rebuilt.count) == (40, 39)
    assert none.equal


def test_the_id_of_any_document_is_found():
    import bson

    assert id_of(bson.encode({"_id": "größe", "a": 1})) == "größe"
    assert "ObjectId" in id_of(bson.encode({"_id": bson.ObjectId()}))
    assert id_of(bson.encode({"a": 1})) == "None"


def test_fields_that_differ_are_named():
    live = {"a": {"b": [1, {"c": 2}]}, "only": 1}
    assert differing_fields(live, {"a": {"b": [1, {"c": 3}]}, "d": None}) == [("a.b[1].c", 2, 3), ("only", 1, None)]
    assert differing_fields({"a": [1]}, {"a": [1, 2]}) == [("a", [1], [1, 2])]


lags = st.one_of(st.none(), st.integers(0, 100_000))
speeds = st.floats(0, 200_000)


@given(st.lists(st.tuples(lags, speeds), max_size=60))
def test_a_pace_is_never_below_its_floor(seen):
    pace = Pace()
    for lag, going_per_s in seen:
        before, pace = pace, adapted(pace, lag, going_per_s)
        assert pace.per_s is None or pace.per_s >= FLOOR_PER_S
        if lag is None:
            assert pace.per_s is None
        elif pace.lag_least is not None and lag - pace.lag_least > LAG_GROWTH_EVENTS_MAX:
            assert pace.per_s is not None
            assert pace.per_s <= max(FLOOR_PER_S, before.per_s or going_per_s)
        elif before.per_s is not None and pace.per_s is not None:
            assert pace.per_s >= before.per_s


@given(st.integers(0, 10**6), speeds, st.integers(1, 30))
def test_a_pace_recovers_when_the_lag_is_gone(lag, going_per_s, behind_for):
    pace = adapted(Pace(), lag, going_per_s)
    for _ in range(behind_for):
        pace = adapted(pace, lag + LAG_GROWTH_EVENTS_MAX + 1, going_per_s)
    assert pace.per_s is not None
    held = [pace := adapted(pace, lag, pace.per_s or going_per_s) for _ in range(40)]
    assert held[-1].per_s is None


def test_the_lowest_bound_holds():
    assert [slower(), slower(None, None), slower(None, 5.0), slower(4.0, 5.0)] == [None, None, 5.0, 4.0]


def test_a_throttle_holds_to_its_rate_and_lets_go_at_once():
    throttle = Throttle()
    throttle.passed(10**9, 0.0)  # no bound
    throttle.set_rate(1_000.0)
    began = monotonic()
    throttle.passed(100, 0.02)
    assert 0.079 <= monotonic() - began < 5.0
    for let_go in (lambda: throttle.set_rate(None), throttle.stop):
        throttle.set_rate(1.0)
        waiting = threading.Thread(target=throttle.passed, args=(10**6, 0.0))
        waiting.start()
        let_go()
        waiting.join(5.0)
        assert not waiting.is_alive()
    assert throttle.stopped


@pytest.fixture
def logs():
    """Two topics; the times of partition 0 of jobs do not rise everywhere."""
    jobs, models = MemoryLog(2, "jobs-id"), MemoryLog(1, "models-id")
    for seconds in (10, 30, 20, 40):
        jobs.append(0, b"k", b"v", [], int(NOW.timestamp() + seconds) * 1000)
    for seconds in (15, 35):
        jobs.append(1, b"k", b"v", [], int(NOW.timestamp() + seconds) * 1000)
    models.append(0, b"k", b"v", [], int(NOW.timestamp() + 20) * 1000)
    return {"jobs": jobs, "models": models}


LATER = NOW + timedelta(hours=1)


@pytest.mark.parametrize(
    ("as_of", "jobs", "models"),
    [
        (NOW + timedelta(seconds=10, milliseconds=1), {0: 1, 1: 0}, {0: 0}),
        (NOW + timedelta(seconds=20), {0: 1, 1: 1}, {0: 0}),
        (
            NOW + timedelta(seconds=25),
            {0: 1, 1: 1},
            {0: 1},
        ),  # up to the first that is later: what is behind may be older
        (NOW + timedelta(seconds=40), {0: 3, 1: 2}, {0: 1}),
        (LATER, {0: 4, 1: 2}, {0: 1}),
        (Position("jobs-id", 0, 2), {0: 3, 1: 1}, {0: 1}),
        (Position("jobs-id", 1, 0), {0: 1, 1: 1}, {0: 0}),
        (Position("models-id", 0, 0), {0: 1, 1: 1}, {0: 1}),
        (Vector("jobs-id", (4, 0)), {0: 4, 1: 0}, {0: 1}),
        (Vector("jobs-id", (1, 0)), {0: 1, 1: 0}, {0: 0}),
    ],
)
def test_a_moment_means_these_offsets(logs, as_of, jobs, models):
    assert vectors_as_of(as_of, logs, LATER) == {"jobs": jobs, "models": models}
    if not isinstance(as_of, datetime):
        assert parse_as_of(as_of.token()) == as_of


@pytest.mark.parametrize(
    ("as_of", "said"),
    [
        (LATER + timedelta(seconds=1), "is in the future: now is 2026-11-22T13:00:00Z"),
        (NOW, "there is no event before 2026-11-22T12:00:00Z: the first is of 2026-11-22T12:00:10Z"),
        (Position("jobs-id", 0, 4), "beyond the end: partition 0 ends at 4, and offset 4 has not been written"),
        (Position("jobs-id", 2, 0), "partition 2, and the topic has 2 partitions"),
        (Position("other", 0, 0), "a position in another topic (id other): the topics here are jobs (id jobs-id)"),
        (Vector("jobs-id", (1,)), "it names 1 partitions, and the topic has 2"),
        (Vector("jobs-id", (1, 9)), "beyond the end: partition 1 ends at 2"),
        (Vector("other", (1, 9)), "a position in another topic"),
    ],
)
def test_a_moment_that_cannot_be_is_refused(logs, as_of, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        vectors_as_of(as_of, logs, LATER)


def test_an_empty_log_has_no_past():
    with pytest.raises(ValueError, match="the log is empty"):
        vectors_as_of(NOW, {"jobs": MemoryLog()}, LATER)


@pytest.mark.parametrize(
    "text", ["yesterday", "2026-11-22", "2026-13-01T00:00:00Z", "", "MS4w", "2026-11-22T12:00:00"]
)
def test_what_is_no_moment_is_refused(text):
    with pytest.raises(ValueError, match=r"neither a time like|without a zone"):
        parse_as_of(text)


def test_moments_have_names_that_a_database_may_have():
    assert parse_as_of("2026-11-22T13:00:00+01:00") == NOW
    assert name_of(NOW) == "20261122T120000Z"
    assert name_of(NOW + timedelta(milliseconds=7)) == "20261122T120000_007Z"
    assert name_of(Position("x", 3, 17)).endswith("_p3_o17")
    assert name_of(Position("x", 3, 17)) != name_of(Position("y", 3, 17))  # of another topic
    assert name_of(Vector("x", (1, 2))) != name_of(Vector("x", (2, 1)))
