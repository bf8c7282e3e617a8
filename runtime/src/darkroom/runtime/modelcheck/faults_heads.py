"""Planted faults in what is remembered: commands, conditions, heads and positions."""

from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from darkroom.runtime import headsfold, headsopen
from darkroom.runtime.heads import HeadStore
from darkroom.runtime.modelcheck.planting import change, fault
from darkroom.runtime.protocol import Accepted, Steps
from darkroom.runtime.tail import Tail
from darkroom.runtime.writer import JobWriter
from darkroom.schemas import job
from darkroom.schemas.chain import partition_of
from darkroom.schemas.errors import Refused

# ---------------------------------------------------------------------------------------------- the memory


@fault
def commands_are_not_remembered(stack: ExitStack) -> None:
    change(stack, HeadStore, "seen", lambda self, job_id, command_id: None)


@fault
def commands_are_forgotten_too_early(stack: ExitStack) -> None:
    """After half of the window."""
    remembered = HeadStore.seen

    def seen(self: HeadStore, job_id: str, command_id: str) -> job.Outcome | None:
        outcome = remembered(self, job_id, command_id)
        window = headsfold.REMEMBERED_OFFSETS
        ends = self.positions()
        partition = partition_of(job_id, len(ends))
        return outcome if outcome and outcome.offset >= ends[partition] - window // 2 else None

    change(stack, HeadStore, "seen", seen)


@fault
def a_refusal_is_remembered(stack: ExitStack) -> None:
    steps = JobWriter.steps

    def remembering(
        self: JobWriter, job_id: str, command: job.Command, identity: job.Identity, **options: bool
    ) -> Steps:
        refusals: dict[tuple[str, str], Refused] = self.__dict__.setdefault("refusals", {})
        if earlier := refusals.get((job_id, identity.command_id)):
            raise earlier
        try:
            return (yield from steps(self, job_id, command, identity, **options))
        except Refused as refused:
            refusals[job_id, identity.command_id] = refused
            raise

    change(stack, JobWriter, "steps", remembering)


@fault
def a_repetition_is_told_where_the_job_stands_now(stack: ExitStack) -> None:
    def repeated(self: JobWriter, job_id: str, outcome: job.Outcome) -> Accepted:
        head = self.heads.get(job_id)
        assert head is not None
        now = replace(outcome, offset=head.last_offset, version=head.version, status=head.status, run=head.run)
        return Accepted(self._log.topic_id, 0, now.offset, now, repeated=True)

    change(stack, JobWriter, "_repeated", repeated)


@fault
def the_body_of_a_repetition_is_not_compared(stack: ExitStack) -> None:
    decide = job.decide

    def trusting(head: Any, command: Any, identity: job.Identity, seen: job.Outcome | None) -> job.Decision:
        known = seen.request_hash if seen else head.create_hash if head else identity.request_hash
        return decide(head, command, replace(identity, request_hash=known), seen)

    change(stack, job, "decide", trusting)


# ------------------------------------------------------------------------------------------- the conditions


@fault
def if_match_is_ignored(stack: ExitStack) -> None:
    decide = job.decide
    change(stack, job, "decide", lambda h, c, identity, s: decide(h, c, replace(identity, condition=None), s))


@fault
def if_match_comes_before_the_repetition(stack: ExitStack) -> None:
    decide = job.decide

    def strict(head: Any, command: Any, identity: job.Identity, seen: job.Outcome | None) -> job.Decision:
        if head and identity.condition and not identity.condition.holds(head):
            return job.Refusal(job.Why.VERSION, "", head.status)
        return decide(head, command, identity, seen)

    change(stack, job, "decide", strict)


# ------------------------------------------------------------------------------------- heads and positions


@fault
def heads_kept_without_their_position(stack: ExitStack) -> None:
    """The file says it has read less than it has; it shows after a start from it."""
    write = headsfold.Piece.write

    def without(self: headsfold.Piece, db: Any, counts: Any) -> None:
        moved, self.moved = self.moved, {}
        write(self, db, counts)
        self.moved = moved

    change(stack, headsfold.Piece, "write", without)


@fault
def a_position_kept_without_its_heads(stack: ExitStack) -> None:
    """The file says it has read more than it has."""
    write = headsfold.Piece.write

    def without(self: headsfold.Piece, db: Any, counts: Any) -> None:
        if len(self.folded) > 1:
            self._after.popitem()
            self._new = {p: [key for key in keys if key in self._after] for p, keys in self._new.items()}
        write(self, db, counts)

    change(stack, headsfold.Piece, "write", without)


@fault
def the_position_is_told_before_the_heads(stack: ExitStack) -> None:
    advance = Tail.advance

    def early(self: Tail, records: Any) -> None:
        with self._moved:
            for record in records:
                self._positions[record.partition] = record.offset + 1
            self._moved.notify_all()
        advance(self, records)

    change(stack, Tail, "advance", early)


@fault
def a_kept_file_is_believed_whatever_the_log_lost(stack: ExitStack) -> None:
    """Only its positions are compared with the log's ends, which may have grown beyond them again."""
    change(stack, headsopen, "_lost", lambda positions, log: None)
    change(stack, HeadStore, "epochs", lambda self: {})


@fault
def the_reader_starts_without_an_epoch(stack: ExitStack) -> None:
    """The log is cut between the look at the file and the first record that is read."""
    change(stack, HeadStore, "epochs", lambda self: {})
