"""Every effect in the log has a request behind it, and no request has two."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from campaign.history import Call
from campaign.logfold import Event, Story
from campaign.rules import command_id

Finding = tuple[str, str]


def judge_effects(story: Story, calls: Sequence[Call]) -> list[Finding]:
    """What is wrong between a job's events and the requests for it: (rule, detail)."""
    by_command: dict[str, list[Call]] = defaultdict(list)
    keyless: list[Call] = []
    for call in calls:
        own_id = command_id(call)
        if own_id is None:
            keyless.append(call)
        else:
            by_command[own_id].append(call)
    found: list[Finding] = []
    accepted = [event for event in story.accepted if event.effect is not None]
    for command, times in Counter(event.command_id for event in accepted).items():
        if times > 1:
            found.append(("two effects", f"command {command} counts {times} times"))
    for event in (*accepted, *(event for event in story.void if event.effect is not None)):
        found += _unasked(event, by_command, keyless)
    for event in accepted:
        if event.command_id in by_command:
            asked = [call for call in by_command[event.command_id] if (call.op, call.variant) == event.effect]
            if asked and not any(_may_have_done(call) for call in asked):
                found.append(("refused, yet done", f"{event.effect} of {event.command_id}: {len(asked)} refusals"))
    return found + _unclaimed([e for e in accepted if e.command_id not in by_command], keyless)


def _unasked(event: Event, by_command: dict[str, list[Call]], keyless: Iterable[Call]) -> list[Finding]:
    candidates = by_command.get(event.command_id, keyless)
    for call in candidates:
        if (call.op, call.variant) == event.effect and call.begin_wall_ms <= event.record.timestamp_ms:
            return []
    return [("nobody asked", f"{event.effect} at offset {event.offset}, command {event.command_id}")]


def _unclaimed(events: Sequence[Event], keyless: Sequence[Call]) -> list[Finding]:
    """Effects without a key belong to one call each: to the one whose answer says so, or to one whose answer nobody
    knows. (A repeated `PUT` is not asked twice: it names the creation, which is one effect.)"""
    found: list[Finding] = []
    creations = [event for event in events if event.type == "created"]
    others = [event for event in events if event.type != "created"]
    if creations and not any(
        _may_have_done(call) for call in keyless if (call.op, call.variant) == creations[0].effect
    ):
        found.append(("refused, yet done", f"{creations[0].effect} at offset {creations[0].offset}"))
    wanted = Counter(event.effect for event in others)
    for effect, times in wanted.items():
        asked = [call for call in keyless if (call.op, call.variant) == effect]
        told = Counter(call.body.get("position") for call in asked if call.status == 202)
        unsure = sum(call.indeterminate or call.status == 303 for call in asked)
        if times > len(told) + unsure:
            found.append(("refused, yet done", f"{effect} counts {times} times, {len(told)} answers say so"))
        found += [("one effect, two commands", f"{effect} {n} times") for n in told.values() if n > 1]
    return found


def _may_have_done(call: Call) -> bool:
    return call.indeterminate or call.status in (202, 303)
