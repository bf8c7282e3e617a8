"""The tail: waiting, barrier, verdicts, and what everybody is told when it fails."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import pytest

from darkroom.runtime.eventlog.memory import MemoryLog
from darkroom.runtime.eventlog.port import Record
from darkroom.runtime.heads import HeadStore
from darkroom.runtime.protocol import Verdict
from darkroom.runtime.tail import Tail
from darkroom.runtime.testing_writer import TIMEOUT_S, HeldBack, append_chain, append_event
from darkroom.schemas import job
from darkroom.schemas.chain import partition_of
from darkroom.schemas.errors import LogUnavailable, TailBehind
from darkroom.schemas.testing import QUEUED, STARTED


class Lagging:
    """A log, and a tail of it that is held back until the gate is opened."""

    def __init__(self) -> None:
        self.log = MemoryLog(2)
        self.heads = HeadStore(":memory:", self.log)
        self.gate = HeldBack(self.heads)
        self.tail = Tail(self.log, self.gate, "jobs")
        self.tail.start()


@pytest.fixture
def lagging() -> Iterator[Lagging]:
    made = Lagging()
    yield made
    made.gate.open()
    made.tail.stop()
    made.heads.close()


def in_(seconds: float) -> float:
    return monotonic() + seconds


def test_waiting_ends_when_the_offset_is_passed_or_at_the_deadline(lagging: Lagging) -> None:
    append_chain(lagging.log, "job", QUEUED)
    partition = partition_of("job", 2)
    lagging.tail.wait_until(partition, 0, in_(0))
    with pytest.raises(TailBehind, match=r"jobs has read partition \d up to 0, not yet up to 1"):
        lagging.tail.wait_until(partition, 1, in_(0.05))
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(lagging.tail.wait_until, partition, 1, in_(TIMEOUT_S))
        lagging.gate.open()
        waiting.result(TIMEOUT_S)
    assert lagging.tail.position(partition) == 1
    assert lagging.heads.get("job") is not None


def test_a_barrier_catches_up_with_the_end_as_it_is_now(lagging: Lagging) -> None:
    append_chain(lagging.log, "job", QUEUED, STARTED)
    with pytest.raises(TailBehind):
        lagging.tail.barrier(partition_of("job", 2), in_(0.05))
    lagging.gate.open()
    lagging.tail.barrier(partition_of("job", 2), in_(TIMEOUT_S))
    head = lagging.heads.get("job")
    assert head is not None
    assert head.version == 2


def test_a_barrier_holds_though_the_tail_goes_on_while_the_end_is_asked_for(
    lagging: Lagging, monkeypatch: pytest.MonkeyPatch
) -> None:
    lagging.gate.open()
    partition, asked = partition_of("job", 2), lagging.log.end_offset

    def asked_slowly(of: int, timeout_s: float) -> int:
        end = asked(of, timeout_s)
        append_chain(lagging.log, "job", QUEUED)
        lagging.tail.wait_until(partition, end + 1, in_(TIMEOUT_S))
        return end

    monkeypatch.setattr(lagging.log, "end_offset", asked_slowly)
    lagging.tail.barrier(partition, in_(TIMEOUT_S))
    assert lagging.tail.position(partition) == 1


def test_a_barrier_needs_the_log(lagging: Lagging) -> None:
    lagging.log.available = False
    with pytest.raises(LogUnavailable):
        lagging.tail.barrier(0, in_(TIMEOUT_S))


def test_caught_up_holds_for_all_partitions(lagging: Lagging) -> None:
    for number in range(10):
        append_chain(lagging.log, f"job-{number}", QUEUED)
    lagging.gate.open()
    lagging.tail.caught_up(TIMEOUT_S)
    assert all(lagging.heads.get(f"job-{n}") for n in range(10))


def test_verdicts_reach_those_who_expect_them_and_no_others(lagging: Lagging) -> None:
    created, _ = append_chain(lagging.log, "job", QUEUED, STARTED)
    void = append_event(lagging.log, "job", job.Cancelled(1), 2, created)
    expected = {event_id: lagging.tail.expect(event_id) for event_id in (created, void, "never")}
    lagging.tail.forget("never")
    lagging.gate.open()
    lagging.tail.caught_up(TIMEOUT_S)
    verdicts = {event_id: pending.verdict for event_id, pending in expected.items()}
    assert verdicts[created] == Verdict(partition_of("job", 2), 0, created, True, verdicts[created].outcome)
    assert verdicts[void] == Verdict(partition_of("job", 2), 2, void, False, None)
    assert verdicts["never"] is None


class Failing:
    """A fold whose disk is full."""

    def positions(self) -> Mapping[int, int]:
        return {0: 0}

    def epochs(self) -> Mapping[int, int]:
        return {}

    def apply(self, records: Sequence[Record]) -> Sequence[Verdict]:
        raise OSError("the disk is full")


def test_a_failure_is_kept_and_told_to_everybody() -> None:
    log = MemoryLog(1)
    tail = Tail(log, Failing(), "jobs")
    tail.start()
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(tail.wait_until, 0, 1, in_(TIMEOUT_S))
        (created,) = (tail.expect("e1"),)
        append_chain(log, "job", QUEUED)
        with pytest.raises(TailBehind, match="the disk is full"):
            waiting.result(TIMEOUT_S)
    with pytest.raises(TailBehind, match="the disk is full"):
        created.wait(in_(TIMEOUT_S))
    with pytest.raises(TailBehind, match="the disk is full"):
        tail.barrier(0, in_(TIMEOUT_S))
    assert isinstance(tail.failure, OSError)
    tail.stop()


class LostPosition(Failing):
    def positions(self) -> Mapping[int, int]:
        return {0: 7}


def test_a_lost_position_is_an_alarm() -> None:
    tail = Tail(MemoryLog(1), LostPosition(), "jobs")
    tail.start()
    with pytest.raises(TailBehind, match="beyond its end"):
        tail.wait_until(0, 8, in_(TIMEOUT_S))
    assert isinstance(tail.failure, LogUnavailable)
    tail.stop()


def test_a_tail_that_never_started_can_be_stopped() -> None:
    Tail(MemoryLog(1), Failing(), "jobs").stop()
