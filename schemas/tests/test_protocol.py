"""A small model check of compare-and-append by fold: several writers with lagging tails, late and lost
acknowledgements, crashes, and commands repeated through other writers, over the real decide, evolve and accepts.

The checker proves itself: with the verdict rule, the barrier or the memory of commands taken out it must fail.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule, run_state_machine_as_test

from darkroom.schemas import eventdata, job, wire
from darkroom.schemas.chain import Guard, accepts, short_type
from darkroom.schemas.job import Status
from darkroom.schemas.testing import PROBLEM, RESULTS, SPEC, TIMING

JOBS = ("job-1", "job-2")
WRITERS = 3
LEGAL: dict[Status | None, dict[str, tuple[Status, ...]]] = {
    None: {"created": (Status.CREATED, Status.QUEUED)},
    Status.CREATED: {"execution-requested": (Status.QUEUED,), "deleted": (Status.DELETED,)},
    Status.QUEUED: {
        "execution-started": (Status.RUNNING,),
        "execution-failed": (Status.FAILED,),
        "cancelled": (Status.CANCELLED,),
        "deleted": (Status.DELETED,),
    },
    Status.RUNNING: {
        "execution-progressed": (Status.RUNNING,),
        "execution-succeeded": (Status.SUCCEEDED,),
        "execution-failed": (Status.FAILED,),
        "attempt-expired": (Status.QUEUED,),
        "cancelled": (Status.CANCELLED,),
        "deleted": (Status.DELETED,),
    },
    Status.DELETED: {},
} | {
    ended: {"execution-requested": (Status.QUEUED,), "deleted": (Status.DELETED,)}
    for ended in (Status.SUCCEEDED, Status.FAILED, Status.CANCELLED)
}
"""The state diagram, drawn a second time: what may follow in each status, and where it leads."""

COMMANDS = st.one_of(
    st.builds(job.Create, st.just(SPEC), st.just({}), st.booleans()),
    st.sampled_from([job.RequestRun(SPEC), job.Cancel(), job.Delete()]),
    st.builds(job.Start, st.integers(1, 2), st.just("x"), st.just(15.0)),
    st.builds(
        job.Progress, st.integers(1, 2), st.integers(1, 2), st.just("x"), st.just(15.0), st.just(1), st.just(2)
    ),
    st.builds(
        job.Succeed, st.integers(1, 2), st.integers(1, 2), st.just(RESULTS), st.none(), st.just(TIMING), st.just({})
    ),
    st.builds(job.Fail, st.integers(1, 2), st.integers(0, 2), st.just(PROBLEM)),
    st.builds(job.EndAttempt, st.integers(1, 2), st.integers(1, 2), st.just(PROBLEM), st.just(2)),
)


@dataclass
class Fold:
    """What one reader of the log knows: the heads, and the outcomes of commands."""

    rule: Callable[[int, str, Guard], bool]
    next_offset: int = 0
    heads: dict[str, job.Head] = field(default_factory=dict)
    outcomes: dict[tuple[str, str], job.Outcome] = field(default_factory=dict)
    accepted: set[int] = field(default_factory=set)

    def read(self, log: list[tuple[Guard, job.Event]], until: int) -> None:
        for offset in range(self.next_offset, until):
            guard, _ = log[offset]
            head = self.heads.get(guard.key)
            if self.rule(head.version if head else 0, head.last_event_id if head else "", guard):
                head = self.heads[guard.key] = job.evolve(head, guard, offset)
                self.accepted.add(offset)
                self.outcomes.setdefault(
                    (guard.key, guard.command_id),
                    job.Outcome(guard.command_id, guard.request_hash, offset, head.version, head.status, head.run),
                )
        self.next_offset = max(self.next_offset, until)


@dataclass
class Request:
    """A client's request under way at a writer. `appended`: the offset of its event, once there is one."""

    writer: int
    job_id: str
    command: job.Command
    identity: job.Identity
    appended: int | None = None
    confirmed: bool = False
    done: bool = False


class Protocol(RuleBasedStateMachine):
    """Each rule is one step that real processes could take in any order."""

    requests = Bundle("requests")
    verdict_rule = staticmethod(accepts)
    with_barrier = True
    with_memory = True

    def __init__(self) -> None:
        super().__init__()
        self.log: list[tuple[Guard, job.Event]] = []
        self.writers = [Fold(self.verdict_rule) for _ in range(WRITERS)]
        self.truth = Fold(accepts)
        self.answers: dict[tuple[str, str], tuple[int, Status]] = {}
        self.commands = 0

    @rule(target=requests, writer=st.integers(0, WRITERS - 1), job_id=st.sampled_from(JOBS), command=COMMANDS)
    def ask(self, writer: int, job_id: str, command: job.Command) -> Request:
        self.commands += 1
        identity = job.Identity(f"c{self.commands}", repr(command), "default", keyed=True)
        return self._decide(Request(writer, job_id, command, identity))

    @rule(target=requests, request=requests, writer=st.integers(0, WRITERS - 1))
    def repeat_through_any_writer(self, request: Request, writer: int) -> Request:
        return self._decide(replace(request, writer=writer, appended=None, confirmed=False, done=False))

    @rule(request=requests)
    def acknowledge(self, request: Request) -> None:
        """The acknowledgement arrives: the tail passes the event, and its verdict is read."""
        if request.done or request.appended is None:
            return
        writer = self.writers[request.writer]
        writer.read(self.log, request.appended + 1)
        if request.appended in writer.accepted:
            self._answer(request, writer.outcomes[request.job_id, request.identity.command_id])
        else:
            request.appended, request.confirmed = None, False
            self._decide(request)

    @rule(writer=st.integers(0, WRITERS - 1), records=st.integers(1, 5))
    def follow(self, writer: int, records: int) -> None:
        fold = self.writers[writer]
        fold.read(self.log, min(len(self.log), fold.next_offset + records))

    @rule(target=requests, writer=st.integers(0, WRITERS - 1))
    def crash(self, writer: int) -> object:
        """The writer forgets all, and reads from the first offset again; its requests are never answered."""
        self.writers[writer] = Fold(self.verdict_rule)
        return multiple()

    def _decide(self, request: Request) -> Request:
        writer = self.writers[request.writer]
        head = writer.heads.get(request.job_id)
        seen = writer.outcomes.get((request.job_id, request.identity.command_id)) if self.with_memory else None
        decision = job.decide(head, request.command, request.identity, seen)
        match decision:
            case job.Repeated(outcome=outcome):
                self._answer(request, outcome)
            case job.Refusal():
                if not request.confirmed and self.with_barrier:
                    request.confirmed = True
                    writer.read(self.log, len(self.log))
                    return self._decide(request)
                self._refuse(request, decision)
            case _:
                self._append(request, head, decision)
        return request

    def _append(self, request: Request, head: job.Head | None, event: job.Event) -> None:
        run, attempt = job.run_and_attempt(event)
        guard = Guard(
            request.job_id,
            f"e{len(self.log)}",
            eventdata.type_of(event),
            head.version + 1 if head else 1,
            head.last_event_id if head else "",
            request.identity.command_id,
            request.identity.request_hash,
            request.identity.tenant,
            run,
            attempt,
        )
        request.appended = len(self.log)
        self.log.append((guard, event))

    def _answer(self, request: Request, outcome: job.Outcome) -> None:
        """An acceptance is true in the log, and the same for every repetition."""
        request.done = True
        self.truth.read(self.log, len(self.log))
        assert outcome.offset in self.truth.accepted
        assert self.log[outcome.offset][0].request_hash == request.identity.request_hash
        answer = (outcome.offset, outcome.status)
        name = (request.job_id, request.identity.command_id)
        assert self.answers.setdefault(name, answer) == answer

    def _refuse(self, request: Request, refusal: job.Refusal) -> None:
        """A refusal is what the whole log says at this moment."""
        request.done = True
        self.truth.read(self.log, len(self.log))
        head = self.truth.heads.get(request.job_id)
        seen = self.truth.outcomes.get((request.job_id, request.identity.command_id))
        assert job.decide(head, request.command, request.identity, seen) == refusal
        assert (
            request.job_id,
            request.identity.command_id,
        ) not in self.answers or refusal.why is job.Why.KEY_REUSED

    @invariant()
    def the_log_tells_one_legal_story(self) -> None:
        self.truth.read(self.log, len(self.log))
        effects: dict[tuple[str, str], int] = {}
        statuses: dict[str, Status | None] = dict.fromkeys(JOBS)
        chain: dict[str, list[Guard]] = {name: [] for name in JOBS}
        for offset in sorted(self.truth.accepted):
            guard, event = self.log[offset]
            kind = short_type(guard.type)
            status = job.status_after(statuses[guard.key], guard)
            assert status in LEGAL[statuses[guard.key]].get(kind, ()), f"{kind} in {statuses[guard.key]}"
            statuses[guard.key] = status
            chain[guard.key].append(guard)
            effects[guard.key, guard.command_id] = effects.get((guard.key, guard.command_id), 0) + 1
            assert (guard.run, guard.attempt) == job.run_and_attempt(event)
        assert all(count == 1 for count in effects.values()), "a command took effect twice"
        for guards in chain.values():
            assert [g.version for g in guards] == list(range(1, len(guards) + 1))
            assert [g.prev_id for g in guards[1:]] == [g.event_id for g in guards[:-1]]

    @invariant()
    def writers_that_have_read_the_same_know_the_same(self) -> None:
        for fold in self.writers:
            if fold.next_offset == self.truth.next_offset:
                assert (fold.heads, fold.accepted) == (self.truth.heads, self.truth.accepted)


SIZE = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)


def test_the_protocol_keeps_its_promises() -> None:
    run_state_machine_as_test(Protocol, settings=SIZE)


class _VersionAndChainIgnored(Protocol):
    verdict_rule = staticmethod(lambda version, last, guard: True)


class _NoBarrier(Protocol):
    with_barrier = False


class _NoMemory(Protocol):
    with_memory = False


@pytest.mark.parametrize("broken", [_VersionAndChainIgnored, _NoBarrier, _NoMemory])
def test_the_check_finds_what_is_taken_out(broken: type[Protocol]) -> None:
    without_shrinking = settings(SIZE, max_examples=300, phases=[Phase.generate], database=None, derandomize=True)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(broken, settings=without_shrinking)


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
