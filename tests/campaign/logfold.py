"""What the log says, folded by the rule of docs/adr/0002 and written again from there: no code of the services.

An event counts if it names the version after the last counted one and that one's id; the first must be `created`.
It then moves the job by the table of docs/lifecycle.md. An event that counts although no state of that table allows
it is a finding, not an error of the fold.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from zlib import crc32

from campaign.history import CANCEL, CREATE, DELETE, RUN, LogRecord

ACTIVE = frozenset({"queued", "running"})
CLIENT_OPS: Mapping[str, str] = {
    "created": CREATE,
    "execution-requested": RUN,
    "cancelled": CANCEL,
    "deleted": DELETE,
}
_ENDED = frozenset({"created", "succeeded", "failed", "cancelled"})
_MOVES: Mapping[str, tuple[frozenset[str], str]] = {
    "execution-requested": (_ENDED, "queued"),
    "execution-started": (frozenset({"queued"}), "running"),
    "execution-progressed": (frozenset({"running"}), "running"),
    "execution-succeeded": (frozenset({"running"}), "succeeded"),
    "execution-failed": (ACTIVE, "failed"),
    "attempt-expired": (frozenset({"running"}), "queued"),
    "cancelled": (ACTIVE, "cancelled"),
    "deleted": (_ENDED | ACTIVE, "deleted"),
}
"""By short type: from which states it may come, and where the job stands after it."""


@dataclass(frozen=True, slots=True)
class Event:
    """One record as an event. `effect`: operation and variant, if clients make such events, else None."""

    record: LogRecord
    id: str
    type: str
    version: int
    prev_id: str
    command_id: str
    run: int
    attempt: int
    effect: tuple[str, str] | None

    @property
    def offset(self) -> int:
        return self.record.offset


@dataclass(frozen=True, slots=True)
class State:
    """Where a job stands. Before its first event: version 0, status ""."""

    version: int = 0
    last_id: str = ""
    status: str = ""
    run: int = 0
    attempt: int = 0


@dataclass(slots=True)
class Story:
    """All that became of one job. `states[i]` is where it stood after `accepted[:i]`."""

    job_id: str
    accepted: list[Event] = field(default_factory=list)
    states: list[State] = field(default_factory=lambda: [State()])
    void: list[Event] = field(default_factory=list)
    illegal: list[str] = field(default_factory=list)

    @property
    def last(self) -> State:
        return self.states[-1]


class LogFold:
    """Stories by job id. Add records in the order of each partition."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self.stories: dict[str, Story] = {}
        self.strange: list[str] = []
        self.active: set[str] = set()

    def add(self, record: LogRecord) -> None:
        at = f"partition {record.partition} offset {record.offset}"
        try:
            event = _event(record)
        except (KeyError, ValueError) as error:
            self.strange.append(f"{at} is no event: {error!r}")
            return
        if partition_of(record.key, self.partitions) != record.partition:
            self.strange.append(f"{at} holds an event of job {record.key}, whose partition is another")
            return
        story = self.stories.setdefault(record.key, Story(record.key))
        before = story.last
        continues = event.version == before.version + 1 and event.prev_id == before.last_id
        opens = before.version == 0
        if not continues or opens != (event.type == "created"):
            story.void.append(event)
            return
        after, wrong = _moved(before, event)
        if wrong:
            story.illegal.append(f"{event.type} at {at}: {wrong}")
        story.accepted.append(event)
        story.states.append(after)
        (self.active.add if after.status in ACTIVE else self.active.discard)(record.key)


def fold(records: Iterable[LogRecord], partitions: int) -> LogFold:
    """The fold of records in any order of partitions."""
    found = LogFold(partitions)
    for record in sorted(records, key=lambda r: (r.partition, r.offset)):
        found.add(record)
    return found


def partition_of(key: str, partitions: int) -> int:
    return crc32(key.encode()) % partitions


def _event(record: LogRecord) -> Event:
    said = record.headers
    kind = said["type"].removeprefix("darkroom.job.").removesuffix(".v1")
    return Event(
        record=record,
        id=said["id"],
        type=kind,
        version=int(said["streamversion"]),
        prev_id=said["previd"],
        command_id=said["commandid"],
        run=int(said["run"]),
        attempt=int(said["attempt"]),
        effect=_effect(kind, record),
    )


def _effect(kind: str, record: LogRecord) -> tuple[str, str] | None:
    op = CLIENT_OPS.get(kind)
    if op is None:
        return None
    if op == CREATE:
        return op, f"{record.data['labels']['asked']}{'' if record.data['execute'] else ' idle'}"
    return op, str(record.data["parameters"]["top_k"]) if op == RUN else ""


def _moved(before: State, event: Event) -> tuple[State, str]:
    """The state after an accepted event, and what is wrong with it, if anything."""
    if event.type == "created":
        status = "queued" if event.run else "created"
        wrong = "" if event.run in (0, 1) and (event.run == 1) == bool(event.record.data["execute"]) else "its run"
        return State(event.version, event.id, status, event.run), wrong
    allowed, status = _MOVES.get(event.type, (frozenset(), before.status))
    run = before.run + 1 if event.type == "execution-requested" else before.run
    attempt = {"execution-requested": 0, "execution-started": before.attempt + 1}.get(event.type, before.attempt)
    wrong = ""
    if before.status not in allowed:
        wrong = f"the job was {before.status}"
    elif event.run != run:
        wrong = f"it names run {event.run}, the job is at {run}"
    elif event.effect is None and event.attempt != attempt:
        wrong = f"it names attempt {event.attempt}, the job is at {attempt}"
    return State(event.version, event.id, status, event.run, attempt), wrong
