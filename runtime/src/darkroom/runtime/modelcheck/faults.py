"""Planted faults: the real code with one thing wrong, so that the check can prove that it would notice."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from darkroom.runtime import headsfold, writer
from darkroom.runtime.eventlog.port import Ack
from darkroom.runtime.heads import HeadStore
from darkroom.runtime.modelcheck import reference
from darkroom.runtime.modelcheck.machine import headers_only, wait
from darkroom.runtime.pending import Pending
from darkroom.runtime.protocol import Accepted, Append, Steps, Verdict
from darkroom.runtime.tail import Tail
from darkroom.runtime.writer import JobWriter, Writer
from darkroom.schemas import job
from darkroom.schemas.chain import Guard, partition_of
from darkroom.schemas.errors import LogUnavailable, Refused

Plant = Callable[[ExitStack], None]
FAULTS: dict[str, Plant] = {}


@contextmanager
def planted(name: str) -> Iterator[None]:
    """While it lasts, the code has this fault."""
    with ExitStack() as stack:
        FAULTS[name](stack)
        yield


def _fault(plant: Plant) -> Plant:
    FAULTS[plant.__name__] = plant
    return plant


def _patch(stack: ExitStack, target: Any, name: str, value: Any) -> None:
    stack.enter_context(patch.object(target, name, value))


# ------------------------------------------------------------------------------------------------ the rule


@_fault
def no_guard_at_all(stack: ExitStack) -> None:
    """Every event counts, for every fold, as in a log that is only appended to."""
    _patch(stack, headsfold, "accepts", lambda version, last, guard: True)
    _patch(stack, reference, "follows", lambda before, kind, version, prev_id: True)


@_fault
def the_version_alone(stack: ExitStack) -> None:
    """No fold looks at `previd`; it shows on a log that lost its acknowledged end."""

    def accepts(version: int, last_event_id: str, guard: Guard) -> bool:
        return guard.version == version + 1

    def follows(before: Any, kind: str, version: int, prev_id: str) -> bool:
        return version == (before.version if before else 0) + 1

    _patch(stack, headsfold, "accepts", accepts)
    _patch(stack, reference, "follows", follows)


@_fault
def the_version_stands_still(stack: ExitStack) -> None:
    def evolve(head: job.Head | None, guard: Guard, offset: int) -> job.Head:
        after = job.evolve(head, guard, offset)
        return replace(after, version=head.version) if head else after

    _patch(stack, headsfold, "evolve", evolve)


@_fault
def the_hash_of_a_create_is_not_kept(stack: ExitStack) -> None:
    _patch(stack, headsfold, "evolve", lambda head, guard, o: replace(job.evolve(head, guard, o), create_hash=""))


@_fault
def heads_from_a_foreign_partition(stack: ExitStack) -> None:
    class Everywhere(int):
        def __ne__(self, other: object) -> bool:
            return False

    _patch(stack, headsfold, "partition_of", lambda key, partitions: Everywhere())


# ------------------------------------------------------------------------------------------------ the steps


@_fault
def no_barrier(stack: ExitStack) -> None:
    _patch(stack, Tail, "barrier", lambda self, partition, deadline: None)


@_fault
def the_barrier_asks_the_own_position(stack: ExitStack) -> None:
    def barrier(self: Tail, partition: int, deadline: float) -> None:
        self.wait_until(partition, self.position(partition), deadline)

    _patch(stack, Tail, "barrier", barrier)


@_fault
def a_stopped_tail_still_answers(stack: ExitStack) -> None:
    """The barrier as it first was: an end before the own position, or a tail that has stopped, did not matter."""

    def barrier(self: Tail, partition: int, deadline: float) -> None:
        self.wait_until(partition, self._eventlog.end_offset(partition, 1.0), deadline)

    _patch(stack, Tail, "barrier", barrier)


@_fault
def two_events_per_command(stack: ExitStack) -> None:
    """A delete of what is active appends a cancel first, under the same command."""
    steps = JobWriter.steps

    def two(self: JobWriter, job_id: str, command: job.Command, identity: job.Identity) -> Steps:
        if not isinstance(command, job.Delete):
            return (yield from steps(self, job_id, command, identity))
        once = replace(identity, keyed=False, condition=None)
        with suppress(Refused):
            yield from steps(self, job_id, job.Cancel(), once)
        return (yield from steps(self, job_id, command, once))

    _patch(stack, JobWriter, "steps", two)


@_fault
def accepted_at_the_acknowledgement(stack: ExitStack) -> None:
    def append(self: JobWriter, partition: int, step: Append, context: Any, deadline: float) -> Verdict:
        told: list[Any] = []
        key, value, headers = headers_only(step.guard, step.event, context)
        self._log.append(partition, key, value, headers).add_done_callback(told.append)
        wait(lambda: bool(told))
        if not told or told[0].exception() or told[0].result().offset is None:
            raise LogUnavailable("not acknowledged")
        return _as_produced(self, partition, told[0].result().offset, step.guard)

    _patch(stack, JobWriter, "_append", append)


@_fault
def the_answer_is_what_was_produced(stack: ExitStack) -> None:
    """It waits for its own tail, and then does not look at what the tail says."""
    judged = Writer._append

    def append(self: JobWriter, partition: int, step: Append, context: Any, deadline: float) -> Verdict | None:
        verdict = judged(self, partition, step, context, deadline)
        return verdict and _as_produced(self, partition, verdict.offset, step.guard)

    _patch(stack, JobWriter, "_append", append)


def _as_produced(self: JobWriter, partition: int, offset: int, guard: Guard) -> Verdict:
    head = self.heads.get(guard.key)
    status = job.status_after(head.status if head else None, guard)
    outcome = job.Outcome(guard.command_id, guard.request_hash, offset, guard.version, status, guard.run)
    return Verdict(partition, offset, guard.event_id, True, outcome)


@_fault
def an_acknowledgement_without_offset_is_believed(stack: ExitStack) -> None:
    """It takes the last record of its partition for its own."""
    judged = Writer._append

    def append(self: JobWriter, partition: int, step: Append, context: Any, deadline: float) -> Verdict | None:
        verdict = judged(self, partition, step, context, deadline)
        if verdict is None:
            return _as_produced(self, partition, self._tail.position(partition) - 1, step.guard)
        return verdict

    _patch(stack, JobWriter, "_append", append)


@_fault
def the_verdict_on_another_record_of_the_same_id(stack: ExitStack) -> None:
    """The offset that was acknowledged is not compared; it shows where somebody uses others' event ids."""
    waiting = Pending.wait

    def wait_for_any(self: Pending, deadline: float) -> tuple[Ack, Verdict | None]:
        ack, verdict = waiting(self, deadline)
        return (Ack(ack.partition, verdict.offset) if verdict and ack.offset is not None else ack), verdict

    _patch(stack, Pending, "wait", wait_for_any)


@_fault
def event_ids_made_from_the_command(stack: ExitStack) -> None:
    _patch(stack, writer, "Guard", lambda **fields: Guard(**(fields | {"event_id": fields["command_id"]})))


# ---------------------------------------------------------------------------------------------- the memory


@_fault
def commands_are_not_remembered(stack: ExitStack) -> None:
    _patch(stack, HeadStore, "seen", lambda self, job_id, command_id: None)


@_fault
def commands_are_forgotten_too_early(stack: ExitStack) -> None:
    """After half of the window."""
    remembered = HeadStore.seen

    def seen(self: HeadStore, job_id: str, command_id: str) -> job.Outcome | None:
        outcome = remembered(self, job_id, command_id)
        window = headsfold.REMEMBERED_OFFSETS
        ends = self.positions()
        partition = partition_of(job_id, len(ends))
        return outcome if outcome and outcome.offset >= ends[partition] - window // 2 else None

    _patch(stack, HeadStore, "seen", seen)


@_fault
def a_refusal_is_remembered(stack: ExitStack) -> None:
    steps = JobWriter.steps

    def remembering(self: JobWriter, job_id: str, command: job.Command, identity: job.Identity) -> Steps:
        refusals: dict[tuple[str, str], Refused] = self.__dict__.setdefault("refusals", {})
        if earlier := refusals.get((job_id, identity.command_id)):
            raise earlier
        try:
            return (yield from steps(self, job_id, command, identity))
        except Refused as refused:
            refusals[job_id, identity.command_id] = refused
            raise

    _patch(stack, JobWriter, "steps", remembering)


@_fault
def a_repetition_is_told_where_the_job_stands_now(stack: ExitStack) -> None:
    def repeated(self: JobWriter, job_id: str, outcome: job.Outcome) -> Accepted:
        head = self.heads.get(job_id)
        assert head is not None
        now = replace(outcome, offset=head.last_offset, version=head.version, status=head.status, run=head.run)
        return Accepted(self._log.topic_id, 0, now.offset, now, repeated=True)

    _patch(stack, JobWriter, "_repeated", repeated)


@_fault
def the_body_of_a_repetition_is_not_compared(stack: ExitStack) -> None:
    decide = job.decide

    def trusting(head: Any, command: Any, identity: job.Identity, seen: job.Outcome | None) -> job.Decision:
        known = seen.request_hash if seen else head.create_hash if head else identity.request_hash
        return decide(head, command, replace(identity, request_hash=known), seen)

    _patch(stack, job, "decide", trusting)


# ------------------------------------------------------------------------------------------- the conditions


@_fault
def if_match_is_ignored(stack: ExitStack) -> None:
    decide = job.decide
    _patch(stack, job, "decide", lambda h, c, identity, s: decide(h, c, replace(identity, condition=None), s))


@_fault
def if_match_comes_before_the_repetition(stack: ExitStack) -> None:
    decide = job.decide

    def strict(head: Any, command: Any, identity: job.Identity, seen: job.Outcome | None) -> job.Decision:
        if head and identity.condition and not identity.condition.holds(head):
            return job.Refusal(job.Why.VERSION, "", head.status)
        return decide(head, command, identity, seen)

    _patch(stack, job, "decide", strict)


# ------------------------------------------------------------------------------------- heads and positions


@_fault
def heads_kept_without_their_position(stack: ExitStack) -> None:
    """The file says it has read less than it has; it shows after a start from it."""
    write = headsfold.Piece.write

    def without(self: headsfold.Piece, db: Any, counts: Any) -> None:
        moved, self.moved = self.moved, {}
        write(self, db, counts)
        self.moved = moved

    _patch(stack, headsfold.Piece, "write", without)


@_fault
def a_position_kept_without_its_heads(stack: ExitStack) -> None:
    """The file says it has read more than it has."""
    write = headsfold.Piece.write

    def without(self: headsfold.Piece, db: Any, counts: Any) -> None:
        if len(self.folded) > 1:
            self._after.popitem()
            self._new = {p: [key for key in keys if key in self._after] for p, keys in self._new.items()}
        write(self, db, counts)

    _patch(stack, headsfold.Piece, "write", without)


@_fault
def the_position_is_told_before_the_heads(stack: ExitStack) -> None:
    advance = Tail.advance

    def early(self: Tail, records: Any) -> None:
        with self._moved:
            for record in records:
                self._positions[record.partition] = record.offset + 1
            self._moved.notify_all()
        advance(self, records)

    _patch(stack, Tail, "advance", early)
