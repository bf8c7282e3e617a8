"""The checker of the campaign can fail: a recorded history that it finds good, harmed in every way that matters."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from campaign.bounds import Bounds
from campaign.checker import URN, judge
from campaign.history import CANCEL, CREATE, DELETE, RUN, Call, LogRecord, read_calls, read_records
from campaign.logfold import Event, Story, fold
from campaign.rules import PROBLEMS, command_id

PARTITIONS = 4
RECORDED = Path(__file__).parent / "campaign" / "recorded"


@dataclass
class World:
    """A history and a log, to be harmed. `calls` and `log` are replaced, never changed."""

    calls: list[Call]
    log: list[LogRecord]

    def stories(self) -> list[Story]:
        return list(fold(self.log, PARTITIONS).stories.values())

    def call(self, wanted: Callable[[Call], bool]) -> Call:
        """The first call that is as wanted; the recording must have one."""
        return next(call for call in self.calls if wanted(call))

    def change(self, call: Call, **fields: Any) -> None:
        self.calls = [replace(c, **fields) if c.number == call.number else c for c in self.calls]

    def say(self, call: Call, **fields: Any) -> None:
        """Puts other words into the body of a call's answer."""
        self.change(call, body={**call.body, **fields})

    def refuse(self, call: Call, status: int) -> None:
        """Answers a call with a refusal instead."""
        self.change(call, status=status, body={"type": URN + PROBLEMS[status]})

    def drop(self, event: Event) -> None:
        self.log = [record for record in self.log if record is not event.record]

    def append(self, story: Story, kind: str, like: Event, **headers: str) -> None:
        """One more event that counts, at the end of the log."""
        end = max(record.offset for record in self.log if record.partition == like.record.partition) + 1
        said = {
            **like.record.headers,
            "id": "one-more",
            "type": f"darkroom.job.{kind}.v1",
            "streamversion": str(story.last.version + 1),
            "previd": story.last.last_id,
            **headers,
        }
        self.log = [*self.log, replace(like.record, offset=end, headers=said)]

    def story_of(self, call: Call) -> Story:
        return next(story for story in self.stories() if story.job_id == call.job_id)

    def event_of(self, call: Call) -> Event:
        """The effect of a keyed call."""
        return next(e for e in self.story_of(call).accepted if e.command_id == command_id(call))


@pytest.fixture
def world() -> World:
    return World(read_calls(RECORDED / "history.jsonl"), read_records(RECORDED / "log.jsonl"))


def accepted(*ops: str, keyed: bool = False) -> Callable[[Call], bool]:
    return lambda call: call.status == 202 and call.op in ops and (call.key is not None or not keyed)


def answered(status: int, *ops: str) -> Callable[[Call], bool]:
    return lambda call: call.status == status and (not ops or call.op in ops)


def test_the_recorded_history_is_good_and_has_everything_in_it(world: World) -> None:
    assert judge(world.calls, world.log, PARTITIONS) == []
    assert {202, 303, 404, 409, 410, 412, 422, 503} == {call.status for call in world.calls}
    assert sum(len(story.void) for story in world.stories()) > 20


# ---------------------------------------------------------------------------------------------- harm


def an_accepted_event_is_lost(world: World) -> None:
    world.drop(world.event_of(world.call(accepted(RUN, keyed=True))))


def an_answer_of_another_job(world: World) -> None:
    one = world.call(accepted(CREATE))
    world.change(one, body=world.call(lambda c: accepted(CREATE)(c) and c.job_id != one.job_id).body)


def an_id_of_another_job(world: World) -> None:
    one = world.call(accepted(CREATE))
    world.say(one, id=world.call(lambda c: c.job_id != one.job_id).job_id)


def a_202_for_a_void_event(world: World) -> None:
    """The event is made void by another that takes its place in the chain."""
    event = world.event_of(world.call(accepted(RUN, keyed=True)))
    said = {**event.record.headers, "previd": "another"}
    world.log = [replace(r, headers=said) if r is event.record else r for r in world.log]


def a_wrong_version(world: World) -> None:
    one = world.call(accepted(CANCEL, RUN))
    world.say(one, version=one.body["version"] + 1)


def a_wrong_run(world: World) -> None:
    one = world.call(accepted(RUN))
    world.say(one, run=one.body["run"] + 1)


def a_wrong_status(world: World) -> None:
    world.say(world.call(accepted(CREATE)), status="running")


def a_delete_that_is_forbidden(world: World) -> None:
    world.refuse(world.call(accepted(DELETE)), 409)


def a_409_with_a_state_that_never_was(world: World) -> None:
    world.say(world.call(answered(409)), job_status="failed")


def a_404_for_a_deleted_job(world: World) -> None:
    world.refuse(world.call(answered(410)), 404)


def a_410_for_a_job_that_lives(world: World) -> None:
    living = {story.job_id for story in world.stories() if story.last.status != "deleted"}
    world.refuse(world.call(lambda c: c.status == 409 and c.job_id in living), 410)


def a_412_without_a_condition(world: World) -> None:
    world.refuse(world.call(lambda c: c.status == 409 and c.if_match is None), 412)


def a_condition_that_was_not_looked_at(world: World) -> None:
    world.change(world.call(lambda c: accepted(RUN, CANCEL)(c) and c.key is None), if_match='"88"')


def a_422_for_a_key_used_once(world: World) -> None:
    world.refuse(world.call(lambda c: c.status == 410 and c.key is None and c.op != CREATE), 422)


def a_refusal_that_was_true_only_before(world: World) -> None:
    """A stale instance: what it says was so once, but not any more when it was asked."""
    last_s = max(call.end_s for call in world.calls)
    late_ms = max(call.end_wall_ms for call in world.calls)
    early = world.call(lambda c: c.status == 404 and any(s.job_id == c.job_id for s in world.stories()))
    world.change(
        early, begin_s=last_s + 1, end_s=last_s + 2, begin_wall_ms=late_ms + 1000, end_wall_ms=late_ms + 2000
    )


def two_effects_of_one_command(world: World) -> None:
    story = next(s for s in world.stories() if s.last.status == "succeeded")
    like = next(e for e in story.accepted if e.effect and e.effect[0] == RUN)
    world.append(story, "execution-requested", like, run=str(story.last.run + 1))


def an_effect_that_nobody_asked_for(world: World) -> None:
    one = world.call(accepted(RUN, keyed=True))
    world.calls = [call for call in world.calls if (call.job_id, call.key) != (one.job_id, one.key)]


def a_job_that_nobody_asked_for(world: World) -> None:
    one = world.call(accepted(CREATE))
    world.calls = [call for call in world.calls if call.job_id != one.job_id]


def an_effect_before_it_was_asked_for(world: World) -> None:
    one = world.call(accepted(RUN, keyed=True))
    event = world.event_of(one)
    world.log = [replace(r, timestamp_ms=1) if r is event.record else r for r in world.log]


def an_effect_of_a_refused_command(world: World) -> None:
    one = world.call(accepted(CANCEL, keyed=True))
    for call in world.calls:
        if (call.job_id, call.key) == (one.job_id, one.key) and call.status in (202, 303, 503, None):
            world.refuse(call, 409)


def an_effect_of_a_refused_command_without_key(world: World) -> None:
    world.refuse(world.call(lambda c: accepted(RUN)(c) and c.key is None), 409)


def one_effect_for_two_commands(world: World) -> None:
    one = world.call(lambda c: accepted(RUN, CANCEL, DELETE)(c) and c.key is None)
    world.calls = [*world.calls, replace(one, number=-1)]


def another_answer_for_the_same_key(world: World) -> None:
    """A repetition names the job's latest effect, not its own."""

    def repeated(call: Call) -> bool:
        return sum(accepted(call.op, keyed=True)(c) and c.key == call.key for c in world.calls) > 1

    one, latest = next(
        (call, later)
        for call in filter(repeated, world.calls)
        for later in world.calls
        if accepted(CREATE, RUN)(later) and later.job_id == call.job_id and later.body != call.body
    )
    world.change(one, body=latest.body, location=latest.location)


def an_effect_of_another_request(world: World) -> None:
    event = world.event_of(world.call(accepted(RUN, keyed=True)))
    world.log = [replace(r, data={"parameters": {"top_k": 999}}) if r is event.record else r for r in world.log]


def a_job_that_never_ends(world: World) -> None:
    story = next(s for s in world.stories() if s.accepted[-1].type == "execution-succeeded")
    world.drop(story.accepted[-1])


def a_run_that_ends_twice(world: World) -> None:
    story = next(s for s in world.stories() if s.accepted[-1].type == "execution-succeeded")
    world.append(story, "execution-succeeded", story.accepted[-1])


def a_result_of_an_attempt_that_was_over(world: World) -> None:
    story = next(s for s in world.stories() if s.accepted[-1].type == "execution-succeeded")
    last = story.accepted[-1]
    said = {**last.record.headers, "attempt": "7"}
    world.log = [replace(r, headers=said) if r is last.record else r for r in world.log]


def a_cancel_of_what_does_not_run(world: World) -> None:
    story = next(s for s in world.stories() if s.last.status == "succeeded")
    world.append(story, "cancelled", story.accepted[-1], commandid="new", run=str(story.last.run))


def an_answer_before_its_event(world: World) -> None:
    one = world.call(accepted(CREATE))
    late_ms = one.end_wall_ms + 60_000
    first = world.story_of(one).accepted[0]
    world.log = [replace(r, timestamp_ms=late_ms) if r is first.record else r for r in world.log]


def an_event_in_a_foreign_partition(world: World) -> None:
    record = world.log[0]
    world.log = [*world.log, replace(record, partition=(record.partition + 1) % PARTITIONS, offset=10_000)]


def a_303_while_the_run_goes_on(world: World) -> None:
    one = world.call(lambda c: accepted(CREATE)(c) and c.body["status"] == "queued")
    world.change(one, status=303)


def a_500(world: World) -> None:
    world.change(world.call(answered(409)), status=500)


def a_400(world: World) -> None:
    world.change(world.call(accepted(CANCEL)), status=400)


def a_503_without_retry_after(world: World) -> None:
    world.change(world.call(answered(503)), retry_after=None)


def a_problem_of_another_type(world: World) -> None:
    world.say(world.call(answered(422)), type=URN + "invalid-request")


def a_location_of_another_position(world: World) -> None:
    world.change(world.call(accepted(CREATE)), location="http://x/jobs/1?after=elsewhere")


HARM: Sequence[tuple[Callable[[World], None], str]] = [
    (an_accepted_event_is_lost, "names no effect"),
    (an_answer_of_another_job, "names no effect"),
    (an_id_of_another_job, "wrong job"),
    (a_202_for_a_void_event, "names no effect"),
    (a_wrong_version, "wrong outcome"),
    (a_wrong_run, "wrong outcome"),
    (a_wrong_status, "wrong outcome"),
    (a_delete_that_is_forbidden, "refusal never true"),
    (a_409_with_a_state_that_never_was, "refusal never true"),
    (a_404_for_a_deleted_job, "refusal never true"),
    (a_410_for_a_job_that_lives, "refusal never true"),
    (a_412_without_a_condition, "refusal never true"),
    (a_condition_that_was_not_looked_at, "not its effect"),
    (a_422_for_a_key_used_once, "refusal never true"),
    (a_refusal_that_was_true_only_before, "refusal never true"),
    (two_effects_of_one_command, "two effects"),
    (an_effect_that_nobody_asked_for, "nobody asked"),
    (a_job_that_nobody_asked_for, "nobody asked"),
    (an_effect_before_it_was_asked_for, "nobody asked"),
    (an_effect_of_a_refused_command, "refused, yet done"),
    (an_effect_of_a_refused_command_without_key, "refused, yet done"),
    (one_effect_for_two_commands, "one effect, two commands"),
    (another_answer_for_the_same_key, "answers differ"),
    (an_effect_of_another_request, "not its effect"),
    (a_job_that_never_ends, "not ended"),
    (a_run_that_ends_twice, "illegal event"),
    (a_result_of_an_attempt_that_was_over, "illegal event"),
    (a_cancel_of_what_does_not_run, "illegal event"),
    (an_answer_before_its_event, "from the future"),
    (an_event_in_a_foreign_partition, "strange record"),
    (a_303_while_the_run_goes_on, "303 too early"),
    (a_500, "status"),
    (a_400, "status"),
    (a_503_without_retry_after, "no Retry-After"),
    (a_problem_of_another_type, "problem type"),
    (a_location_of_another_position, "wrong Location"),
]


@pytest.mark.parametrize(("harm", "rule"), HARM, ids=[harm.__name__ for harm, _ in HARM])
def test_harm_is_found(harm: Callable[[World], None], rule: str, world: World) -> None:
    harm(world)
    found = {violation.rule for violation in judge(world.calls, world.log, PARTITIONS)}
    assert rule in found, f"found only {found}"


def test_what_nobody_knows_is_no_violation(world: World) -> None:
    """A 202 that never arrived, or came as a 503, leaves an effect that may stand."""
    for number, call in enumerate([call for call in world.calls if call.status == 202]):
        if number % 2:
            world.change(call, status=None, body={}, location=None)
        else:
            world.change(call, status=503, body={}, retry_after="1", location=None)
    assert judge(world.calls, world.log, PARTITIONS) == []


def test_bounds_hold_what_was_seen_before_and_nothing_stamped_after() -> None:
    def record(offset: int, stamp_ms: int, seen_s: float | None) -> LogRecord:
        return LogRecord(0, offset, "", {}, {}, stamp_ms, seen_s)

    bounds = Bounds([record(0, 100, 1.0), record(1, 300, 3.0), record(2, 200, None)], told=[(2.0, 0, 2)])
    assert [bounds.at_least(0, moment_s) for moment_s in (1.0, 1.5, 2.5, 9.0)] == [0, 1, 3, 3]
    assert [bounds.at_most(0, moment_ms) for moment_ms in (99, 100, 250, 300)] == [0, 1, 1, 3]
    assert (bounds.at_least(1, 9.0), bounds.at_most(1, 9)) == (0, 0)
