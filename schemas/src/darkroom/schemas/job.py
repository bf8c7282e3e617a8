"""The job aggregate, top-down: values, events, head and evolve, commands, decide.

Pure: no I/O, no clock, no randomness. Times and ids arrive with the command. The write side never loads a
job: it remembers a small `Head` per job, folded from the guard fields alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, assert_never

from darkroom.schemas.chain import Guard, short_type

# ---------------------------------------------------------------------------------------------- values


class Status(StrEnum):
    """Where a job stands. Drawn as a state diagram in docs/lifecycle.md."""

    CREATED = "created"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DELETED = "deleted"


ACTIVE = frozenset({Status.QUEUED, Status.RUNNING})
TERMINAL = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELLED, Status.DELETED})


@dataclass(frozen=True, slots=True)
class Problem:
    """What went wrong, in the terms of RFC 9457: a stable `type` (URN), a `title`, and a `detail`."""

    type: str
    title: str
    detail: str


@dataclass(frozen=True, slots=True)
class Media:
    """A picture or video in the blob store. `digest` is `sha256:<hex>`; the sizes are those of the upright
    picture."""

    digest: str
    media_type: str
    size_bytes: int
    width_px: int
    height_px: int


@dataclass(frozen=True, slots=True)
class ModelRef:
    """The model a run is pinned to. `digest` is that of the model's file."""

    name: str
    version: str
    digest: str


@dataclass(frozen=True, slots=True)
class BlobRef:
    """A result too large for the log, kept in the blob store (claim check)."""

    digest: str
    size_bytes: int


# ---------------------------------------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class RunSpec:
    """Everything an executor needs for a run, whatever the job was created with."""

    model: ModelRef
    inputs: tuple[Media, ...]
    parameters: Mapping[str, float]
    deadline_s: float
    max_attempts: int


@dataclass(frozen=True, slots=True)
class Created:
    """A job was created; with `execute` its first run is requested in the same event."""

    spec: RunSpec
    labels: Mapping[str, str]
    execute: bool


@dataclass(frozen=True, slots=True)
class ExecutionRequested:
    """Run number `run` was requested, with a spec of its own."""

    run: int
    spec: RunSpec


@dataclass(frozen=True, slots=True)
class ExecutionStarted:
    """An executor took the run: attempt `attempt`. Without a sign of life for `lease_s` it is expired."""

    run: int
    attempt: int
    executor: str
    lease_s: float


@dataclass(frozen=True, slots=True)
class ExecutionProgressed:
    """`done` of `total` inputs are finished."""

    run: int
    attempt: int
    executor: str
    lease_s: float
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class ExecutionSucceeded:
    """The run ended with one result per input, in order; large ones stand in the blob store instead."""

    run: int
    attempt: int
    results: tuple[Mapping[str, Any], ...]
    results_blob: BlobRef | None
    timing: Mapping[str, float]
    provenance: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ExecutionFailed:
    """The run ended without results."""

    run: int
    attempt: int
    error: Problem


@dataclass(frozen=True, slots=True)
class AttemptExpired:
    """An attempt ended without result (its executor was lost, or its model crashed); the run is queued
    again."""

    run: int
    attempt: int
    reason: Problem


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What was queued or running was cancelled."""

    run: int


@dataclass(frozen=True, slots=True)
class Deleted:
    """The job is gone for its users; its media are released."""

    run: int


Event = (
    Created
    | ExecutionRequested
    | ExecutionStarted
    | ExecutionProgressed
    | ExecutionSucceeded
    | ExecutionFailed
    | AttemptExpired
    | Cancelled
    | Deleted
)


def requested_run(event: Event) -> tuple[int, RunSpec] | None:
    """The run that an event asks for, if it asks for one: its number and its spec."""
    match event:
        case Created(spec=spec, execute=True):
            return 1, spec
        case ExecutionRequested(run=run, spec=spec):
            return run, spec
        case _:
            return None


def run_and_attempt(event: Event) -> tuple[int, int]:
    """The `run` and `attempt` that the event's guard carries: those that the job stands at after it."""
    match event:
        case Created(execute=execute):
            return (1 if execute else 0), 0
        case ExecutionRequested(run=run) | Cancelled(run=run) | Deleted(run=run):
            return run, 0
        case (
            ExecutionStarted(run=run, attempt=attempt)
            | ExecutionProgressed(run=run, attempt=attempt)
            | ExecutionSucceeded(run=run, attempt=attempt)
            | ExecutionFailed(run=run, attempt=attempt)
            | AttemptExpired(run=run, attempt=attempt)
        ):
            return run, attempt
        case _:
            assert_never(event)


# ---------------------------------------------------------------------------------------------- head


@dataclass(frozen=True, slots=True)
class Head:
    """What the write side remembers of a job. The three offsets point into the job's partition: its first
    event, the event that requested its latest run, and its last accepted event."""

    tenant: str
    version: int
    last_event_id: str
    status: Status
    run: int
    attempt: int
    create_command_id: str
    create_hash: str
    origin_offset: int
    request_offset: int
    last_offset: int


_STATUS_AFTER = {
    "execution-requested": Status.QUEUED,
    "execution-started": Status.RUNNING,
    "execution-progressed": Status.RUNNING,
    "execution-succeeded": Status.SUCCEEDED,
    "execution-failed": Status.FAILED,
    "attempt-expired": Status.QUEUED,
    "cancelled": Status.CANCELLED,
    "deleted": Status.DELETED,
}


def status_after(before: Status | None, guard: Guard) -> Status:
    """The job's status after an accepted event. A type that this code does not know leaves it as it was."""
    if before is None:
        return Status.QUEUED if guard.run > 0 else Status.CREATED
    if before is Status.DELETED:
        return before
    return _STATUS_AFTER.get(short_type(guard.type), before)


def evolve(head: Head | None, guard: Guard, offset: int) -> Head:
    """The head after an event that `chain.accepts` has accepted. Total: no event of any type raises."""
    status = status_after(head.status if head else None, guard)
    if head is None:
        return Head(
            tenant=guard.tenant,
            version=guard.version,
            last_event_id=guard.event_id,
            status=status,
            run=guard.run,
            attempt=0,
            create_command_id=guard.command_id,
            create_hash=guard.request_hash,
            origin_offset=offset,
            request_offset=offset,
            last_offset=offset,
        )
    requests = short_type(guard.type) == "execution-requested"
    return replace(
        head,
        version=guard.version,
        last_event_id=guard.event_id,
        status=status,
        run=guard.run,
        attempt=0 if requests else max(head.attempt, guard.attempt),
        request_offset=offset if requests else head.request_offset,
        last_offset=offset,
    )


# ---------------------------------------------------------------------------------------------- commands


@dataclass(frozen=True, slots=True)
class Create:
    """Create a job, and ask for its first run if `execute`."""

    spec: RunSpec
    labels: Mapping[str, str]
    execute: bool


@dataclass(frozen=True, slots=True)
class RequestRun:
    """Execute the job (again)."""

    spec: RunSpec


@dataclass(frozen=True, slots=True)
class Cancel:
    """Cancel what is queued or running."""


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete the job, and cancel a run under way."""


@dataclass(frozen=True, slots=True)
class Start:
    """An executor wants to run `run`."""

    run: int
    executor: str
    lease_s: float


@dataclass(frozen=True, slots=True)
class Progress:
    """An executor reports how far its attempt is."""

    run: int
    attempt: int
    executor: str
    lease_s: float
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Succeed:
    """An executor publishes the results of its attempt."""

    run: int
    attempt: int
    results: tuple[Mapping[str, Any], ...]
    results_blob: BlobRef | None
    timing: Mapping[str, float]
    provenance: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Fail:
    """An executor ends the run: trying again would not help. Attempt 0: the run was never started."""

    run: int
    attempt: int
    error: Problem


@dataclass(frozen=True, slots=True)
class EndAttempt:
    """An attempt is over without result: try again, or fail the run once `max_attempts` are used up."""

    run: int
    attempt: int
    reason: Problem
    max_attempts: int


Command = Create | RequestRun | Cancel | Delete | Start | Progress | Succeed | Fail | EndAttempt


@dataclass(frozen=True, slots=True)
class Condition:
    """The command may take effect only while the job stands at one of `versions` (`any`: at whichever). It is
    not part of what a repetition is known by: a command that has taken effect has moved the version itself."""

    versions: frozenset[int] = frozenset()
    any: bool = False

    def holds(self, head: Head | None) -> bool:
        return head is not None and (self.any or head.version in self.versions)


@dataclass(frozen=True, slots=True)
class Identity:
    """Which command this is. `keyed`: the client named it with an idempotency key, and may repeat it."""

    command_id: str
    request_hash: str
    tenant: str
    keyed: bool = False
    condition: Condition | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an accepted command did: the offset of its event in the job's partition, and where the job stood
    after it. Folded from the log, never taken from what was produced."""

    command_id: str
    request_hash: str
    offset: int
    version: int
    status: Status
    run: int


class Why(StrEnum):
    """Why a command is refused; each API maps these to its own answers."""

    UNKNOWN = "unknown"
    DELETED = "deleted"
    STATE = "state"
    VERSION = "version"
    KEY_REUSED = "key-reused"


@dataclass(frozen=True, slots=True)
class Refusal:
    """The command may not take effect. `status`: where the job stands, if there is one."""

    why: Why
    detail: str
    status: Status | None = None


@dataclass(frozen=True, slots=True)
class Repeated:
    """The command has already taken effect: the first outcome again. `confirm`: only as long as the job is not
    deleted, so whoever knows the job may have to look behind a barrier first."""

    outcome: Outcome
    confirm: bool = False


Decision = Event | Repeated | Refusal


# ---------------------------------------------------------------------------------------------- decide


def decide(head: Head | None, command: Command, identity: Identity, seen: Outcome | None) -> Decision:
    """One command makes at most one event.

    `seen` is the outcome remembered under this command's id, if any. The result is the event to append, the
    first outcome of a repeated command, or a refusal (which the caller confirms behind a barrier).
    """
    if isinstance(command, Create):
        return _decide_create(head, command, identity)
    if seen is not None:
        return Repeated(seen) if seen.request_hash == identity.request_hash else _key_reused()
    if head is None or head.tenant != identity.tenant:
        return Refusal(Why.UNKNOWN, "There is no such job.")
    if identity.command_id == head.create_command_id:  # the key of its creation, which is never forgotten
        return _key_reused()
    if head.status is Status.DELETED:
        return Refusal(Why.DELETED, "The job was deleted.", head.status)
    if identity.condition is not None and not identity.condition.holds(head):
        return _version_differs(head)
    match command:
        case RequestRun(spec=spec):
            if head.status in ACTIVE:
                return _forbidden(head, "executed again before its current run has ended")
            return ExecutionRequested(run=head.run + 1, spec=spec)
        case Cancel():
            if head.status not in ACTIVE:
                return _forbidden(head, "cancelled")
            return Cancelled(run=head.run)
        case Delete():
            return Deleted(run=head.run)
        case Start(run=run, executor=executor, lease_s=lease_s):
            if head.status is not Status.QUEUED or head.run != run:
                return _forbidden(head, f"started with run {run}")
            return ExecutionStarted(run=run, attempt=head.attempt + 1, executor=executor, lease_s=lease_s)
        case Fail(run=run, attempt=0, error=error):
            if head.status is not Status.QUEUED or head.run != run:
                return _forbidden(head, f"failed before the start of run {run}")
            return ExecutionFailed(run=run, attempt=head.attempt, error=error)
        case Progress() | Succeed() | Fail() | EndAttempt():
            return _decide_attempt(head, command)
        case _:
            assert_never(command)


def _decide_create(head: Head | None, command: Create, identity: Identity) -> Decision:
    if head is None:
        if identity.condition is not None:
            return _version_differs(head)
        return Created(spec=command.spec, labels=command.labels, execute=command.execute)
    if head.tenant != identity.tenant or head.create_hash != identity.request_hash:
        return _key_reused()
    by_key = identity.keyed and head.create_command_id == identity.command_id
    if head.status is Status.DELETED and not by_key:
        return Refusal(Why.DELETED, "The job was deleted.", head.status)
    if identity.condition is not None and not by_key and not identity.condition.holds(head):
        return _version_differs(head)
    return Repeated(
        Outcome(
            command_id=head.create_command_id,
            request_hash=head.create_hash,
            offset=head.origin_offset,
            version=1,
            status=Status.QUEUED if command.execute else Status.CREATED,
            run=1 if command.execute else 0,
        ),
        confirm=not by_key,
    )


def _decide_attempt(head: Head, command: Progress | Succeed | Fail | EndAttempt) -> Decision:
    if head.status is not Status.RUNNING or (head.run, head.attempt) != (command.run, command.attempt):
        return _forbidden(head, f"changed by attempt {command.attempt} of run {command.run}")
    match command:
        case Progress(run=run, attempt=attempt, executor=executor, lease_s=lease_s, done=done, total=total):
            return ExecutionProgressed(run, attempt, executor, lease_s, done, total)
        case Succeed(run=run, attempt=attempt):
            return ExecutionSucceeded(
                run, attempt, command.results, command.results_blob, command.timing, command.provenance
            )
        case Fail(run=run, attempt=attempt, error=error):
            return ExecutionFailed(run, attempt, error)
        case EndAttempt(run=run, attempt=attempt, reason=reason, max_attempts=max_attempts):
            if attempt < max_attempts:
                return AttemptExpired(run, attempt, reason)
            return ExecutionFailed(
                run,
                attempt,
                Problem(
                    "urn:darkroom:problem:attempts-exhausted",
                    "Every attempt at this run ended without a result",
                    f"{attempt} of {max_attempts} attempts; the last one: {reason.title}: {reason.detail}",
                ),
            )
        case _:
            assert_never(command)


def _forbidden(head: Head, what: str) -> Refusal:
    return Refusal(Why.STATE, f"A job that is {head.status} cannot be {what}.", head.status)


def _version_differs(head: Head | None) -> Refusal:
    if head is None:
        return Refusal(Why.VERSION, "There is no such job yet, so it stands at no version.")
    return Refusal(Why.VERSION, f"The job stands at version {head.version}.", head.status)


def _key_reused() -> Refusal:
    return Refusal(Why.KEY_REUSED, "This id or idempotency key was used before with another request.")
