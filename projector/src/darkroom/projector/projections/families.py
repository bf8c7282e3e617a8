"""Read models that are folded from one topic together, and the fold of a batch of one of its partitions.

The same `fold` serves the live projector (which loads from MongoDB, in a transaction) and replay (which loads from
memory). A generation belongs to the whole family: its read models rest on the same chain. Records that no fold
could use are documents of a read model, too (the rule stands in `step`), so that they are proved and switched like
the others, and go away with a replay by code that can read them.

Folds are functions of the records and the documents alone: no clock, no randomness, no order of sets.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from darkroom.projector.projections.history import History
from darkroom.projector.projections.jobs import fold_job
from darkroom.projector.projections.models import fold_model
from darkroom.projector.projections.runs import Runs
from darkroom.projector.projections.stats import Stats
from darkroom.projector.projections.step import Document, Step, guard_of, quarantined
from darkroom.runtime.eventlog.port import Record
from darkroom.schemas.chain import Guard
from darkroom.schemas.upcasting import VERSIONS, Versions
from darkroom.schemas.views import FAMILIES as MEMBERS
from darkroom.schemas.views import JOB_READ_MODELS, MODEL_READ_MODELS, QUARANTINES

Load = Callable[[str, Collection[str]], Mapping[str, Document]]
"""(read model, ids) -> the documents that exist. They belong to the fold, which may change them."""


@dataclass(slots=True)
class Changes:
    """What a batch changes. `put`: whole documents by read model and id; `removed`: ids that are gone;
    `appended`: entries for history chunks that existed before the batch; `quarantined`: the records that no fold
    could read, which stand in `put` as well."""

    put: dict[str, dict[str, Document]] = field(default_factory=dict)
    removed: dict[str, dict[str, None]] = field(default_factory=dict)
    appended: dict[str, list[Document]] = field(default_factory=dict)
    quarantined: list[Document] = field(default_factory=list)
    events: int = 0
    void: int = 0


@dataclass(frozen=True, slots=True)
class Family:
    """`fold(topic, partitions, records, load)`: the changes of a batch of one partition, in order. The read model
    of the family's own name keeps the chain."""

    name: str
    read_models: tuple[str, ...]
    fold: Callable[[str, int, Sequence[Record], Load], Changes]

    def only(self, *read_models: str, versions: Versions = VERSIONS) -> "Family":
        """The family with no more than these read models, and the one that keeps the chain; reading other event
        versions, if given. Raises ValueError for a read model that it does not have."""
        for read_model in read_models:
            if read_model not in MEMBERS[self.name]:
                raise ValueError(f"there is no read model {read_model!r} in the family {self.name}")
        wanted = tuple(m for m in MEMBERS[self.name] if m == self.name or m in read_models)
        return Family(self.name, wanted, partial(_FOLDS[self.name], versions, wanted))


def _fold_jobs(
    versions: Versions, wanted: tuple[str, ...], topic: str, partitions: int, records: Sequence[Record], load: Load
) -> Changes:
    changes, runs, history, stats = Changes(), Runs(), History(), Stats()
    watching = [w.see for m, w in (("runs", runs), ("history", history), ("stats", stats)) if m in wanted]
    fold_one = partial(fold_job, versions=versions)
    for step in _steps(fold_one, "jobs", wanted, topic, partitions, records, load, changes):
        for see in watching:
            see(step)
    tallied = stats.ids()
    _put(changes, "runs", runs.changed())
    _put(changes, "history", history.opened)
    _put(changes, "stats", stats.changed(load("stats", tallied) if tallied else {}))
    if gone := runs.removed():
        changes.removed["runs"] = gone
    changes.appended = history.appended
    return changes


def _fold_models(
    versions: Versions, wanted: tuple[str, ...], topic: str, partitions: int, records: Sequence[Record], load: Load
) -> Changes:
    changes = Changes()
    fold_one = partial(fold_model, versions=versions)
    for _ in _steps(fold_one, "models", wanted, topic, partitions, records, load, changes):
        pass
    return changes


def _steps(
    fold_one: Callable[[Document | None, Guard, Record], Step],
    family: str,
    wanted: tuple[str, ...],
    topic: str,
    partitions: int,
    records: Sequence[Record],
    load: Load,
    changes: Changes,
) -> Iterator[Step]:
    """Each step, before the next one changes its document further. At the end `changes` holds the documents that
    keep the chain, and those of the quarantine."""
    guards = [guard_of(record, partitions) for record in records]
    known = dict(load(family, {g.key: None for g in guards if isinstance(g, Guard)}))
    changed: dict[str, Document] = {}
    for record, guard in zip(records, guards, strict=True):
        step = fold_one(known.get(guard.key), guard, record) if isinstance(guard, Guard) else guard
        after = step.after
        if after is not None and (step.accepted or step.envelope is not None):
            known[after["_id"]] = changed[after["_id"]] = after
        if step.envelope is None:
            changes.quarantined.append(quarantined(topic, step))
        elif not step.accepted:
            changes.void += 1
        yield step
    changes.events += len(records)
    _put(changes, family, changed)
    if QUARANTINES[family] in wanted:
        _put(changes, QUARANTINES[family], {d["_id"]: d for d in changes.quarantined})


def _put(changes: Changes, read_model: str, documents: dict[str, Document]) -> None:
    if documents:
        changes.put[read_model] = documents


_FOLDS = {"jobs": _fold_jobs, "models": _fold_models}

JOBS = Family("jobs", JOB_READ_MODELS, partial(_fold_jobs, VERSIONS, JOB_READ_MODELS))
MODELS = Family("models", MODEL_READ_MODELS, partial(_fold_models, VERSIONS, MODEL_READ_MODELS))
FAMILIES = (JOBS, MODELS)


def family_of(read_model: str) -> Family:
    """The family of a read model. Raises ValueError that names the known ones."""
    for family in FAMILIES:
        if read_model in family.read_models:
            return family
    known = ", ".join(m for family in FAMILIES for m in family.read_models)
    raise ValueError(f"there is no read model {read_model!r}; the read models are {known}")
