"""Takes the steps of `protocol.settle` against a real log and the own tail of it, within a deadline."""

from collections.abc import Callable
from time import monotonic

from darkroom.runtime import failpoints
from darkroom.runtime.catalogue import Catalogue
from darkroom.runtime.eventlog.port import EventLog
from darkroom.runtime.heads import HeadStore
from darkroom.runtime.ids import new_id
from darkroom.runtime.protocol import Accepted, Append, CatchUp, Decision, Steps, Unconfirmed, Verdict, settle
from darkroom.runtime.tail import Tail
from darkroom.schemas import eventdata, job, model
from darkroom.schemas.chain import Guard, partition_of
from darkroom.schemas.errors import LogUnavailable, TailBehind
from darkroom.schemas.job import Identity, Outcome, Refusal, Repeated
from darkroom.schemas.wire import Context, encode


class Writer:
    """Decides and appends, against one topic and the own tail of it. `fresh_id` names each event."""

    def __init__(self, log: EventLog, tail: Tail, fresh_id: Callable[[], str] = new_id) -> None:
        self._log = log
        self._tail = tail
        self._fresh_id = fresh_id

    @property
    def partitions(self) -> int:
        return self._log.partitions

    def _take(self, steps: Steps, key: str, context: Context, deadline: float) -> Accepted:
        partition = partition_of(key, self._log.partitions)
        verdict: Verdict | None = None
        while True:
            try:
                step = steps.send(verdict)
            except StopIteration as end:
                accepted: Accepted = end.value
                failpoints.reach("writer-before-answer")
                return accepted
            match step:
                case CatchUp():
                    self._tail.barrier(partition, deadline)
                    verdict = None
                case Append():
                    verdict = self._append(partition, step, context, deadline)

    def _append(self, partition: int, step: Append, context: Context, deadline: float) -> Verdict | None:
        if self._tail.failure is not None:
            # Its verdict would never come: the event would take effect while everybody is told 503.
            raise TailBehind(f"this instance no longer follows the log: {self._tail.failure}")
        if monotonic() >= deadline:
            raise LogUnavailable("the deadline passed before the event could be appended")
        key, value, headers = encode(step.guard, step.event, context)
        pending = self._tail.expect(step.guard.event_id)
        try:
            failpoints.reach("writer-before-produce")
            self._log.append(partition, key, value, headers).add_done_callback(pending.acknowledged)
            failpoints.reach("writer-after-produce")
            ack, verdict = pending.wait(deadline)
        finally:
            self._tail.forget(step.guard.event_id)
        if ack.offset is None:
            # Where it stands is not told, so neither is whose verdict it is: the next decision finds its effect.
            self._tail.barrier(partition, deadline)
            return None
        assert verdict is not None, "a known offset waits for its verdict"
        return verdict if verdict.offset == ack.offset else None


class JobWriter(Writer):
    """Commands on jobs."""

    def __init__(self, log: EventLog, tail: Tail, heads: HeadStore, fresh_id: Callable[[], str] = new_id) -> None:
        super().__init__(log, tail, fresh_id)
        self.heads = heads

    def execute(
        self,
        job_id: str,
        command: job.Command,
        identity: Identity,
        context: Context,
        deadline: float,
        *,
        new_command: bool = False,
        new_job: bool = False,
    ) -> Accepted:
        """Lets a command take effect, once. `outcome` of the result is a job.Outcome. `deadline` is on the
        monotonic clock. Raises Refused, LogUnavailable, TailBehind."""
        steps = self.steps(job_id, command, identity, new_command=new_command, new_job=new_job)
        return self._take(steps, job_id, context, deadline)

    def steps(
        self,
        job_id: str,
        command: job.Command,
        identity: Identity,
        *,
        new_command: bool = False,
        new_job: bool = False,
    ) -> Steps:
        """The steps that let a command take effect: pure, but for the heads that the own tail has folded.

        What was made for this very call cannot be known yet, and is not looked up before the first try: a
        `new_command`'s id, which must never be handed in again, and a `new_job`'s. (Were the latter wrong, the
        event would be void, and the second try would look.)
        """
        first = True

        def decide() -> Decision:
            nonlocal first
            head = None if first and new_job else self.heads.get(job_id)
            seen = None if first and new_command else self.heads.seen(job_id, identity.command_id)
            first = False
            decision = job.decide(head, command, identity, seen)
            if isinstance(decision, Refusal):
                return decision
            if isinstance(decision, Repeated):
                repeated = self._repeated(job_id, decision.outcome)
                return Unconfirmed(repeated) if decision.confirm else repeated
            run, attempt = job.run_and_attempt(decision)
            guard = Guard(
                key=job_id,
                event_id=self._fresh_id(),
                type=eventdata.type_of(decision),
                version=head.version + 1 if head else 1,
                prev_id=head.last_event_id if head else "",
                command_id=identity.command_id,
                request_hash=identity.request_hash,
                tenant=identity.tenant,
                run=run,
                attempt=attempt,
            )
            return Append(guard, decision)

        return settle(self._log.topic_id, decide)

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

        def decide() -> Append | Accepted | Refusal:
            head = self.catalogue.get(name)
            decision = model.decide(head, command, identity)
            if isinstance(decision, Refusal):
                return decision
            if isinstance(decision, model.AlreadySo):
                partition = partition_of(name, self.partitions)
                return Accepted(self._log.topic_id, partition, decision.offset, head, repeated=True)
            guard = Guard(
                key=name,
                event_id=self._fresh_id(),
                type=eventdata.type_of(decision),
                version=head.version + 1,
                prev_id=head.last_event_id,
                command_id=identity.command_id,
                request_hash=identity.request_hash,
                tenant=identity.tenant,
            )
            return Append(guard, decision)

        return self._take(settle(self._log.topic_id, decide), name, context, deadline)

    def find(self, reference: str, deadline: float) -> tuple[model.ModelHead, model.Entry | None]:
        """The head of a model, and its entry of `name` or `name@version`, both of one moment; behind a barrier
        before it says that there is none, or that it is retired. Raises LogUnavailable, TailBehind."""
        name = reference.partition("@")[0]
        head = self.catalogue.get(name)
        entry = head.find(reference)
        if entry is None or entry.retired:
            self._tail.barrier(partition_of(name, self.partitions), deadline)
            head = self.catalogue.get(name)
            entry = head.find(reference)
        return head, entry
