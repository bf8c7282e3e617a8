"""How far the read models are behind the log, and who has not been heard of: from what the query API and the broker
say. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import inf
from typing import Any

from darkroom.schemas.views import FOLD_VERSIONS

Projection = Mapping[str, Any]

HEARD_S_MAX = 5.0
"""A projector notes once a second how far the log goes, also when there is nothing to do. Without a note for
longer, something is wrong."""
CLOCKS_DIFFER_S_MAX = 1.0
"""A note from further in the future than this was made by another clock: its age says nothing."""
_ALIKE_S = 2.0


@dataclass(frozen=True, slots=True)
class Standing:
    """One partition. `next`: the first offset not folded; `end`: the log's own end, None if it cannot be asked;
    `end_seen`: the end that the projector saw, `heard_s` seconds ago (None: never; infinite: by a clock that is
    ahead of ours, so nobody knows)."""

    partition: int
    next: int
    end: int | None
    end_seen: int
    heard_s: float | None

    @property
    def silent(self) -> bool:
        """Nobody has been heard of who projects it."""
        return self.heard_s is None or self.heard_s > HEARD_S_MAX

    @property
    def behind(self) -> int | None:
        """Events in the log that are not folded; negative for a checkpoint ahead of the log, None if unknown."""
        return None if self.end is None else self.end - self.next

    @property
    def behind_at_least(self) -> int:
        """What is known of it without the log: a log only grows."""
        return max(0, self.end_seen - self.next)


def families(projections: Iterable[Projection]) -> list[list[Projection]]:
    """Read models that stand at the same checkpoints, together."""
    found: dict[str, list[Projection]] = {}
    for projection in projections:
        found.setdefault(projection["family"], []).append(projection)
    return list(found.values())


def standings(
    projection: Projection, ends: Mapping[int, int | None], now: datetime, heard: frozenset[int] = frozenset()
) -> list[Standing]:
    """Each partition of a family, by any of its read models. `heard`: partitions whose projector was seen at work
    just now, whatever the clocks say."""

    def heard_s(mark: Mapping[str, Any]) -> float | None:
        age = 0.0 if mark["partition"] in heard else age_s(mark, now)
        return inf if age is not None and age < -CLOCKS_DIFFER_S_MAX else age

    return [
        Standing(
            partition=mark["partition"],
            next=mark["next"],
            end=ends.get(mark["partition"]),
            end_seen=mark["end_seen"],
            heard_s=heard_s(mark),
        )
        for mark in projection["partitions"]
    ]


def age_s(mark: Mapping[str, Any], now: datetime) -> float | None:
    """How long ago, in seconds, the projector of a partition last saw its end; None for never, negative if it did
    so by a clock that is ahead of ours."""
    seen_at = mark["end_seen_at"]
    return None if seen_at is None else (now - datetime.fromisoformat(seen_at)).total_seconds()


def doubtful(projections: Iterable[Projection], now: datetime) -> bool:
    """Whether some projector seems silent, or its clock is not ours: then it is worth looking whether it moves."""
    ages = [age_s(mark, now) for projection in projections for mark in projection["partitions"]]
    return any(age is None or not -CLOCKS_DIFFER_S_MAX <= age <= HEARD_S_MAX for age in ages)


def moved(before: Sequence[Projection], after: Sequence[Projection]) -> dict[str, frozenset[int]]:
    """By family: the partitions whose projector has left a note between two looks."""
    old = {(p["family"], mark["partition"]): mark for p in before for mark in p["partitions"]}
    return {
        p["family"]: frozenset(
            mark["partition"]
            for mark in p["partitions"]
            if (was := old.get((p["family"], mark["partition"]))) is not None
            and (was["next"], was["end_seen_at"]) != (mark["next"], mark["end_seen_at"])
        )
        for p in after
    }


def outdated(members: Iterable[Projection]) -> list[str]:
    """The read models whose live generation was made by other folds than this version's."""
    made = [m for m in members if m["partitions"]]  # without a checkpoint, no fold has made anything
    return [m["read_model"] for m in made if m["fold_version"] != FOLD_VERSIONS.get(m["read_model"])]


def alarms(
    topic: str, partitions: int | None, found: Sequence[Standing], outdated: Sequence[str] = ()
) -> list[str]:
    """What a person should know of, a sentence each. `partitions`: how many the topic has, None if the log does not
    answer. `outdated`: the read models that other folds than this version's made."""
    said = []
    why = "is it running?" if partitions else "that may be for the log's absence alone"
    if outdated:
        said.append(f"{', '.join(outdated)}: made by other folds than this version: run `darkroom replay`")
        why = "only one of the version that made them carries them on"
    for group in _alike([s for s in found if s.silent]):
        age = group[-1].heard_s
        since = "has never been heard of" if age is None else f"has not been heard of for {lasted(age)}"
        said.append(f"the projector of {_named(group)} of {topic} {since}: {why}")
    ahead = [s for s in found if s.behind is not None and s.behind < 0]
    if ahead:
        said.append(
            f"the checkpoint of {_named(ahead)} of {topic} is ahead of the log: the log has lost events, or is "
            "another one"
        )
    missing = sorted(set(range(partitions or 0)) - {s.partition for s in found})
    if missing:
        said.append(f"{topic} has no checkpoint for {_listed(missing)}: has a projector ever run there?")
    return said


def _alike(silent: Sequence[Standing]) -> list[list[Standing]]:
    """Those who fell silent together, in one group; the longest silence first."""
    groups: list[list[Standing]] = []
    for one in sorted(silent, key=lambda s: (s.heard_s is None, s.heard_s or 0.0), reverse=True):
        if groups and _same(groups[-1][-1].heard_s, one.heard_s):
            groups[-1].append(one)
        else:
            groups.append([one])
    return groups


def _same(one_s: float | None, other_s: float | None) -> bool:
    if one_s is None or other_s is None:
        return one_s is other_s
    return one_s == other_s or abs(one_s - other_s) < _ALIKE_S


def _named(standings: Sequence[Standing]) -> str:
    return _listed(sorted(s.partition for s in standings))


def _listed(partitions: Sequence[int]) -> str:
    if len(partitions) == 1:
        return f"partition {partitions[0]}"
    if len(partitions) > 2 and partitions == list(range(partitions[0], partitions[-1] + 1)):
        return f"partitions {partitions[0]} to {partitions[-1]}"
    return f"partitions {', '.join(map(str, partitions[:-1]))} and {partitions[-1]}"


def lasted(seconds: float) -> str:
    """A duration, in the largest units that say enough."""
    if seconds == inf:
        return "a time that only its clock knows, which is ahead of ours"
    whole = max(0, int(seconds))
    for unit, size_s in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if whole >= 2 * size_s:
            return f"{whole // size_s} {unit}"
    return f"{whole} s"
