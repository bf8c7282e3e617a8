"""The read documents: their shapes, where they stand, and their indexes as data. Projector and query API share
this and nothing else.

Read models that are folded from one topic form a family: they rest on one chain and change in one transaction. A
family lives in generations: collections `<read model>_g<n>`. Which one is read is said by one document per family
in `generations`. How far it has come is one checkpoint document per family, generation and partition.
"""

from datetime import datetime
from typing import Any, NotRequired, TypedDict

GENERATIONS = "generations"
CHECKPOINTS = "checkpoints"

JOB_READ_MODELS = ("jobs", "runs", "history", "stats", "jobs_quarantine")
"""Folded from the jobs topic, in this order, in one transaction."""
MODEL_READ_MODELS = ("models", "models_quarantine")
FAMILIES = {"jobs": JOB_READ_MODELS, "models": MODEL_READ_MODELS}
READ_MODELS = JOB_READ_MODELS + MODEL_READ_MODELS
FAMILY_OF = {read_model: family for family, members in FAMILIES.items() for read_model in members}
QUARANTINES = {"jobs": "jobs_quarantine", "models": "models_quarantine"}
"""The read model of each family that keeps the records which no fold could read."""

FOLD_VERSIONS = {
    "jobs": 1,
    "runs": 1,
    "history": 1,
    "stats": 1,
    "jobs_quarantine": 1,
    "models": 1,
    "models_quarantine": 1,
}
"""Raise one whenever its fold or shape changes: the projector then asks for a replay, and meanwhile leaves the
generations of other versions alone."""

ALIAS_AGE_S_MAX = 0.5
"""How long a reader may remember which generation is live. Two sides rely on it. The query API sees a switch within
this time, and asks again after it. A switch of generations holds all checkpoints of the family in their places for
at least this long after it has changed the alias: until then, readers that know of it and readers that do not are
shown the same positions, so nobody who asks one and then the other goes backwards."""

TIMELINE_ENTRIES_MAX = 200
"""Entries kept in a job's document (the newest); the whole history stands in `history`."""
HISTORY_CHUNK_EVENTS = 50
"""Events per history document, at most."""
HISTORY_CHUNK_SIZE_BYTES_MAX = 4 * 2**20
"""Bytes of raw events per history document, at most (one larger event stands alone); BSON's limit is 16 MiB."""

INDEXES: dict[str, list[list[tuple[str, int]]]] = {
    "jobs": [
        [("tenant", 1), ("status", 1), ("created_at", -1), ("_id", -1)],
        [("tenant", 1), ("model.name", 1), ("created_at", -1), ("_id", -1)],
        [("tenant", 1), ("labels", 1), ("created_at", -1), ("_id", -1)],
    ],
    "runs": [],
    "history": [[("partition", 1), ("last", 1), ("first", 1)]],
    "stats": [[("tenant", 1), ("hour", 1)]],
    "jobs_quarantine": [],
    "models": [[("tenant", 1), ("_id", 1)]],
    "models_quarantine": [],
}
"""Secondary indexes: each is used by a query of the query API, and none of its queries goes without (a test asks
MongoDB). They are few, because each costs at every event: runs and chunks of history are found by their ids, which
begin with the job's."""


def collection(read_model: str, generation: int) -> str:
    """Name of the collection that holds one generation of a read model."""
    return f"{read_model}_g{generation}"


def checkpoint_id(family: str, generation: int, partition: int) -> str:
    return f"{family}:g{generation}:p{partition}"


class Generation(TypedDict):
    """`_id` is the family's name. `live` is what readers read; `kept` is carried on for a rollback; `building` is
    being made by a replay. `fold_versions` says which folds made a generation: str(generation) -> read model ->
    version."""

    _id: str
    live: int
    kept: list[int]
    building: int | None
    fold_versions: dict[str, dict[str, int]]


class Checkpoint(TypedDict):
    """How far one generation has folded one partition: `next` is the offset of the next event. `end_seen` is the
    end offset that its projector last saw, at `end_seen_at` (UTC). `folds` names the versions of the folds that
    made it: only they may carry it on. `era` is raised, for all generations of a partition at once, by whoever
    changes documents or generations beside the projection; a projector moves a checkpoint only in the era that it
    knows. `held_until`: nobody moves it before that time, while generations are switched."""

    _id: str
    family: str
    generation: int
    partition: int
    topic: str
    topic_id: str
    folds: str
    next: int
    era: int
    end_seen: int
    end_seen_at: datetime
    held_until: NotRequired[datetime]


class Attempt(TypedDict):
    """One try at a run. `outcome`: running, succeeded, failed, expired or cancelled."""

    attempt: int
    executor: str
    started_at: datetime
    ended_at: datetime | None
    outcome: str
    reason: dict[str, str] | None


class Run(TypedDict):
    """One execution of a job. Times are those of its events. `timing` holds milliseconds by stage."""

    run: int
    status: str
    model: dict[str, str]
    inputs: list[dict[str, Any]]
    parameters: dict[str, Any]
    deadline_s: float
    max_attempts: int
    requested_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    attempt: int
    attempts: list[Attempt]
    progress: dict[str, int] | None
    results: list[dict[str, Any]] | None
    results_blob: dict[str, Any] | None
    error: dict[str, str] | None
    timing: dict[str, float] | None
    provenance: dict[str, Any] | None


class TimelineEntry(TypedDict):
    """One event in a job's timeline, without its data. `status`: where the job stood after it."""

    offset: int
    id: str
    type: str
    version: int
    time: datetime
    status: str
    void: bool


class Job(TypedDict):
    """`_id` is the job id. `position` is the offset of the last accepted event in `partition`; `labels` are
    "key:value" strings; `run` is the latest run, None before the first. A deleted job keeps only its tombstone:
    inputs, labels, spec and run are emptied, and its `runs` documents are gone. `spec`: parameters, deadline_s and
    max_attempts of the latest run asked for. `history`: the chunk of `history` in use ({"chunk", "events",
    "size_bytes"}), which is for the projector alone."""

    _id: str
    tenant: str
    partition: int
    position: int
    version: int
    last_event_id: str
    status: str
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None
    labels: list[str]
    model: dict[str, str]
    inputs: list[dict[str, Any]]
    spec: dict[str, Any]
    run: Run | None
    event_count: int
    void_count: int
    history: dict[str, int]
    timeline: list[TimelineEntry]


class RunDocument(Run):
    """`_id` is "<job>:<run>"."""

    _id: str
    job: str
    tenant: str
    partition: int
    position: int


class HistoryEntry(TypedDict):
    """One event as it stands in the log: `event` is the raw CloudEvents JSON."""

    offset: int
    void: bool
    type: str
    status: str
    event: str


class History(TypedDict):
    """`_id` is "<job>:<chunk>"; `first` and `last` are the offsets of its first and last entries."""

    _id: str
    job: str
    tenant: str
    partition: int
    chunk: int
    first: int
    last: int
    entries: list[HistoryEntry]


class Stats(TypedDict):
    """Per hour (UTC), model and partition; summed on reading. `_id` is
    "<hour>|<tenant>|<name>@<version>|p<partition>".
    `events` counts accepted events by short type; durations are sums in milliseconds over the `finished` runs,
    which are those that succeeded (the others stand in `events`)."""

    _id: str
    tenant: str
    partition: int
    hour: datetime
    model: str
    model_version: str
    events: dict[str, int]
    void: int
    finished: int
    queued_ms: float
    running_ms: float
    inference_ms: float


class ModelVersion(TypedDict):
    """One version in the catalogue: its description as registered, and `status` active or retired."""

    version: str
    status: str
    digest: str
    kind: str
    runtime: str
    source: dict[str, Any]
    artifact: dict[str, Any]
    input: dict[str, Any]
    output: dict[str, Any]
    labels: dict[str, Any]
    registered_at: datetime
    retired_at: datetime | None


class Model(TypedDict):
    """`_id` is the model's name; versions stand in the order of their registration."""

    _id: str
    tenant: str
    partition: int
    position: int
    version: int
    last_event_id: str
    versions: list[ModelVersion]


class Quarantined(TypedDict):
    """A record that no fold could read, raw. `_id` is "<topic>:p<partition>:<offset>"."""

    _id: str
    topic: str
    partition: int
    offset: int
    key: bytes | None
    headers: list[tuple[str, bytes]]
    value: bytes | None
    reason: str
    job: NotRequired[str]
