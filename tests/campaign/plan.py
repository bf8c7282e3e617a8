"""What is asked: for each job a script of bursts, made from a seed. Pure.

The requests of one burst are made at the same moment, each through an instance of its own choice; the next burst
begins when all are answered. What is asked is the same for the same seed, how it falls out is not.
"""

from dataclasses import dataclass, replace
from random import Random
from uuid import UUID

from campaign.history import CANCEL, CREATE, DELETE, RUN
from campaign.rules import TENANT
from darkroom.runtime.ids import job_id_of

IDLE = " idle"
"""Ends the variant of a create that asks for no run."""
RIGHT, STALE, ANY = "right", "stale", "any"


@dataclass(frozen=True, slots=True)
class Ask:
    """One request to be made. `condition`: an If-Match with the version as last heard, with an old one, or `*`."""

    op: str
    method: str = "POST"
    key: str | None = None
    variant: str = ""
    condition: str | None = None
    wait_s: int = 0


@dataclass(frozen=True, slots=True)
class Script:
    """All that is asked of one job."""

    job_id: str
    bursts: tuple[tuple[Ask, ...], ...]
    seed: str


def script(seed: str, number: int) -> Script:
    """The script of the `number`th job. `seed` also names its keys, so two runs on one log need two seeds."""
    own_seed = f"{seed}-{number}"
    rng = Random(own_seed)
    make = rng.choices([_posted, _put, _crowd, _storm, _before_it_is], [38, 30, 7, 15, 10])[0]
    job_id, bursts = make(rng, own_seed)
    return Script(job_id, tuple(tuple(burst) for burst in bursts), own_seed)


def _posted(rng: Random, seed: str) -> tuple[str, list[list[Ask]]]:
    """Created under a key, at once several times and perhaps with another body; then conflicts, then all again."""
    create = Ask(CREATE, key=f"{seed}-create", variant=_variant(rng, "a"))
    first = [create] * rng.randint(2, 3)
    if rng.random() < 0.3:
        first.append(replace(create, variant=_variant(rng, "b")))
    return job_id_of(TENANT, f"{seed}-create"), _lived(rng, seed, first)


def _put(rng: Random, seed: str) -> tuple[str, list[list[Ask]]]:
    create = Ask(CREATE, "PUT", rng.choice([None, None, f"{seed}-put"]), _variant(rng, "a"))
    first = [create] * rng.randint(1, 3)
    if rng.random() < 0.3:
        first.append(replace(create, variant=_variant(rng, "b"), key=None))
    return _uuid(rng), _lived(rng, seed, first)


def _crowd(rng: Random, seed: str) -> tuple[str, list[list[Ask]]]:
    """The same `PUT`, or the same key, twenty times at once."""
    crowd = Ask(CREATE, "PUT", None, _variant(rng, "a"))
    job_id = _uuid(rng)
    if rng.random() < 0.5:
        crowd = replace(crowd, method="POST", key=f"{seed}-create")
        job_id = job_id_of(TENANT, f"{seed}-create")
    again = _command(rng, rng.choice([RUN, CANCEL, DELETE]), f"{seed}-crowd")
    return job_id, [[crowd] * 20, [again] * rng.randint(8, 20), [crowd, again]]


def _storm(rng: Random, seed: str) -> tuple[str, list[list[Ask]]]:
    """Creation and everything that needs it at one moment."""
    create = Ask(CREATE, "PUT", None, _variant(rng, "a"))
    burst = [create, create, *_conflict(rng, seed, 0)]
    rng.shuffle(burst)
    return _uuid(rng), [burst, _conflict(rng, seed, 1), _again(rng, [burst])]


def _before_it_is(rng: Random, seed: str) -> tuple[str, list[list[Ask]]]:
    """Commands on a job that is not there yet, or never will be."""
    create = Ask(CREATE, "PUT", None, _variant(rng, "a"), rng.choice([None, ANY, STALE]))
    early = _conflict(rng, seed, 0)
    return _uuid(rng), [early, *([[create, replace(create, condition=None)]] if rng.random() < 0.5 else []), early]


def _lived(rng: Random, seed: str, first: list[Ask]) -> list[list[Ask]]:
    if rng.random() < 0.2:
        first[0] = replace(first[0], wait_s=rng.randint(1, 2))
    bursts = [first]
    for number in range(rng.randint(1, 3)):
        bursts.append(_conflict(rng, seed, number))
    bursts.append(_again(rng, bursts))
    return bursts


def _conflict(rng: Random, seed: str, number: int) -> list[Ask]:
    """Two to six commands that cannot all be granted, some of them twice under one key."""
    burst: list[Ask] = []
    for place in range(rng.randint(2, 5)):
        key = rng.choice([None, f"{seed}-{number}-{place}", f"{seed}-{number}-shared"])
        ask = _command(rng, rng.choices([RUN, CANCEL, DELETE], [5, 4, 1.2])[0], key)
        ask = replace(ask, condition=rng.choices([None, RIGHT, STALE, ANY], [70, 15, 10, 5])[0])
        burst.append(ask)
        if key is not None and rng.random() < 0.4:
            burst.append(ask)
        if key is not None and ask.op == RUN and rng.random() < 0.15:
            burst.append(replace(ask, variant=str(rng.randint(901, 1000))))
    return burst


def _command(rng: Random, op: str, key: str | None) -> Ask:
    if op != RUN:
        return Ask(op, "DELETE" if op == DELETE else "POST", key)
    return Ask(op, "POST", key, str(rng.randint(1, 900)), wait_s=rng.choices([0, 1], [90, 10])[0])


def _again(rng: Random, bursts: list[list[Ask]]) -> list[Ask]:
    """Some of what was asked before under a key, and the creation: nothing of it may take effect again."""
    keyed = [ask for burst in bursts for ask in burst if ask.key is not None or ask.op == CREATE]
    return rng.sample(keyed, min(len(keyed), 3))


def _variant(rng: Random, name: str) -> str:
    return name + (IDLE if rng.random() < 0.2 else "")


def _uuid(rng: Random) -> str:
    return str(UUID(int=rng.getrandbits(128), version=4))
