"""Which answers a command may get in a given state: the table of the HTTP contract, by an independent hand."""

from dataclasses import dataclass

from campaign.history import CANCEL, CREATE, RUN, Call
from campaign.logfold import ACTIVE, Story
from darkroom.runtime.ids import command_id_of

TENANT = "default"
PROBLEMS = {
    404: "unknown-job",
    409: "job-state",
    410: "job-deleted",
    412: "version-differs",
    422: "key-reused",
}
"""What each refusal calls itself."""


@dataclass(frozen=True, slots=True)
class Due:
    """What a call is due: to take effect (`fresh`), the answer of accepted event number `first` (from 1), or the
    refusal `refusal`. Exactly one of the three."""

    fresh: bool = False
    first: int = 0
    refusal: int = 0


def command_id(call: Call) -> str | None:
    """The id of the command under the call's key. The derivation is part of the log's contract: every instance,
    of every version, must come to the same."""
    return command_id_of(TENANT, call.job_id, call.key) if call.key is not None else None


def due(story: Story, index: int, call: Call) -> Due:
    """What the call is due where the job stands after `index` of its accepted events."""
    state, own_id = story.states[index], command_id(call)
    if call.op == CREATE:
        return _due_create(story, index, call, own_id)
    done = next((n for n, e in enumerate(story.accepted[:index], 1) if own_id and e.command_id == own_id), 0)
    if done:
        same = story.accepted[done - 1].effect == (call.op, call.variant)
        return Due(first=done) if same else Due(refusal=422)
    if index == 0:
        return Due(refusal=404)
    if state.status == "deleted":
        return Due(refusal=410)
    if call.if_match is not None and not matches(call.if_match, state.version):
        return Due(refusal=412)
    if call.op == RUN and state.status in ACTIVE:
        return Due(refusal=409)
    if call.op == CANCEL and state.status not in ACTIVE:
        return Due(refusal=409)
    return Due(fresh=True)


def _due_create(story: Story, index: int, call: Call, own_id: str | None) -> Due:
    if index == 0:
        return Due(refusal=412) if call.if_match is not None else Due(fresh=True)
    created = story.accepted[0]
    if created.effect != (call.op, call.variant):
        return Due(refusal=422)
    if story.states[index].status == "deleted" and (own_id is None or own_id != created.command_id):
        return Due(refusal=410)
    return Due(first=1)


def matches(if_match: str, version: int) -> bool:
    """Whether an If-Match header names the version. `*` names every one."""
    return if_match == "*" or f'"{version}"' in [tag.strip() for tag in if_match.split(",")]
