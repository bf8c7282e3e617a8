"""What the simulator will do: an endless stream of actions, decided by a seed alone.

Pure: no clock, no I/O. Pictures are named by their number in a pool, jobs by the number of the action that
creates them, so that the same seed and session give the same stream on every machine. Every action states the
answers that are right for it; anything else is a finding.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from random import Random

from darkroom.runtime.ids import derived_id

ACCEPTED = frozenset({202})
IF_ACTIVE = frozenset({202, 409})
"""The right answers where only the executor's progress decides which of them it is."""
FORBIDDEN = frozenset({409})
GONE = frozenset({410})

TARGETS_MAX = 64
"""So many of the newest jobs can still be run again, cancelled, deleted or repeated."""
PICTURES_PER_JOB_MAX = 4


class Way(StrEnum):
    """How the pictures travel: in the JSON, as a form, or uploaded before."""

    BASE64 = "base64"
    MULTIPART = "multipart"
    MEDIA = "media"


class Fault(StrEnum):
    """What is wrong with a request that has to be refused."""

    TRUNCATED = "truncated picture"
    TEXT = "text called .png"
    TOO_MANY_PIXELS = "picture with too many pixels"
    UNKNOWN_MODEL = "unknown model"
    UNKNOWN_MEDIA = "unknown media"
    UNKNOWN_FIELD = "unknown field"


REFUSED_WITH: Mapping[Fault, tuple[int, str]] = {
    Fault.TRUNCATED: (422, "picture-broken"),
    Fault.TEXT: (415, "unsupported-media"),
    Fault.TOO_MANY_PIXELS: (413, "picture-too-large"),
    Fault.UNKNOWN_MODEL: (422, "unknown-model"),
    Fault.UNKNOWN_MEDIA: (422, "unknown-media"),
    Fault.UNKNOWN_FIELD: (422, "invalid-request"),
}
"""The status and the problem type that are right for each fault."""


@dataclass(frozen=True, slots=True)
class Create:
    """Create a job. With `job_id` it is put under the client's own id, otherwise posted under the key."""

    number: int
    key: str
    job_id: str | None
    model: str
    pictures: tuple[int, ...]
    way: Way
    parameters: Mapping[str, float]
    labels: Mapping[str, str]
    execute: bool
    expected: frozenset[int] = ACCEPTED


@dataclass(frozen=True, slots=True)
class BadCreate:
    """A request that the door refuses."""

    number: int
    key: str
    model: str
    fault: Fault
    way: Way

    @property
    def expected(self) -> frozenset[int]:
        return frozenset({REFUSED_WITH[self.fault][0]})

    @property
    def problem(self) -> str:
        return REFUSED_WITH[self.fault][1]


@dataclass(frozen=True, slots=True)
class Repeat:
    """The very same create once more, under its key: the first answer again."""

    number: int
    target: int
    create: Create
    expected: frozenset[int] = ACCEPTED


@dataclass(frozen=True, slots=True)
class RunAgain:
    """Execute the job of action `target` again, perhaps with another model or other parameters."""

    number: int
    key: str
    target: int
    model: str | None
    parameters: Mapping[str, float] | None
    expected: frozenset[int]


@dataclass(frozen=True, slots=True)
class Cancel:
    """Cancel the job of action `target`."""

    number: int
    key: str
    target: int
    expected: frozenset[int]


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete the job of action `target`."""

    number: int
    key: str
    target: int
    expected: frozenset[int]


Action = Create | BadCreate | Repeat | RunAgain | Cancel | Delete


@dataclass(frozen=True, slots=True)
class Mix:
    """Weights: how often each action comes, beside the others. All 0 or more, `create` more."""

    create: float = 70
    bad: float = 8
    repeat: float = 4
    run_again: float = 8
    cancel: float = 6
    delete: float = 4

    def __post_init__(self) -> None:
        weights = [getattr(self, f.name) for f in fields(self)]
        if min(weights) < 0 or self.create <= 0:
            raise ValueError("weights are 0 or more, and that of create is more than 0")


@dataclass(slots=True)
class _Job:
    """What the stream remembers of a job that it creates. `run_asked`: nobody but the executor knows more."""

    create: Create
    run_asked: bool
    deleted: bool = False


def actions(seed: int, session: str, models: Sequence[str], pictures: int, mix: Mix = Mix()) -> Iterator[Action]:
    """The stream of a seed. `session` keeps two runs of one seed apart at the same service (ids and keys
    carry it); `pictures` is the size of the picture pool. Raises ValueError for no model or no picture."""
    if not models or pictures < 1:
        raise ValueError("the simulator needs at least one model and one picture")
    rng = Random(seed)
    names = [f.name for f in fields(mix)]
    weights = [getattr(mix, name) for name in names]
    targets: deque[_Job] = deque(maxlen=TARGETS_MAX)
    number = 0
    while True:
        kind = rng.choices(names, weights)[0]
        key = f"simulator-{session}-{number}"
        if kind == "create" or (not targets and kind != "bad"):
            create = _create(rng, number, key, session, models, pictures)
            targets.append(_Job(create, run_asked=create.execute))
            yield create
        elif kind == "bad":
            fault = rng.choice(list(Fault))
            way = Way.MULTIPART if rng.random() < 0.5 and fault is not Fault.UNKNOWN_MEDIA else Way.BASE64
            yield BadCreate(number, key, rng.choice(models), fault, way)
        else:
            yield _on_job(rng, kind, number, key, rng.choice(list(targets)), models)
        number += 1


def _create(rng: Random, number: int, key: str, session: str, models: Sequence[str], pictures: int) -> Create:
    several = rng.random() < 0.25
    count = rng.randint(2, PICTURES_PER_JOB_MAX) if several else 1
    execute = rng.random() < 0.92
    own_id = rng.random() < 0.3
    # A form has no field for `execute`, and the client's own id is put with a JSON body.
    way = rng.choice(list(Way)) if execute and not own_id else rng.choice([Way.BASE64, Way.MEDIA])
    return Create(
        number=number,
        key=key,
        job_id=derived_id("simulator", session, str(number)) if own_id else None,
        model=rng.choice(models),
        pictures=tuple(rng.randrange(pictures) for _ in range(count)),
        way=way,
        parameters=_parameters(rng),
        labels={"simulator": session, "way": str(way)},
        execute=execute,
    )


def _parameters(rng: Random) -> dict[str, float]:
    chosen: dict[str, float] = {}
    if rng.random() < 0.5:
        chosen["top_k"] = rng.randint(1, 10)
    if rng.random() < 0.3:
        chosen["min_score"] = round(rng.uniform(0.0, 0.9), 2)
    if rng.random() < 0.3:
        chosen["max_detections"] = rng.randint(1, 50)
    return chosen


def _on_job(rng: Random, kind: str, number: int, key: str, job: _Job, models: Sequence[str]) -> Action:
    """An action on an earlier job. The stream's order is kept per job, so what is right can be said here."""
    target = job.create.number
    if kind == "repeat":
        # Under a key, a create is answered for ever; put again under its id alone, it is gone once deleted.
        gone = job.deleted and job.create.job_id is not None
        return Repeat(number, target, job.create, GONE if gone else ACCEPTED)
    if kind == "delete":
        delete = Delete(number, key, target, GONE if job.deleted else ACCEPTED)
        job.deleted = True
        return delete
    if kind == "cancel":
        expected = GONE if job.deleted else IF_ACTIVE if job.run_asked else FORBIDDEN
        return Cancel(number, key, target, expected)
    expected = GONE if job.deleted else IF_ACTIVE if job.run_asked else ACCEPTED
    job.run_asked = job.run_asked or not job.deleted
    return RunAgain(
        number=number,
        key=key,
        target=target,
        model=rng.choice(models) if rng.random() < 0.3 else None,
        parameters=_parameters(rng) if rng.random() < 0.5 else None,
        expected=expected,
    )
