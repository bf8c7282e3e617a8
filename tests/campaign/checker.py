"""Judges every answer of a history by the log alone.

An answer is right if it was true at some length of the job's partition between the shortest it can have had when
the request was made and the longest it can have had when the answer came (`bounds`). A 503, and an answer that
never came, say nothing: the command may or may not have taken effect, once.
"""

import base64
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from campaign.bounds import Bounds
from campaign.effects import judge_effects
from campaign.history import Call, LogRecord
from campaign.logfold import ACTIVE, LogFold, State, Story, fold, partition_of
from campaign.rules import PROBLEMS, command_id, due

URN = "urn:darkroom:problem:"


@dataclass(frozen=True, slots=True)
class Violation:
    """`rule`: which promise was broken, in a word or two."""

    rule: str
    job_id: str
    detail: str

    def __str__(self) -> str:
        return f"{self.rule}: job {self.job_id}: {self.detail}"


def judge(
    history: Sequence[Call],
    records: Iterable[LogRecord],
    partitions: int,
    *,
    quiet: bool = True,
    other_jobs: frozenset[str] = frozenset(),
) -> list[Violation]:
    """Everything in the history and the log that is not as promised. `quiet`: the log is taken at rest, so that no
    job may be queued or running still. `other_jobs` were asked for by somebody else and are not looked at."""
    log = [record for record in records if record.key not in other_jobs]
    found = fold(log, partitions)
    violations = [Violation("strange record", "", what) for what in found.strange]
    by_job: dict[str, list[Call]] = defaultdict(list)
    for call in history:
        by_job[call.job_id].append(call)
    bounds = Bounds(log, _told(history))
    for job_id in found.stories.keys() - by_job.keys():
        violations.append(Violation("nobody asked", job_id, "it stands in the log, and nobody asked for it"))
    for job_id, calls in by_job.items():
        story = found.stories.get(job_id, Story(job_id))
        violations += [Violation("illegal event", job_id, what) for what in story.illegal]
        violations += [Violation(rule, job_id, what) for rule, what in judge_effects(story, calls)]
        if quiet and story.last.status in ACTIVE:
            violations.append(Violation("not ended", job_id, f"it is still {story.last.status}: {story.last}"))
        for call in calls:
            violations += [
                Violation(rule, job_id, f"{what} ({_shown(call)})")
                for rule, what in _answer(found, story, call, bounds)
            ]
        violations += [Violation("answers differ", job_id, what) for what in _differing(calls)]
    return violations


def _told(history: Iterable[Call]) -> Iterable[tuple[float, int, int]]:
    for call in history:
        place = position_of(call.body)
        if call.status in (202, 303) and place is not None:
            yield call.end_s, *place


def position_of(body: Mapping[str, object]) -> tuple[int, int] | None:
    """Partition and offset that an answer names; None if it names none that can be read."""
    try:
        token = str(body["position"])
        version, partition, offset, _ = (
            base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode().split(".", 3)
        )
        return (int(partition), int(offset)) if version == "1" else None
    except (KeyError, ValueError):
        return None


def _answer(log: LogFold, story: Story, call: Call, bounds: Bounds) -> list[tuple[str, str]]:
    if call.status is None:
        return []
    if call.status == 503:
        told = (call.retry_after or "").isdigit()
        return [] if told else [("no Retry-After", f"a 503 with Retry-After {call.retry_after!r}")]
    partition = partition_of(call.job_id, log.partitions)
    least, most = bounds.at_least(partition, call.begin_s), bounds.at_most(partition, call.end_wall_ms)
    # After `i` of its events the job stood from offset accepted[i-1]+1 up to the next event's offset.
    offsets = [-1, *(event.offset for event in story.accepted)]
    standing = [
        i for i, at in enumerate(offsets) if at < most and (i + 1 == len(offsets) or offsets[i + 1] >= least)
    ]
    if call.status in (202, 303):
        return _accepted(log, story, call, standing, most)
    if call.status not in PROBLEMS:
        return [("status", f"{call.status} is no answer to such a command")]
    if call.body.get("type") != URN + PROBLEMS[call.status]:
        return [("problem type", f"a {call.status} with type {call.body.get('type')!r}")]
    said = call.body.get("job_status")
    for i in standing:
        if due(story, i, call).refusal == call.status and said in (None, story.states[i].status):
            return []
    possible = [f"{story.states[i].status or 'unknown'} v{story.states[i].version}" for i in standing]
    return [("refusal never true", f"{call.status}, said {said!r}, while the job can only have been {possible}")]


def _accepted(log: LogFold, story: Story, call: Call, standing: list[int], most: int) -> list[tuple[str, str]]:
    place = position_of(call.body)
    named = next(
        (
            n
            for n, event in enumerate(story.accepted, 1)
            if place == (partition_of(call.job_id, log.partitions), event.offset)
        ),
        0,
    )
    if not named:
        return [("names no effect", f"position {place} holds no event of the job that counts")]
    if call.body.get("id") != call.job_id:
        return [("wrong job", f"it names job {call.body.get('id')!r}")]
    if story.accepted[named - 1].offset >= most:
        return [("from the future", f"the event at {place} was appended after the answer")]
    state = story.states[named]
    said = tuple(call.body.get(name) for name in ("status", "version", "run"))
    if said != (state.status, state.version, state.run):
        return [("wrong outcome", f"it says {said}, the log says {(state.status, state.version, state.run)}")]
    if call.location is None or call.location != f"{call.location.partition('?')[0]}?after={call.body['position']}":
        return [("wrong Location", f"{call.location!r}")]
    if call.status == 303:
        return _waited(story, call, standing, named)
    return [] if _is_due(story, call, standing, named) else [_not_due(story, call, standing, named)]


def _is_due(story: Story, call: Call, standing: list[int], named: int) -> bool:
    """Whether a 202 that names accepted event `named` was true: as the call's own effect, or its first answer."""
    event, own_id = story.accepted[named - 1], command_id(call)
    if named - 1 in standing and due(story, named - 1, call).fresh:
        same = event.effect == (call.op, call.variant) and (own_id is None or own_id == event.command_id)
        if same and (event.record.timestamp_ms >= call.begin_wall_ms or own_id is not None):
            return True
    return any(i >= named and due(story, i, call).first == named for i in standing)


def _not_due(story: Story, call: Call, standing: list[int], named: int) -> tuple[str, str]:
    event = story.accepted[named - 1]
    return (
        "not its effect",
        f"it names event {named}, {event.effect} of command {event.command_id}; "
        f"the job stood at {[story.states[i].version for i in standing]}, where it was due "
        f"{[due(story, i, call) for i in standing]}",
    )


def _waited(story: Story, call: Call, standing: list[int], named: int) -> list[tuple[str, str]]:
    """A 303: the call has taken effect, and the run that this asked for was over at event `named`."""
    state = story.states[named]
    for effect in range(1, named + 1):
        asked = story.states[effect]
        if _is_due(story, call, standing, effect) and _over(state, asked):
            return []
    return [("303 too early", f"at event {named} the job was {state}, and no run that the call asked for was over")]


def _over(state: State, asked: State) -> bool:
    return state.run > asked.run or (state.run == asked.run and state.status not in ACTIVE)


def _differing(calls: Iterable[Call]) -> list[str]:
    """Under one key, the same request gets one answer."""
    said: dict[tuple[str, str, str], Counter[tuple[object, ...]]] = defaultdict(Counter)
    for call in calls:
        if call.key is not None and call.status == 202:
            parts = tuple(call.body.get(name) for name in ("position", "status", "version", "run"))
            said[call.key, call.op, call.variant][parts] += 1
    return [f"{asked} was answered {dict(answers)}" for asked, answers in said.items() if len(answers) > 1]


def _shown(call: Call) -> str:
    parts = [f"call {call.number}: {call.method} {call.op} {call.variant}".rstrip(), f"instance {call.instance}"]
    parts += [f"key {call.key}"] if call.key else []
    parts += [f"If-Match {call.if_match}"] if call.if_match else []
    return ", ".join([*parts, f"answered {call.status} {dict(call.body)}"])
