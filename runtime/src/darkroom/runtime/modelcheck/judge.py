"""The judge: what must hold of every answer and of every fold, whatever happened."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

from darkroom.runtime.eventlog.port import Record
from darkroom.runtime.modelcheck.broker import Broker
from darkroom.runtime.modelcheck.reference import Entry, Known, Reference, Violation, meets, refusal
from darkroom.runtime.protocol import Accepted, Verdict
from darkroom.schemas import job
from darkroom.schemas.chain import partition_of


@dataclass(slots=True, eq=False)
class Request:
    """A client's (or an executor's) request. `reasons`: every refusal that was true since it was made.
    `after_stop`: it was made when its instance's tail had already stopped. `new_job`, `new_command`: the writer is
    told that nobody can know the job (rightly or wrongly) or the command yet.
    """

    job_id: str
    command: job.Command
    identity: job.Identity
    partition: int
    number: int
    instance: object = None
    reasons: set[str] = field(default_factory=set)
    answer: Accepted | job.Refusal | Exception | None = None
    done: bool = False
    after_stop: bool = False
    new_job: bool = False
    new_command: bool = False

    def __str__(self) -> str:
        kind, identity = type(self.command).__name__, self.identity
        condition = f", if at {sorted(identity.condition.versions) or 'any'}" if identity.condition else ""
        asked = f"{kind} of {self.job_id}, {identity.command_id}/{identity.request_hash}{condition}"
        return f"request {self.number} ({asked})"


class Judge:
    """Sees the whole world. Everything raises Violation."""

    def __init__(self, broker: Broker, window: int) -> None:
        self.counts: Counter[str] = Counter()
        self.live: list[Request] = []
        self._broker = broker
        self._window = window
        self._answers: dict[tuple[str, str, str], Entry] = {}
        broker.on_change = self._changed

    def begins(self, request: Request) -> None:
        self.live.append(request)
        self._note(request, self._broker.logs[request.partition])

    def ends(self, request: Request) -> None:
        """An instance died with it: it gets no answer."""
        self.live.remove(request)
        self.counts["no answer"] += 1

    def answered(self, request: Request, *, excused: bool) -> None:
        """The request has its answer. `excused`: its instance was reading a log whose end is lost, and did
        not know when it was asked."""
        self.live.remove(request)
        match request.answer:
            case Accepted() as accepted:
                self._accepted(request, accepted)
            case job.Refusal(why=why, status=status):
                said = f"{why.value} {status.value}" if status else why.value
                self.counts[said.split()[0]] += 1
                if said not in request.reasons and not excused:
                    true = ", ".join(request.reasons) or "nothing"
                    raise Violation(f"{request} was refused as {said!r}; true since it was made: {true}")
            case _:
                self.counts["503"] += 1

    def folded(self, who: object, records: Sequence[Record], verdicts: Sequence[Verdict]) -> None:
        """An instance has folded these. All folds agree, at every offset, with the reference."""
        told = {(v.partition, v.offset): v for v in verdicts}
        if len(told) != len(verdicts):
            raise Violation(f"{who} gave two verdicts on one record: {verdicts}")
        for record in records:
            entries = self._broker.logs[record.partition].entries
            if record.offset >= len(entries) or entries[record.offset].record is not record:
                continue  # lost since it was fetched
            entry = entries[record.offset]
            verdict = told.get((record.partition, record.offset))
            if (verdict.accepted if verdict else None) != entry.accepted:
                raise Violation(f"{who} finds {verdict} where the log says {entry}")
            if verdict and verdict.accepted and not _is_outcome(verdict.outcome, entry):
                raise Violation(f"{who} tells {verdict.outcome} of {entry}")

    def same_heads(self, who: object, get: "dict[str, job.Head | None]") -> None:
        """An instance that has read everything knows what the reference knows."""
        for job_id, head in get.items():
            log = self._broker.logs[partition_of(job_id, self._broker.partitions)]
            if _known(head) != log.jobs.get(job_id):
                raise Violation(f"{who} knows {head} of {job_id}; the log says {log.jobs.get(job_id)}")

    def _changed(self, partition: int) -> None:
        log = self._broker.logs[partition]
        for request in self.live:
            if request.partition == partition:
                self._note(request, log)

    def _note(self, request: Request, log: Reference) -> None:
        seen = log.remembered(request.job_id, request.identity.command_id)
        reason = refusal(log.jobs.get(request.job_id), seen, request.command, request.identity)
        if reason is not None:
            request.reasons.add(reason)

    def _accepted(self, request: Request, accepted: Accepted) -> None:
        self.counts["repeated" if accepted.repeated else "202"] += 1
        entry = self._entry(request, accepted)
        # The same key and body: the same answer, unless its event was lost since, or forgotten.
        identity = request.identity
        name = (request.job_id, identity.command_id, identity.request_hash)
        first = self._answers.setdefault(name, entry)
        log = self._broker.logs[request.partition]
        if first is not entry and identity.keyed:
            if log.stands(first) and log.stands(entry) and abs(entry.offset - first.offset) <= self._window:
                raise Violation(f"{request} was answered with offset {first.offset} before, now {entry.offset}")
            self._answers[name] = entry

    def _entry(self, request: Request, accepted: Accepted) -> Entry:
        """The accepted event that a 202 speaks of: in the log, or lost by the broker after it was accepted."""
        log = self._broker.logs[request.partition]
        outcome = accepted.outcome
        candidates = [e for e in log.lost if e.offset == accepted.offset]
        if accepted.offset < log.end:
            candidates.append(log.entries[accepted.offset])
        identity = request.identity
        for entry in reversed(candidates):
            mine = entry.request_hash == identity.request_hash and (
                entry.command_id == identity.command_id
                or (isinstance(request.command, job.Create) and entry.before is None)
            )
            condition = identity.condition
            mine = mine and (
                condition is None or isinstance(request.command, job.Create) or meets(entry.before, condition)
            )
            if mine and entry.accepted and entry.key == request.job_id and _is_outcome(outcome, entry):
                return entry
        raise Violation(f"{request} was answered 202 with {accepted}; the log has {candidates or 'nothing'} there")


_FIELDS = [field.name for field in fields(job.Head)]


def _known(head: job.Head | None) -> Known | None:
    return Known(*(getattr(head, name) for name in _FIELDS)) if head is not None else None


def _is_outcome(outcome: object, entry: Entry) -> bool:
    after = entry.after
    assert after is not None
    return isinstance(outcome, job.Outcome) and (
        outcome.command_id,
        outcome.request_hash,
        outcome.offset,
        outcome.version,
        outcome.status,
        outcome.run,
    ) == (entry.command_id, entry.request_hash, entry.offset, after.version, after.status, after.run)
