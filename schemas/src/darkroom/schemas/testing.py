"""given(events).when(command).then(event or refusal): the write side's rules as short tests.

given(created()).when(job.Cancel()).then(job.Cancelled(run=1))
"""

from dataclasses import dataclass
from typing import Any

from darkroom.schemas import eventdata, job
from darkroom.schemas.chain import Guard, accepts


def guard_for(event: job.Event, version: int, prev_id: str, *, key: str = "job", command: str = "") -> Guard:
    """A guard that continues a chain at `version - 1`; event ids are `e1`, `e2`, … by version."""
    run, attempt = job.run_and_attempt(event)
    return Guard(
        key=key,
        event_id=f"e{version}",
        type=eventdata.type_of(event),
        version=version,
        prev_id=prev_id,
        command_id=command or f"c{version}",
        request_hash="h",
        tenant="default",
        run=run,
        attempt=attempt,
    )


def fold(*events: job.Event) -> job.Head | None:
    """The head after the events, each accepted, at offsets 0, 1, …"""
    head: job.Head | None = None
    for offset, event in enumerate(events):
        version, last = (head.version, head.last_event_id) if head else (0, "")
        guard = guard_for(event, version + 1, last)
        assert accepts(version, last, guard)
        head = job.evolve(head, guard, offset)
    return head


@dataclass(frozen=True)
class Scenario:
    """A job's past, and then a command."""

    past: tuple[job.Event, ...]
    decision: job.Decision | None = None

    def when(
        self,
        command: job.Command,
        *,
        command_id: str = "command",
        request_hash: str = "h",
        tenant: str = "default",
        keyed: bool = False,
        seen: job.Outcome | None = None,
        condition: job.Condition | None = None,
    ) -> "Scenario":
        identity = job.Identity(command_id, request_hash, tenant, keyed, condition)
        return Scenario(self.past, job.decide(fold(*self.past), command, identity, seen))

    def then(self, expected: job.Event | job.Repeated) -> None:
        assert self.decision == expected, f"{self.decision} is not {expected}"

    def then_refused(self, why: job.Why, status: job.Status | None = None) -> None:
        assert isinstance(self.decision, job.Refusal), f"{self.decision} is no refusal"
        assert (self.decision.why, self.decision.status) == (why, status)


def given(*events: job.Event) -> Scenario:
    """A job with this past (none: an unknown job)."""
    return Scenario(events)


DIGEST = "sha256:" + "ab" * 32
SPEC = job.RunSpec(
    model=job.ModelRef("shapes-classifier", "1", DIGEST),
    inputs=(job.Media(DIGEST, "image/png", 1234, 64, 48),),
    parameters={"top_k": 5},
    deadline_s=60.0,
    max_attempts=3,
)
PROBLEM = job.Problem("urn:darkroom:problem:model-crashed", "The model crashed", "Signal 11.")
RESULTS: tuple[dict[str, Any], ...] = (
    {"input": 0, "kind": "classification", "classes": [{"index": 1, "label": "circle", "score": 0.75}]},
)
TIMING = {"queued_ms": 1.5, "running_ms": 20.0}
PROVENANCE = {"model": {"name": "shapes-classifier", "version": "1", "digest": DIGEST}}

CREATED = job.Created(SPEC, {"batch": "42"}, execute=False)
QUEUED = job.Created(SPEC, {"batch": "42"}, execute=True)
STARTED = job.ExecutionStarted(1, 1, "executor-1", 15.0)
PROGRESSED = job.ExecutionProgressed(1, 1, "executor-1", 15.0, 1, 2)
SUCCEEDED = job.ExecutionSucceeded(1, 1, RESULTS, None, TIMING, PROVENANCE)
FAILED = job.ExecutionFailed(1, 1, PROBLEM)
EXPIRED = job.AttemptExpired(1, 1, PROBLEM)
"""Events of a job's first run and attempt, with data that every reader accepts."""
