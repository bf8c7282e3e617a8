"""Planted faults in the rule, and in the steps that a command takes."""

from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any

from darkroom.runtime import headsfold, writer
from darkroom.runtime.eventlog.port import Ack
from darkroom.runtime.modelcheck import reference
from darkroom.runtime.modelcheck.machine import headers_only, wait
from darkroom.runtime.modelcheck.planting import change, fault
from darkroom.runtime.pending import Pending
from darkroom.runtime.protocol import Append, Steps, Verdict
from darkroom.runtime.tail import Tail
from darkroom.runtime.writer import JobWriter, Writer
from darkroom.schemas import job
from darkroom.schemas.chain import Guard
from darkroom.schemas.errors import LogUnavailable, Refused

# ------------------------------------------------------------------------------------------------ the rule


@fault
def no_guard_at_all(stack: ExitStack) -> None:
    """Every event counts, for every fold, as in a log that is only appended to."""
    change(stack, headsfold, "accepts", lambda version, last, guard: True)
    change(stack, reference, "follows", lambda before, kind, version, prev_id: True)


@fault
def the_version_alone(stack: ExitStack) -> None:
    """No fold looks at `previd`; it shows on a log that lost its acknowledged end."""

    def accepts(version: int, last_event_id: str, guard: Guard) -> bool:
        return guard.version == version + 1

    def follows(before: Any, kind: str, version: int, prev_id: str) -> bool:
        return version == (before.version if before else 0) + 1

    change(stack, headsfold, "accepts", accepts)
    change(stack, reference, "follows", follows)


@fault
def the_version_stands_still(stack: ExitStack) -> None:
    def evolve(head: job.Head | None, guard: Guard, offset: int) -> job.Head:
        after = job.evolve(head, guard, offset)
        return replace(after, version=head.version) if head else after

    change(stack, headsfold, "evolve", evolve)


@fault
def the_hash_of_a_create_is_not_kept(stack: ExitStack) -> None:
    change(stack, headsfold, "evolve", lambda head, guard, o: replace(job.evolve(head, guard, o), create_hash=""))


@fault
def heads_from_a_foreign_partition(stack: ExitStack) -> None:
    class Everywhere(int):
        def __ne__(self, other: object) -> bool:
            return False

    change(stack, headsfold, "partition_of", lambda key, partitions: Everywhere())


# ------------------------------------------------------------------------------------------------ the steps


@fault
def no_barrier(stack: ExitStack) -> None:
    change(stack, Tail, "barrier", lambda self, partition, deadline: None)


@fault
def the_barrier_asks_the_own_position(stack: ExitStack) -> None:
    def barrier(self: Tail, partition: int, deadline: float) -> None:
        self.wait_until(partition, self.position(partition), deadline)

    change(stack, Tail, "barrier", barrier)


@fault
def a_stopped_tail_still_answers(stack: ExitStack) -> None:
    """The barrier as it first was: an end before the own position, or a tail that has stopped, did not matter."""

    def barrier(self: Tail, partition: int, deadline: float) -> None:
        self.wait_until(partition, self._eventlog.end_offset(partition, 1.0), deadline)

    change(stack, Tail, "barrier", barrier)


@fault
def two_events_per_command(stack: ExitStack) -> None:
    """A delete of what is active appends a cancel first, under the same command."""
    steps = JobWriter.steps

    def two(self: JobWriter, job_id: str, command: job.Command, identity: job.Identity, **options: bool) -> Steps:
        if not isinstance(command, job.Delete):
            return (yield from steps(self, job_id, command, identity, **options))
        once = replace(identity, condition=None)
        with suppress(Refused):
            yield from steps(self, job_id, job.Cancel(), once, new_command=True)
        return (yield from steps(self, job_id, command, once, new_command=True))

    change(stack, JobWriter, "steps", two)


@fault
def accepted_at_the_acknowledgement(stack: ExitStack) -> None:
    def append(self: JobWriter, partition: int, step: Append, context: Any, deadline: float) -> Verdict:
        told: list[Any] = []
        key, value, headers = headers_only(step.guard, step.event, context)
        self._log.append(partition, key, value, headers).add_done_callback(told.append)
        wait(lambda: bool(told))
        if not told or told[0].exception() or told[0].result().offset is None:
            raise LogUnavailable("not acknowledged")
        return _as_produced(self, partition, told[0].result().offset, step.guard)

    change(stack, JobWriter, "_append", append)


@fault
def the_answer_is_what_was_produced(stack: ExitStack) -> None:
    """It waits for its own tail, and then does not look at what the tail says."""
    judged = Writer._append

    def append(self: JobWriter, partition: int, step: Append, context: Any, deadline: float) -> Verdict | None:
        verdict = judged(self, partition, step, context, deadline)
        return verdict and _as_produced(self, partition, verdict.offset, step.guard)

    change(stack, JobWriter, "_append", append)


def _as_produced(self: JobWriter, partition: int, offset: int, guard: Guard) -> Verdict:
    head = self.heads.get(guard.key)
    status = job.status_after(head.status if head else None, guard)
    outcome = job.Outcome(guard.command_id, guard.request_hash, offset, guard.version, status, guard.run)
    return Verdict(partition, offset, guard.event_id, True, outcome)


@fault
def an_acknowledgement_without_offset_is_believed(stack: ExitStack) -> None:
    """It takes the last record of its partition for its own."""
    judged = Writer._append

    def append(self: JobWriter, partition: int, step: Append, context: Any, deadline: float) -> Verdict | None:
        verdict = judged(self, partition, step, context, deadline)
        if verdict is None:
            return _as_produced(self, partition, self._tail.position(partition) - 1, step.guard)
        return verdict

    change(stack, JobWriter, "_append", append)


@fault
def the_verdict_on_another_record_of_the_same_id(stack: ExitStack) -> None:
    """The offset that was acknowledged is not compared; it shows where somebody uses others' event ids."""
    waiting = Pending.wait

    def wait_for_any(self: Pending, deadline: float) -> tuple[Ack, Verdict | None]:
        ack, verdict = waiting(self, deadline)
        return (Ack(ack.partition, verdict.offset) if verdict and ack.offset is not None else ack), verdict

    change(stack, Pending, "wait", wait_for_any)


@fault
def event_ids_made_from_the_command(stack: ExitStack) -> None:
    change(stack, writer, "Guard", lambda **fields: Guard(**(fields | {"event_id": fields["command_id"]})))
