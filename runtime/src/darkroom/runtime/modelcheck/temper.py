"""How wild a schedule is: drawn from its seed, within what its kind allows."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

T = TypeVar("T")


def pick(random: Random, choices: Sequence[T]) -> T:
    """As `random.choice`, at a third of its cost."""
    return choices[int(random.random() * len(choices))]


@dataclass(frozen=True, slots=True)
class Kind:
    """What a run of schedules may contain. Each number is the share of schedules that have it.

    `rough`: one job, many faults, a log that is cut again and again; `restless`: instances die and start all the
    time; `forged`: somebody appends events under the ids of others' events.
    """

    cuts: float = 0.2
    files: float = 0.06
    small_windows: float = 0.5
    rough: float = 0.0
    restless: float = 0.0
    strays: float = 0.33
    forged: float = 0.0


ORDINARY = Kind()


@dataclass(frozen=True, slots=True)
class Mood:
    """One schedule's size and faults. Shares are probabilities per occasion; `window`: offsets in which a command
    is remembered; `speeds`: how eagerly each instance's tail reads."""

    partitions: int
    jobs: int
    speeds: tuple[int, ...]
    steps: int
    window: int
    files: bool
    faults: float
    lost: float
    duplicated: float
    unacknowledged: float
    crashes: float
    strays: float
    cuts: float
    restless: bool
    forged: bool


def draw(random: Random, kind: Kind) -> Mood:
    """The schedule that a seed stands for."""
    calm = random.random() < 0.15
    files = random.random() < kind.files
    cuts = random.random() < kind.cuts
    rough = random.random() < kind.rough
    restless = kind.restless > 0 and random.random() < kind.restless
    return Mood(
        partitions=random.choice((1, 1, 1, 2, 2, 3)),
        jobs=1 if rough else random.choice((1, 2, 2, 3, 4)),
        speeds=tuple(random.choice((1, 1, 3, 8)) for _ in range(random.choice((2, 2, 2, 3, 3, 4)))),
        steps=random.randint(30, 100),
        window=random.choice((4, 8, 16)) if random.random() < kind.small_windows else 10_000,
        files=files,
        faults=0.15 if rough or restless else 0.0 if calm else random.choice((0.02, 0.06, 0.12)),
        lost=0.0 if calm else random.choice((0.0, 0.03, 0.1)),
        duplicated=0.0 if calm else random.choice((0.0, 0.05, 0.25)),
        unacknowledged=0.0 if calm else random.choice((0.0, 0.04, 0.15)),
        crashes=random.choice((0.0, 0.5, 1.0)),
        strays=1.0 if random.random() < kind.strays else 0.0,
        cuts=0.0 if not cuts else 0.6 if rough else 0.25,
        restless=restless,
        forged=random.random() < kind.forged,
    )
