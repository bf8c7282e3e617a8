"""The state diagram, held against `decide` and `evolve`; and folds from headers against folds from bodies."""

from itertools import product

import pytest

from darkroom.schemas import eventdata, job, wire
from darkroom.schemas.chain import Guard, accepts, short_type
from darkroom.schemas.job import Status
from darkroom.schemas.testing import PROBLEM, PROVENANCE, RESULTS, SPEC, TIMING

ENDED = (Status.SUCCEEDED, Status.FAILED, Status.CANCELLED)
LEGAL: dict[tuple[Status, str], Status] = {
    (Status.CREATED, "execution-requested"): Status.QUEUED,
    (Status.CREATED, "deleted"): Status.DELETED,
    (Status.QUEUED, "execution-started"): Status.RUNNING,
    (Status.QUEUED, "execution-failed"): Status.FAILED,
    (Status.QUEUED, "cancelled"): Status.CANCELLED,
    (Status.QUEUED, "deleted"): Status.DELETED,
    (Status.RUNNING, "execution-progressed"): Status.RUNNING,
    (Status.RUNNING, "execution-succeeded"): Status.SUCCEEDED,
    (Status.RUNNING, "execution-failed"): Status.FAILED,
    (Status.RUNNING, "attempt-expired"): Status.QUEUED,
    (Status.RUNNING, "cancelled"): Status.CANCELLED,
    (Status.RUNNING, "deleted"): Status.DELETED,
    **{(ended, "execution-requested"): Status.QUEUED for ended in ENDED},
    **{(ended, "deleted"): Status.DELETED for ended in ENDED},
}
"""The state diagram, drawn a second time: what may follow in each status, and where it leads."""

COMMANDS: tuple[job.Command, ...] = (
    job.RequestRun(SPEC),
    job.Cancel(),
    job.Delete(),
    *(job.Start(run, "x", 15.0) for run in (1, 2)),
    *(job.Progress(run, attempt, "x", 15.0, 1, 2) for run, attempt in product((1, 2), (1, 2))),
    *(job.Succeed(run, attempt, RESULTS, None, TIMING, PROVENANCE) for run, attempt in product((1, 2), (1, 2))),
    *(job.Fail(run, attempt, PROBLEM) for run, attempt in product((1, 2), (0, 1, 2))),
    *(job.EndAttempt(run, attempt, PROBLEM, most) for run, attempt, most in product((1, 2), (1, 2), (1, 2))),
)
IDENTITY = job.Identity("c", "h", "default")


def head_at(status: Status, run: int, attempt: int) -> job.Head:
    return job.Head("default", 3, "e3", status, run, attempt, "c1", "h1", 0, 0, 2)


def guard_of(event: job.Event, version: int, prev_id: str) -> Guard:
    run, attempt = job.run_and_attempt(event)
    kind = eventdata.type_of(event)
    return Guard("k", f"e{version}", kind, version, prev_id, "c", "h", "default", run, attempt)


def test_every_decision_goes_a_way_that_the_diagram_has_and_every_way_is_gone() -> None:
    gone = set()
    for status, run, attempt, command in product(Status, (1, 2), (0, 1, 2), COMMANDS):
        head = head_at(status, run, attempt)
        decision = job.decide(head, command, IDENTITY, None)
        if isinstance(decision, job.Refusal):
            assert decision.status is status
            continue
        assert not isinstance(decision, job.Repeated)
        guard = guard_of(decision, head.version + 1, head.last_event_id)
        assert accepts(head.version, head.last_event_id, guard)
        after = job.evolve(head, guard, 7)
        way = status, short_type(guard.type)
        assert LEGAL.get(way) is after.status, f"{way} leads to {after.status}"
        assert (after.version, after.last_event_id, after.last_offset) == (4, guard.event_id, 7)
        gone.add(way)
    assert gone == set(LEGAL)


@pytest.mark.parametrize(("execute", "status"), [(False, Status.CREATED), (True, Status.QUEUED)])
def test_a_chain_begins_with_created_alone(execute: bool, status: Status) -> None:
    event = job.decide(None, job.Create(SPEC, {}, execute), IDENTITY, None)
    assert isinstance(event, job.Created)
    assert job.evolve(None, guard_of(event, 1, ""), 0).status is status
    for command in COMMANDS:
        assert isinstance(job.decide(None, command, IDENTITY, None), job.Refusal)


def test_folds_from_headers_equal_folds_from_bodies() -> None:
    """The same record through its headers and through its body gives the same guard, hence the same head."""
    context = wire.Context("/t", wire.datetime(2026, 1, 1, tzinfo=wire.UTC), "a", "b", "c")
    events: list[job.Event] = [
        job.Created(SPEC, {}, True),
        job.ExecutionStarted(1, 1, "x", 1.0),
        job.AttemptExpired(1, 1, PROBLEM),
        job.ExecutionFailed(1, 1, PROBLEM),
        job.ExecutionRequested(2, SPEC),
        job.Cancelled(2),
        job.Deleted(2),
    ]
    by_headers = by_bodies = None
    previous = ""
    for number, event in enumerate(events, 1):
        run, attempt = job.run_and_attempt(event)
        guard = Guard("k", f"e{number}", eventdata.type_of(event), number, previous, "c", "h", "t", run, attempt)
        previous = guard.event_id
        key, value, headers = wire.encode(guard, event, context)
        by_headers = job.evolve(by_headers, wire.read_guard(key, headers), number)
        envelope = wire.read_envelope(guard, value, headers)
        a = envelope.attributes
        run, attempt = job.run_and_attempt(envelope.event)
        from_body = Guard(
            a["subject"],
            a["id"],
            a["type"],
            a["streamversion"],
            a["previd"],
            a["commandid"],
            a["requesthash"],
            a["tenant"],
            run,
            attempt,
        )
        by_bodies = job.evolve(by_bodies, from_body, number)
        assert by_headers == by_bodies
