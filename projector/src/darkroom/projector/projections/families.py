"""Read models that are folded from one topic together, and the fold of a batch of one of its partitions.

The same `fold` serves the live projector (which loads from MongoDB, in a transaction) and replay (which loads from
memory). A generation belongs to the whole family: its read models rest on the same chain.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from darkroom.projector.projections.history import fold_history
from darkroom.projector.projections.jobs import fold_job
from darkroom.projector.projections.models import fold_model
from darkroom.projector.projections.runs import fold_runs
from darkroom.projector.projections.stats import count, fold_stats
from darkroom.projector.projections.step import Document, Step, guard_of, quarantined
from darkroom.runtime.eventlog.port import Record
from darkroom.schemas.chain import Guard
from darkroom.schemas.views import JOB_READ_MODELS, MODEL_READ_MODELS

Load = Callable[[str, Collection[str]], Mapping[str, Document]]
"""(read model, ids) -> the documents that exist."""


@dataclass(slots=True)
class Changes:
    """What a batch changes. `put`: whole documents by read model and id; `removed`: ids that are gone;
    `appended`: entries for history chunks that existed before the batch."""

    put: dict[str, dict[str, Document]] = field(default_factory=dict)
    removed: dict[str, dict[str, None]] = field(default_factory=dict)
    appended: dict[str, list[Document]] = field(default_factory=dict)
    quarantined: list[Document] = field(default_factory=list)
    events: int = 0
    void: int = 0

    def set(self, read_model: str, id: str, document: Document | None) -> None:
        """Notes the latest state of a document; None: it is gone."""
        if document is None:
            self.put.get(read_model, {}).pop(id, None)
            self.removed.setdefault(read_model, {})[id] = None
        else:
            self.removed.get(read_model, {}).pop(id, None)
            self.put.setdefault(read_model, {})[id] = document


@dataclass(frozen=True, slots=True)
class Family:
    """`fold(topic, partitions, records, load)`: the changes of a batch of one partition, in order."""

    name: str
    read_models: tuple[str, ...]
    fold: Callable[[str, int, Sequence[Record], Load], Changes]


def _steps(
    fold_one: Callable[[Document | None, Guard, Record], Step],
    read_model: str,
    topic: str,
    partitions: int,
    records: Sequence[Record],
    load: Load,
    changes: Changes,
) -> list[Step]:
    guards = [guard_of(record, partitions) for record in records]
    documents = dict(load(read_model, {g.key: None for g in guards if isinstance(g, Guard)}))
    steps: list[Step] = []
    for record, guard in zip(records, guards, strict=True):
        if isinstance(guard, Step):
            step = guard
        else:
            step = fold_one(documents.get(guard.key), guard, record)
            if step.after is not None and step.after is not step.before:
                documents[guard.key] = step.after
                changes.set(read_model, guard.key, step.after)
        if step.reason is not None:
            changes.quarantined.append(quarantined(topic, step))
        steps.append(step)
    changes.events += len(steps)
    changes.void += sum(1 for s in steps if s.envelope is not None and not s.accepted)
    return steps


def _fold_jobs(topic: str, partitions: int, records: Sequence[Record], load: Load) -> Changes:
    changes = Changes()
    steps = _steps(fold_job, "jobs", topic, partitions, records, load, changes)
    for step in steps:
        for id, document in fold_runs(step):
            changes.set("runs", id, document)
        appended = fold_history(step)
        if appended is None:
            continue
        opened = changes.put.get("history", {}).get(appended.id)
        if appended.chunk is not None:
            changes.set("history", appended.id, appended.chunk)
        elif opened is not None:
            opened["entries"].append(appended.entry)
            opened["last"] = appended.entry["offset"]
        else:
            changes.appended.setdefault(appended.id, []).append(appended.entry)
    counted = [c for step in steps if (c := count(step)) is not None]
    stats = dict(load("stats", {c.id: None for c in counted}))
    for c in counted:
        stats[c.id] = fold_stats(stats.get(c.id), c)
        changes.set("stats", c.id, stats[c.id])
    return changes


def _fold_models(topic: str, partitions: int, records: Sequence[Record], load: Load) -> Changes:
    changes = Changes()
    _steps(fold_model, "models", topic, partitions, records, load, changes)
    return changes


JOBS = Family("jobs", JOB_READ_MODELS, _fold_jobs)
MODELS = Family("models", MODEL_READ_MODELS, _fold_models)
FAMILIES = (JOBS, MODELS)


def family_of(read_model: str) -> Family:
    """The family of a read model. Raises ValueError that names the known ones."""
    for family in FAMILIES:
        if read_model in family.read_models:
            return family
    known = ", ".join(m for family in FAMILIES for m in family.read_models)
    raise ValueError(f"there is no read model {read_model!r}; the read models are {known}")
