"""Decide, append, verdict: races, lag, repeats, lost acknowledgements; in memory, and once on a real Kafka."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from time import monotonic

import pytest

from darkroom.runtime.eventlog.kafka import TRUTH, KafkaLog, TopicSpec, ensure_topics
from darkroom.runtime.eventlog.memory import MemoryLog
from darkroom.runtime.eventlog.port import Ack, EventLog
from darkroom.runtime.ids import job_id_of, new_id
from darkroom.runtime.protocol import Accepted
from darkroom.runtime.testing_writer import CONTEXT, TIMEOUT_S, WriterInstance
from darkroom.schemas import job
from darkroom.schemas.chain import partition_of
from darkroom.schemas.errors import LogUnavailable, Refused, TailBehind
from darkroom.schemas.job import Status, Why
from darkroom.schemas.testing import PROBLEM, SPEC

CREATE = job.Create(SPEC, {}, execute=True)
Make = Callable[..., WriterInstance]


@pytest.fixture
def instance() -> Iterator[Make]:
    """Makes writer instances; closes them."""
    with ExitStack() as stack:
        yield lambda log, **options: stack.enter_context(WriterInstance(log, **options))


def refusal(call: Callable[[], object]) -> job.Refusal:
    with pytest.raises(Refused) as caught:
        call()
    return caught.value.refusal


def test_an_accepted_command_says_where_its_event_stands(instance: Make) -> None:
    log = MemoryLog(4)
    one = instance(log)
    created = one.execute("job-1", CREATE)
    assert (created.topic_id, created.partition, created.offset) == ("memory", partition_of("job-1", 4), 0)
    assert (created.outcome.status, created.outcome.version, created.outcome.run) == (Status.QUEUED, 1, 1)
    assert not created.repeated
    cancelled = one.execute("job-1", job.Cancel())
    assert (cancelled.offset, cancelled.outcome.status, cancelled.outcome.version) == (1, Status.CANCELLED, 2)
    head = one.writer.head("job-1", monotonic() + TIMEOUT_S)
    assert head is not None
    assert (head.status, head.last_offset) == (Status.CANCELLED, 1)


def test_another_instance_reads_behind_a_barrier_before_it_refuses(instance: Make) -> None:
    log = MemoryLog(1)
    ahead, behind = instance(log), instance(log, held_back=True)
    ahead.execute("job-1", CREATE)
    assert behind.heads.get("job-1") is None
    with ThreadPoolExecutor(1) as thread:
        cancelled = thread.submit(behind.execute, "job-1", job.Cancel())
        behind.gate.open()
        assert cancelled.result(TIMEOUT_S).outcome.status is Status.CANCELLED
    ahead.caught_up()  # otherwise its event would be appended, void, before it is refused
    assert refusal(lambda: ahead.execute("job-1", job.Cancel())).status is Status.CANCELLED
    assert refusal(lambda: ahead.execute("job-2", job.Cancel())).why is Why.UNKNOWN
    assert log.end_offset(0, 1) == 2


def test_a_tail_that_lags_past_the_deadline_is_no_refusal(instance: Make) -> None:
    log = MemoryLog(1)
    instance(log).execute("job-1", CREATE)
    behind = instance(log, held_back=True)
    for command in (job.Cancel(), CREATE):
        began = monotonic()
        with pytest.raises(TailBehind):
            behind.execute("job-1", command, timeout_s=0.1)
        assert monotonic() - began < 5
    with pytest.raises(TailBehind):
        behind.writer.head("job-1", monotonic() + 0.05)


def test_an_unknown_head_is_asked_for_behind_a_barrier(instance: Make) -> None:
    log = MemoryLog(1)
    assert instance(log).writer.head("job-1", monotonic() + TIMEOUT_S) is None


def race(writers: list[Callable[[], object]]) -> list[object]:
    """Calls all at once; each gives its result or its error."""
    gate = threading.Barrier(len(writers), timeout=TIMEOUT_S)

    def run(call: Callable[[], object]) -> object:
        gate.wait()
        try:
            return call()
        except Refused as error:
            return error.refusal

    with ThreadPoolExecutor(len(writers)) as threads:
        return list(threads.map(run, writers))


@pytest.mark.parametrize("round_", range(5))
def test_of_conflicting_commands_exactly_one_wins_and_the_others_are_told_why(instance: Make, round_: int) -> None:
    log = MemoryLog(1)
    instances = [instance(log) for _ in range(3)]
    instances[0].execute("job-1", CREATE)
    starts = [job.Start(1, f"executor-{n}", 15.0) for n in range(6)]
    results = race([lambda n=n: instances[n % 3].execute("job-1", starts[n]) for n in range(6)])  # type: ignore[misc]
    won = [r for r in results if isinstance(r, Accepted)]
    lost = [r for r in results if isinstance(r, job.Refusal)]
    assert (len(won), len(lost)) == (1, 5)
    assert all((r.why, r.status) == (Why.STATE, Status.RUNNING) for r in lost)
    for one in instances:
        one.caught_up()
        head = one.heads.get("job-1")
        assert head is not None
        assert (head.version, head.attempt, head.last_offset) == (2, 1, won[0].offset)


def test_a_stale_writer_loses_against_the_lower_offset(instance: Make) -> None:
    """Delete races execute: the loser's event is void, it decides again, and answers that the job is gone."""
    log = MemoryLog(1)
    ahead, behind = instance(log), instance(log)
    ahead.execute("job-1", job.Create(SPEC, {}, execute=False))
    behind.caught_up()
    behind.gate.hold()
    ahead.execute("job-1", job.Delete())
    with ThreadPoolExecutor(1) as thread:
        losing = thread.submit(behind.execute, "job-1", job.RequestRun(SPEC))
        _wait_for_end(log, 3)
        behind.gate.open()
        with pytest.raises(Refused) as caught:
            losing.result(TIMEOUT_S)
    assert caught.value.refusal.why is Why.DELETED
    ahead.caught_up()
    head = ahead.heads.get("job-1")
    assert head is not None
    assert (head.version, head.status) == (2, Status.DELETED)


def test_a_void_event_is_decided_again_and_may_still_win(instance: Make) -> None:
    log = MemoryLog(1)
    ahead, behind = instance(log), instance(log)
    ahead.execute("job-1", CREATE)
    behind.caught_up()
    behind.gate.hold()
    ahead.execute("job-1", job.Start(1, "x", 15.0))
    with ThreadPoolExecutor(1) as thread:
        deleting = thread.submit(behind.execute, "job-1", job.Delete())
        _wait_for_end(log, 3)
        behind.gate.open()
        deleted = deleting.result(TIMEOUT_S)
    assert (deleted.offset, deleted.outcome.version, deleted.outcome.status) == (3, 3, Status.DELETED)


def _wait_for_end(log: EventLog, offset: int) -> None:
    reader = log.follow({0: offset - 1})
    assert reader.poll(TIMEOUT_S, 1)


def test_one_key_asked_everywhere_at_once_takes_effect_once(instance: Make) -> None:
    log = MemoryLog(1)
    instances = [instance(log) for _ in range(3)]
    job_id, other_key = job_id_of("default", "key"), new_id()
    created = race([lambda n=n: instances[n % 3].execute(job_id, CREATE, "create") for n in range(6)])  # type: ignore[misc]
    assert {(r.offset, r.outcome.status) for r in created if isinstance(r, Accepted)} == {(0, Status.QUEUED)}
    cancelled = race([lambda n=n: instances[n % 3].execute(job_id, job.Cancel(), other_key) for n in range(6)])  # type: ignore[misc]
    assert len({(r.offset, r.outcome) for r in cancelled if isinstance(r, Accepted)}) == 1
    assert Counter(type(r) for r in [*created, *cancelled]) == {Accepted: 12}
    for one in instances:
        one.caught_up()
        head = one.heads.get(job_id)
        assert head is not None
        assert head.version == 2


def test_a_repeated_command_appends_nothing_and_another_request_under_its_key_is_refused(instance: Make) -> None:
    log = MemoryLog(1)
    one, two = instance(log), instance(log)
    for command, name in ((CREATE, "create"), (job.Cancel(), "cancel"), (job.Delete(), "delete")):
        first = one.execute("job-1", command, name)
        end = log.end_offset(0, 1)
        for again in (one, two):
            two.caught_up()
            repeated = again.execute("job-1", command, name)
            assert repeated.repeated
            assert (repeated.offset, repeated.outcome.status) == (first.offset, first.outcome.status)
            with pytest.raises(Refused) as caught:
                again.execute("job-1", command, name, request_hash="other")
            assert caught.value.refusal.why is Why.KEY_REUSED
        assert log.end_offset(0, 1) == end


class LossyLog(MemoryLog):
    """Appends, and then tells the acknowledgement as `told` says."""

    told: Callable[[Ack], Ack] | None = None

    def append(self, partition: int, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> Future[Ack]:
        landed = super().append(partition, key, value, headers)
        if self.told is None:
            return landed
        future: Future[Ack] = Future()
        try:
            future.set_result(self.told(landed.result(0)))
        except LogUnavailable as error:
            future.set_exception(error)
        return future


def lost(ack: Ack) -> Ack:
    raise LogUnavailable("the acknowledgement was lost")


def test_a_lost_acknowledgement_is_settled_by_the_same_key(instance: Make) -> None:
    log = LossyLog(1)
    one = instance(log)
    log.told = lost
    with pytest.raises(LogUnavailable):
        one.execute("job-1", CREATE, "create")
    log.told = None
    one.caught_up()  # otherwise the repetition may append a second event: void, and the same answer
    settled = one.execute("job-1", CREATE, "create")
    assert (settled.offset, settled.repeated) == (0, True)
    log.told = lost
    with pytest.raises(LogUnavailable):
        one.execute("job-1", job.Cancel(), "cancel")
    log.told = None
    one.caught_up()
    settled = one.execute("job-1", job.Cancel(), "cancel")
    assert (settled.offset, settled.outcome.status, settled.repeated) == (1, Status.CANCELLED, True)
    assert log.end_offset(0, 1) == 2


def test_an_acknowledgement_without_an_offset_goes_through_the_barrier(instance: Make) -> None:
    log = LossyLog(1)
    one = instance(log)
    log.told = lambda ack: Ack(ack.partition, None)
    assert one.execute("job-1", CREATE).offset == 0
    assert one.execute("job-1", job.Cancel()).offset == 1
    assert log.end_offset(0, 1) == 2


def test_a_log_that_is_away_or_a_deadline_that_is_over_appends_nothing(instance: Make) -> None:
    log = MemoryLog(1)
    one = instance(log)
    log.available = False
    with pytest.raises(LogUnavailable):
        one.execute("job-1", CREATE)
    with pytest.raises(LogUnavailable):
        one.execute("job-1", job.Cancel())
    log.available = True
    with pytest.raises(LogUnavailable, match="deadline"):
        one.execute("job-1", CREATE, timeout_s=-1)
    assert log.end_offset(0, 1) == 0


def test_an_acknowledgement_that_never_comes_is_unavailable_at_the_deadline(instance: Make) -> None:
    class Silent(MemoryLog):
        def append(self, *_: object) -> Future[Ack]:
            return Future()

    began = monotonic()
    with pytest.raises(LogUnavailable, match="deadline"):
        instance(Silent(1)).execute("job-1", CREATE, timeout_s=0.1)
    assert monotonic() - began < 5


def test_the_same_on_a_real_kafka(kafka: str, unique_name: str, tmp_path: object) -> None:
    """A race, a barrier, a repeat through another instance, a restart, with two instances on one topic."""
    ensure_topics(kafka, [TopicSpec(unique_name, 2, 1, TRUTH)], 30.0)
    logs = [KafkaLog(kafka, unique_name) for _ in range(2)]
    with WriterInstance(logs[0], f"{tmp_path}/one") as one, WriterInstance(logs[1], f"{tmp_path}/two") as two:
        jobs = [new_id() for _ in range(8)]
        for name in jobs:
            assert one.execute(name, CREATE, f"create-{name}").outcome.status is Status.QUEUED
            assert two.execute(name, CREATE, f"create-{name}").repeated
        for name in jobs:
            results = race(
                [
                    lambda i=i, n=n, name=name: i.execute(name, job.Start(1, f"x{n}", 15.0))  # type: ignore[misc]
                    for n, i in enumerate((one, two, one, two))
                ]
            )
            assert Counter(type(r) for r in results) == {Accepted: 1, job.Refusal: 3}
        ended = two.execute(jobs[0], job.EndAttempt(1, 1, PROBLEM, 1), "end")
        assert one.execute(jobs[0], job.EndAttempt(1, 1, PROBLEM, 1), "end").offset == ended.offset
        assert refusal(lambda: one.execute(new_id(), job.Cancel())).why is Why.UNKNOWN
        one.caught_up()
        two.caught_up()
        heads = {name: one.heads.get(name) for name in jobs}
        assert heads == {name: two.heads.get(name) for name in jobs}
        positions = dict(one.heads.positions())
    with WriterInstance(logs[0], f"{tmp_path}/one") as again:
        assert dict(again.heads.positions()) == positions
        assert {name: again.heads.get(name) for name in jobs} == heads
        assert again.execute(jobs[1], job.Cancel()).outcome.status is Status.CANCELLED
    record = logs[1].read_one(ended.partition, ended.offset, TIMEOUT_S)
    assert record.key == jobs[0].encode()
    assert CONTEXT.source.encode() in (record.value or b"")
    for log in logs:
        log.close(TIMEOUT_S)


def test_a_command_that_is_handed_in_again_takes_effect_once() -> None:
    """As an executor does after a 503: its first try may have landed, and the job have moved on since."""
    log = MemoryLog(1)
    start = job.Start(1, "executor-1", 15.0)
    identity = job.Identity(new_id(), "", "default")
    with WriterInstance(log) as instance:
        instance.execute("job", job.Create(SPEC, {}, True))
        first = instance.writer.execute("job", start, identity, CONTEXT, monotonic() + TIMEOUT_S)
        instance.execute("job", job.EndAttempt(1, 1, PROBLEM, 3))
        again = instance.writer.execute("job", start, identity, CONTEXT, monotonic() + TIMEOUT_S)
        assert again == replace(first, repeated=True)
        assert instance.heads.get("job").attempt == 1  # type: ignore[union-attr]


def test_what_is_new_is_not_looked_up_but_a_wrong_word_of_it_does_no_harm() -> None:
    log = MemoryLog(1)
    create = job.Create(SPEC, {}, True)
    with WriterInstance(log) as instance:
        first = instance.execute("job", create, "c1")
        identity = job.Identity("c1", "hash", "default", keyed=True)
        again = instance.writer.execute("job", create, identity, CONTEXT, monotonic() + TIMEOUT_S, new_job=True)
        assert (again.offset, again.repeated) == (first.offset, True)
        assert log.end_offset(0, 1) == 2  # one of them is void


def test_a_repeated_creation_is_not_told_from_before_a_deletion() -> None:
    """Found by the campaign: the deletion had been answered by another instance, which this one was behind."""
    log = MemoryLog(1)
    create = job.Create(SPEC, {}, True)
    with WriterInstance(log) as other, WriterInstance(log) as behind:
        other.execute("job", create)
        behind.caught_up()
        assert behind.execute("job", create).repeated
        behind.gate.hold()
        other.execute("job", job.Delete())
        with pytest.raises(TailBehind):
            behind.execute("job", create, timeout_s=0.2)
        behind.gate.open()
        with pytest.raises(Refused) as refused:
            behind.execute("job", create)
        assert refused.value.refusal.why is Why.DELETED
