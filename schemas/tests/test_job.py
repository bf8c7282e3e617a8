"""Every command in every state (the table of the HTTP contract), idempotency, and the executor's commands."""

from dataclasses import replace

import pytest

from darkroom.schemas import job
from darkroom.schemas.job import Status, Why
from darkroom.schemas.testing import (
    CREATED,
    EXPIRED,
    FAILED,
    PROBLEM,
    PROGRESSED,
    PROVENANCE,
    QUEUED,
    RESULTS,
    SPEC,
    STARTED,
    SUCCEEDED,
    TIMING,
    fold,
    given,
)

OTHER_SPEC = replace(SPEC, parameters={"top_k": 1})
PASTS: dict[Status, tuple[job.Event, ...]] = {
    Status.CREATED: (CREATED,),
    Status.QUEUED: (QUEUED,),
    Status.RUNNING: (QUEUED, STARTED),
    Status.SUCCEEDED: (QUEUED, STARTED, SUCCEEDED),
    Status.FAILED: (QUEUED, STARTED, FAILED),
    Status.CANCELLED: (QUEUED, STARTED, job.Cancelled(1)),
    Status.DELETED: (QUEUED, STARTED, job.Deleted(1)),
}
COMMANDS: dict[str, job.Command] = {
    "run": job.RequestRun(OTHER_SPEC),
    "cancel": job.Cancel(),
    "delete": job.Delete(),
    "start": job.Start(1, "executor-1", 15.0),
    "progress": job.Progress(1, 1, "executor-1", 15.0, 1, 2),
    "succeed": job.Succeed(1, 1, RESULTS, None, TIMING, PROVENANCE),
    "fail": job.Fail(1, 1, PROBLEM),
    "fail unstarted": job.Fail(1, 0, PROBLEM),
    "end attempt": job.EndAttempt(1, 1, PROBLEM, 3),
}
AGAIN: dict[str, job.Event] = {"run": job.ExecutionRequested(2, OTHER_SPEC), "delete": job.Deleted(1)}
ACCEPTED: dict[Status, dict[str, job.Event]] = {
    Status.CREATED: {"run": job.ExecutionRequested(1, OTHER_SPEC), "delete": job.Deleted(0)},
    Status.QUEUED: {
        "cancel": job.Cancelled(1),
        "delete": job.Deleted(1),
        "start": STARTED,
        "fail unstarted": job.ExecutionFailed(1, 0, PROBLEM),
    },
    Status.RUNNING: {
        "cancel": job.Cancelled(1),
        "delete": job.Deleted(1),
        "progress": PROGRESSED,
        "succeed": SUCCEEDED,
        "fail": FAILED,
        "end attempt": EXPIRED,
    },
    Status.SUCCEEDED: AGAIN,
    Status.FAILED: AGAIN,
    Status.CANCELLED: AGAIN,
    Status.DELETED: {},
}
"""What every command gives in every state; what is not listed is refused."""


def test_the_table_covers_every_status_and_every_command() -> None:
    assert set(PASTS) == set(ACCEPTED) == set(Status)
    assert {type(c) for c in COMMANDS.values()} | {job.Create} == set(job.Command.__args__)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("status", PASTS)
def test_every_command_in_every_state(status: Status, name: str) -> None:
    head = fold(*PASTS[status])
    assert head is not None
    assert head.status is status
    asked = given(*PASTS[status]).when(COMMANDS[name])
    if name in ACCEPTED[status]:
        asked.then(ACCEPTED[status][name])
    else:
        asked.then_refused(Why.DELETED if status is Status.DELETED else Why.STATE, status)


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_job_and_another_tenants_job_are_refused_alike(name: str) -> None:
    given().when(COMMANDS[name]).then_refused(Why.UNKNOWN)
    for past in PASTS.values():
        given(*past).when(COMMANDS[name], tenant="other").then_refused(Why.UNKNOWN)


@pytest.mark.parametrize("name", ["run", "cancel", "delete"])
@pytest.mark.parametrize("status", PASTS)
def test_a_command_repeated_under_its_key_is_told_the_first_outcome_in_every_state(
    status: Status, name: str
) -> None:
    first = job.Outcome("command", "h", offset=7, version=3, status=Status.QUEUED, run=2)
    given(*PASTS[status]).when(COMMANDS[name], seen=first, keyed=True).then(job.Repeated(first))
    given(*PASTS[status]).when(COMMANDS[name], seen=first, keyed=True, request_hash="other").then_refused(
        Why.KEY_REUSED
    )


@pytest.mark.parametrize("execute", [False, True])
def test_create_makes_the_job_and_asks_for_its_first_run_in_one_event(execute: bool) -> None:
    command = job.Create(SPEC, {"a": "b"}, execute)
    created = job.Created(SPEC, {"a": "b"}, execute)
    given().when(command).then(created)
    assert job.requested_run(created) == ((1, SPEC) if execute else None)
    head = fold(created)
    assert head is not None
    assert (head.status, head.run) == ((Status.QUEUED, 1) if execute else (Status.CREATED, 0))


@pytest.mark.parametrize("status", [s for s in PASTS if s is not Status.DELETED])
def test_put_of_a_known_id(status: Status) -> None:
    executed = PASTS[status][0] is QUEUED
    command = job.Create(SPEC, {}, executed)
    outcome = job.Outcome("c1", "h", 0, 1, Status.QUEUED if executed else Status.CREATED, int(executed))
    given(*PASTS[status]).when(command).then(job.Repeated(outcome, confirm=True))
    given(*PASTS[status]).when(command, request_hash="other").then_refused(Why.KEY_REUSED)
    given(*PASTS[status]).when(command, tenant="other").then_refused(Why.KEY_REUSED)


def test_put_of_a_deleted_id_is_gone_but_the_key_of_its_create_is_answered_for_ever() -> None:
    deleted, command = given(*PASTS[Status.DELETED]), job.Create(SPEC, {}, execute=True)
    first = job.Repeated(job.Outcome("c1", "h", 0, 1, Status.QUEUED, 1))
    deleted.when(command).then_refused(Why.DELETED, Status.DELETED)
    deleted.when(command, command_id="c1", keyed=True).then(first)
    deleted.when(command, command_id="c1", keyed=False).then_refused(Why.DELETED, Status.DELETED)
    deleted.when(command, command_id="another", keyed=True).then_refused(Why.DELETED, Status.DELETED)
    deleted.when(command, request_hash="other").then_refused(Why.KEY_REUSED)


def test_attempts_are_used_up() -> None:
    past: list[job.Event] = [QUEUED]
    for attempt in (1, 2):
        past.append(job.ExecutionStarted(1, attempt, "x", 15.0))
        given(*past).when(job.EndAttempt(1, attempt, PROBLEM, 3)).then(job.AttemptExpired(1, attempt, PROBLEM))
        past.append(job.AttemptExpired(1, attempt, PROBLEM))
        given(*past).when(job.Start(1, "x", 15.0)).then(job.ExecutionStarted(1, attempt + 1, "x", 15.0))
    past.append(job.ExecutionStarted(1, 3, "x", 15.0))
    last = given(*past).when(job.EndAttempt(1, 3, PROBLEM, 3)).decision
    assert isinstance(last, job.ExecutionFailed)
    assert (last.run, last.attempt) == (1, 3)
    assert last.error.type == "urn:darkroom:problem:attempts-exhausted"
    assert PROBLEM.detail in last.error.detail
    assert "3 of 3" in last.error.detail


def test_a_new_run_counts_its_attempts_from_one() -> None:
    again = (QUEUED, STARTED, EXPIRED, job.ExecutionStarted(1, 2, "x", 15.0), job.Cancelled(1))
    given(*again).when(job.RequestRun(SPEC)).then(job.ExecutionRequested(2, SPEC))
    given(*again, job.ExecutionRequested(2, SPEC)).when(job.Start(2, "y", 15.0)).then(
        job.ExecutionStarted(2, 1, "y", 15.0)
    )


@pytest.mark.parametrize("run_and_attempt", [(1, 1), (2, 2), (3, 1)])
def test_only_the_current_attempt_of_the_current_run_may_speak(run_and_attempt: tuple[int, int]) -> None:
    past = given(QUEUED, STARTED, FAILED, job.ExecutionRequested(2, SPEC), job.ExecutionStarted(2, 1, "x", 15.0))
    run, attempt = run_and_attempt
    for command in (
        job.Progress(run, attempt, "x", 15.0, 1, 1),
        job.Succeed(run, attempt, RESULTS, None, TIMING, PROVENANCE),
        job.Fail(run, attempt, PROBLEM),
        job.EndAttempt(run, attempt, PROBLEM, 3),
    ):
        past.when(command).then_refused(Why.STATE, Status.RUNNING)


def test_an_executor_that_comes_late_cannot_start_an_older_run() -> None:
    queued_again = given(QUEUED, job.Cancelled(1), job.ExecutionRequested(2, SPEC))
    queued_again.when(job.Start(1, "x", 15.0)).then_refused(Why.STATE, Status.QUEUED)
    queued_again.when(job.Fail(1, 0, PROBLEM)).then_refused(Why.STATE, Status.QUEUED)


def test_a_run_that_fails_unstarted_after_an_expired_attempt_keeps_the_count() -> None:
    given(QUEUED, STARTED, EXPIRED).when(job.Fail(1, 0, PROBLEM)).then(job.ExecutionFailed(1, 1, PROBLEM))


def test_the_head_points_at_its_first_event_its_request_and_its_last_event() -> None:
    head = fold(QUEUED, STARTED, SUCCEEDED, job.ExecutionRequested(2, SPEC), job.ExecutionStarted(2, 1, "x", 15.0))
    assert head is not None
    assert (head.origin_offset, head.request_offset, head.last_offset) == (0, 3, 4)
    assert (head.version, head.last_event_id, head.run, head.attempt) == (5, "e5", 2, 1)


def test_a_refusal_names_the_state() -> None:
    refusal = given(QUEUED).when(job.RequestRun(SPEC)).decision
    assert isinstance(refusal, job.Refusal)
    assert "queued" in refusal.detail


@pytest.mark.parametrize("command", [job.RequestRun(SPEC), job.Cancel(), job.Delete()])
@pytest.mark.parametrize("status", [Status.CREATED, Status.QUEUED, Status.SUCCEEDED, Status.DELETED])
def test_the_key_of_the_creation_stands_for_nothing_else_ever(status: Status, command: job.Command) -> None:
    """Also when the memory of commands has forgotten it: the head has not."""
    given(*PASTS[status]).when(command, command_id="c1", keyed=True).then_refused(Why.KEY_REUSED)


@pytest.mark.parametrize("command", [job.Cancel(), job.Delete()])
def test_a_condition_holds_at_the_versions_that_it_names(command: job.Command) -> None:
    past = given(*PASTS[Status.RUNNING])  # version 2
    for holds in (job.Condition(frozenset({2})), job.Condition(frozenset({1, 2})), job.Condition(any=True)):
        assert isinstance(past.when(command, condition=holds).decision, job.Cancelled | job.Deleted)
    for fails in (job.Condition(frozenset({1, 3})), job.Condition()):
        past.when(command, condition=fails).then_refused(Why.VERSION, Status.RUNNING)


def test_a_condition_on_a_creation() -> None:
    create = job.Create(SPEC, {}, True)
    stale, right = job.Condition(frozenset({9})), job.Condition(frozenset({2}))
    given().when(create, condition=job.Condition(any=True)).then_refused(Why.VERSION)
    past = given(*PASTS[Status.RUNNING])
    past.when(create, condition=stale).then_refused(Why.VERSION, Status.RUNNING)
    assert isinstance(past.when(create, condition=right).decision, job.Repeated)
    # A repetition under its key gets its first answer.
    assert isinstance(past.when(create, command_id="c1", keyed=True, condition=stale).decision, job.Repeated)
