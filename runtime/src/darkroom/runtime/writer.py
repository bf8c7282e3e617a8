"""Compare-and-append by fold: decide, append, and answer only with what the own fold accepted.

1. decide on the head that the own tail has folded; a refusal is decided again behind a barrier;
2. append the event, stating which event it continues;
3. wait for the broker's acknowledgement, then until the own tail has passed the event;
4. accepted: the outcome is what the fold says. Void: something else came first, so decide again.

Crash points: before 2 nothing happened; between 2 and 4 the event may count although nobody was told, and the
same command id meets its outcome when the command is repeated.
"""

from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeVar

from darkroom.runtime.catalogue import Catalogue
from darkroom.runtime.eventlog.port import EventLog
from darkroom.runtime.heads import HeadStore
from darkroom.runtime.ids import new_id
from darkroom.runtime.tail import Tail, Verdict
from darkroom.schemas import eventdata, job, model
from darkroom.schemas.chain import Guard, partition_of
from darkroom.schemas.errors import LogUnavailable, Refused, TailBehind
from darkroom.schemas.job import Identity, Outcome, Refusal, Repeated
from darkroom.schemas.wire import Context, Headers, encode

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Accepted:
    """An accepted command: where its event stands, and what the fold says of it. `repeated`: it had taken
    effect before."""

    topic_id: str
    partition: int
    offset: int
    outcome: Any
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class _ToAppend:
    event_id: str
    key: bytes
    value: bytes
    headers: Headers


class Writer:
    """Decides and appends, against one topic and the own tail of it."""

    def __init__(self, log: EventLog, tail: Tail) -> None:
        self._log = log
        self._tail = tail

    @property
    def partitions(self) -> int:
        return self._log.partitions

    def compare_and_append(
        self, key: str, decide: Callable[[], "_ToAppend | Accepted | Refusal"], deadline: float
    ) -> Accepted:
        """`decide` is called until its result is one that can be answered. `deadline` is on the monotonic
        clock. Raises Refused, LogUnavailable, TailBehind."""
        partition = partition_of(key, self._log.partitions)
        confirmed = False
        while True:
            decision = decide()
            if isinstance(decision, Accepted):
                return decision
            if isinstance(decision, Refusal):
                if confirmed:
                    raise Refused(decision)
                self._tail.barrier(partition, deadline)
                confirmed = True
                continue
            verdict = self._append(partition, decision, deadline)
            if verdict is not None and verdict.accepted:
                return Accepted(self._log.topic_id, partition, verdict.offset, verdict.outcome)
            confirmed = False

    def _append(self, partition: int, event: _ToAppend, deadline: float) -> Verdict | None:
        """The verdict on the appended event; None where only another decision can tell."""
        if self._tail.failure is not None:
            # Its verdict would never come: the event would take effect while everybody is told 503.
            raise TailBehind(f"this instance no longer follows the log: {self._tail.failure}")
        if monotonic() >= deadline:
            raise LogUnavailable("the deadline passed before the event could be appended")
        expected = self._tail.expect(event.event_id)
        try:
            ack = _result(
                self._log.append(partition, event.key, event.value, event.headers),
                deadline,
                LogUnavailable("the broker did not acknowledge the event within the deadline"),
            )
            if ack.offset is None:
                self._tail.barrier(partition, deadline)
                return expected.result(0) if expected.done() else None
            self._tail.wait_until(partition, ack.offset + 1, deadline)
            verdict = _result(expected, deadline, TailBehind("the tail has not told its verdict in time"))
            return verdict if verdict.offset == ack.offset else None
        finally:
            self._tail.forget(event.event_id)


def _result(future: Future[T], deadline: float, late: Exception) -> T:
    try:
        return future.result(max(0.0, deadline - monotonic()))
    except FutureTimeout:
        raise late from None


class JobWriter(Writer):
    """Commands on jobs."""

    def __init__(self, log: EventLog, tail: Tail, heads: HeadStore) -> None:
        super().__init__(log, tail)
        self.heads = heads

    def execute(
        self, job_id: str, command: job.Command, identity: Identity, context: Context, deadline: float
    ) -> Accepted:
        """Lets a command take effect, once. `outcome` of the result is a job.Outcome. Raises Refused,
        LogUnavailable, TailBehind."""

        def decide() -> _ToAppend | Accepted | Refusal:
            head = self.heads.get(job_id)
            seen = self.heads.seen(job_id, identity.command_id)
            decision = job.decide(head, command, identity, seen)
            if isinstance(decision, Refusal):
                return decision
            if isinstance(decision, Repeated):
                return self._repeated(job_id, decision.outcome)
            run, attempt = job.run_and_attempt(decision)
            guard = Guard(
                key=job_id,
                event_id=new_id(),
                type=eventdata.type_of(decision),
                version=head.version + 1 if head else 1,
                prev_id=head.last_event_id if head else "",
                command_id=identity.command_id,
                request_hash=identity.request_hash,
                tenant=identity.tenant,
                run=run,
                attempt=attempt,
            )
            return _ToAppend(guard.event_id, *encode(guard, decision, context))

        return self.compare_and_append(job_id, decide, deadline)

    def head(self, job_id: str, deadline: float) -> job.Head | None:
        """The job's head; behind a barrier if it is unknown so far. Raises LogUnavailable, TailBehind."""
        head = self.heads.get(job_id)
        if head is None:
            self._tail.barrier(partition_of(job_id, self.partitions), deadline)
            head = self.heads.get(job_id)
        return head

    def known(self, job_id: str, command_id: str, deadline: float) -> tuple[job.Head | None, Outcome | None]:
        """The job's head and what the command did before, both behind a barrier. Raises LogUnavailable,
        TailBehind."""
        self._tail.barrier(partition_of(job_id, self.partitions), deadline)
        return self.heads.get(job_id), self.heads.seen(job_id, command_id)

    def _repeated(self, job_id: str, outcome: Outcome) -> Accepted:
        partition = partition_of(job_id, self.partitions)
        return Accepted(self._log.topic_id, partition, outcome.offset, outcome, repeated=True)


class ModelWriter(Writer):
    """Commands on the model catalogue."""

    def __init__(self, log: EventLog, tail: Tail, catalogue: Catalogue) -> None:
        super().__init__(log, tail)
        self.catalogue = catalogue

    def execute(
        self, name: str, command: model.ModelCommand, identity: Identity, context: Context, deadline: float
    ) -> Accepted:
        """As JobWriter.execute; `outcome` of the result is the model.ModelHead after the command."""

        def decide() -> _ToAppend | Accepted | Refusal:
            head = self.catalogue.get(name)
            decision = model.decide(head, command, identity)
            if isinstance(decision, Refusal):
                return decision
            if isinstance(decision, model.AlreadySo):
                partition = partition_of(name, self.partitions)
                return Accepted(self._log.topic_id, partition, decision.offset, head, repeated=True)
            guard = Guard(
                key=name,
                event_id=new_id(),
                type=eventdata.type_of(decision),
                version=head.version + 1,
                prev_id=head.last_event_id,
                command_id=identity.command_id,
                request_hash=identity.request_hash,
                tenant=identity.tenant,
            )
            return _ToAppend(guard.event_id, *encode(guard, decision, context))

        return self.compare_and_append(name, decide, deadline)

    def find(self, reference: str, deadline: float) -> model.Entry | None:
        """The entry of `name` or `name@version`; behind a barrier before it says that there is none, or that
        it is retired. Raises LogUnavailable, TailBehind."""
        entry = self.catalogue.find(reference)
        if entry is None or entry.retired:
            self._tail.barrier(partition_of(reference.partition("@")[0], self.partitions), deadline)
            entry = self.catalogue.find(reference)
        return entry
