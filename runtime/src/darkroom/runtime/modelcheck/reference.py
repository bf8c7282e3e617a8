"""The fold, written a second time from the design's rule alone: what every answer and every fold is held against.

It shares no code with `chain.accepts`, `job.evolve`, `job.decide` or HeadStore.
"""

from dataclasses import dataclass
from typing import NamedTuple

from darkroom.runtime.eventlog.port import Record
from darkroom.schemas import job
from darkroom.schemas.chain import partition_of

ENDED = ("succeeded", "failed", "cancelled")
LEGAL: dict[tuple[str, str], str] = {
    ("created", "execution-requested"): "queued",
    ("created", "deleted"): "deleted",
    ("queued", "execution-started"): "running",
    ("queued", "execution-failed"): "failed",
    ("queued", "cancelled"): "cancelled",
    ("queued", "deleted"): "deleted",
    ("running", "execution-progressed"): "running",
    ("running", "execution-succeeded"): "succeeded",
    ("running", "execution-failed"): "failed",
    ("running", "attempt-expired"): "queued",
    ("running", "cancelled"): "cancelled",
    ("running", "deleted"): "deleted",
    **{(ended, "execution-requested"): "queued" for ended in ENDED},
    **{(ended, "deleted"): "deleted" for ended in ENDED},
}
"""The state diagram, drawn a second time: what may follow in each status, and where it leads."""


class Violation(AssertionError):
    """A property does not hold."""


class Known(NamedTuple):
    """A job after one of its events; field by field what a Head must hold."""

    tenant: str
    version: int
    last_event_id: str
    status: str
    run: int
    attempt: int
    create_command_id: str
    create_hash: str
    origin_offset: int
    request_offset: int
    last_offset: int


@dataclass(slots=True, eq=False)
class Entry:
    """One record in the log. `accepted` is None where it is no event. `before` and `after`: its job around it."""

    record: Record
    key: str
    event_id: str = ""
    command_id: str = ""
    request_hash: str = ""
    accepted: bool | None = None
    before: Known | None = None
    after: Known | None = None

    @property
    def offset(self) -> int:
        return self.record.offset


def follows(before: Known | None, kind: str, version: int, prev_id: str) -> bool:
    """The rule: an event counts if it continues what has been accepted of its job."""
    if before is None:
        return (kind, version, prev_id) == ("created", 1, "")
    return (version, prev_id) == (before.version + 1, before.last_event_id)


class Reference:
    """One partition's log as it stands, with every entry judged. `strict`: nobody uses an event's id again, so the
    first record of an id is the one that counts, if any does (a log that was cut may break that)."""

    def __init__(self, partition: int, partitions: int, window: int, strict: bool) -> None:
        self.partition = partition
        self.entries: list[Entry] = []
        self.lost: list[Entry] = []
        self.jobs: dict[str, Known] = {}
        self.effects: dict[tuple[str, str], list[int]] = {}
        self.doubled = 0
        self.strict = strict
        self._named: dict[str, Entry] = {}
        self._partitions = partitions
        self._window = window

    @property
    def end(self) -> int:
        return len(self.entries)

    def land(self, record: Record) -> Entry:
        """Judges the next record. Raises Violation if it takes effect though its command did before within the
        window, or where no such event may follow."""
        key = (record.key or b"").decode()
        entry = Entry(record, key)
        self.entries.append(entry)
        said = dict(record.headers)
        if not key or "streamversion" not in said or partition_of(key, self._partitions) != self.partition:
            return entry
        entry.event_id = said["id"].decode()
        entry.command_id = said["commandid"].decode()
        entry.request_hash = said["requesthash"].decode()
        entry.before = entry.after = before = self.jobs.get(key)
        kind = said["type"].decode().split(".")[2]
        entry.accepted = follows(before, kind, int(said["streamversion"]), said["previd"].decode())
        first = self._named.setdefault(entry.event_id, entry)
        if entry.accepted:
            if first is not entry and self.strict:
                raise Violation(f"who drops a second record of one id, as is allowed, would miss {entry}")
            entry.after = self.jobs[key] = self._after(entry, kind, said)
            self._effect(entry)
        return entry

    def cut(self, records: int) -> list[Entry]:
        """Loses the last records, as a broker does that was elected without having them."""
        gone = [self.entries.pop() for _ in range(records)]
        self.strict = False
        for entry in gone:
            if entry.accepted:
                if entry.before is None:
                    del self.jobs[entry.key]
                else:
                    self.jobs[entry.key] = entry.before
                self.effects[entry.key, entry.command_id].pop()
        self.lost += gone
        return gone

    def stands(self, entry: Entry) -> bool:
        """Whether the log still has it."""
        return entry.offset < self.end and self.entries[entry.offset] is entry

    def has(self, offset: int, leader_epoch: int) -> bool:
        """Whether a record of this epoch stands at the offset."""
        return offset < self.end and self.entries[offset].record.leader_epoch == leader_epoch

    def remembered(self, key: str, command_id: str) -> Entry | None:
        """The command's first effect within the window, as the log stands."""
        for offset in self.effects.get((key, command_id), ()):
            if offset >= self.end - self._window:
                return self.entries[offset]
        return None

    def _after(self, entry: Entry, kind: str, said: dict[str, bytes]) -> Known:
        before, offset = entry.before, entry.record.offset
        run, attempt = int(said["run"]), int(said["attempt"])
        if before is None:
            return Known(
                tenant=said["tenant"].decode(),
                version=1,
                last_event_id=entry.event_id,
                status="queued" if run else "created",
                run=run,
                attempt=0,
                create_command_id=entry.command_id,
                create_hash=entry.request_hash,
                origin_offset=offset,
                request_offset=offset,
                last_offset=offset,
            )
        status = LEGAL.get((before.status, kind))
        if status is None:
            raise Violation(f"{kind} took effect at offset {offset} on a job that was {before.status}")
        asks = kind == "execution-requested"
        if asks and run != before.run + 1:
            raise Violation(f"run {run} was requested at offset {offset} after run {before.run}")
        if kind == "execution-started" and (run, attempt) != (before.run, before.attempt + 1):
            raise Violation(f"attempt {attempt} of run {run} started at offset {offset} after {before}")
        return before._replace(
            version=before.version + 1,
            last_event_id=entry.event_id,
            status=status,
            run=run,
            attempt=0 if asks else max(attempt, before.attempt),
            request_offset=offset if asks else before.request_offset,
            last_offset=offset,
        )

    def _effect(self, entry: Entry) -> None:
        earlier = self.effects.setdefault((entry.key, entry.command_id), [])
        if earlier:
            if entry.record.offset - earlier[-1] <= self._window:
                raise Violation(
                    f"command {entry.command_id} took effect at offset {entry.record.offset} though it did at "
                    f"{earlier[-1]}"
                )
            self.doubled += 1
        earlier.append(entry.record.offset)


def refusal(known: Known | None, seen: Entry | None, command: job.Command, identity: job.Identity) -> str | None:
    """Why a command on a job that stands there is refused: `why status`, or None if it is not."""
    if isinstance(command, job.Create):
        if known is None:
            return "version" if identity.condition is not None else None
        if (known.tenant, known.create_hash) != (identity.tenant, identity.request_hash):
            return "key-reused"
        same = identity.keyed and known.create_command_id == identity.command_id
        if known.status == "deleted" and not same:
            return "deleted deleted"
        unmet = identity.condition is not None and not same and not meets(known, identity.condition)
        return f"version {known.status}" if unmet else None
    if seen is not None:
        return None if seen.request_hash == identity.request_hash else "key-reused"
    if known is None or known.tenant != identity.tenant:
        return "unknown"
    if known.create_command_id == identity.command_id:
        return "key-reused"
    if known.status == "deleted":
        return "deleted deleted"
    if identity.condition is not None and not meets(known, identity.condition):
        return f"version {known.status}"
    return None if _may(known, command) else f"state {known.status}"


def meets(known: Known | None, condition: job.Condition) -> bool:
    """Whether a job stands where `If-Match` wants it."""
    return known is not None and (condition.any or known.version in condition.versions)


def _may(known: Known, command: job.Command) -> bool:
    here = (known.status, known.run, known.attempt)
    match command:
        case job.RequestRun():
            return known.status in ("created", *ENDED)
        case job.Cancel():
            return known.status in ("queued", "running")
        case job.Delete():
            return True
        case job.Start(run=run) | job.Fail(run=run, attempt=0):
            return here[:2] == ("queued", run)
        case job.Progress(run=run, attempt=attempt) | job.Succeed(run=run, attempt=attempt):
            return here == ("running", run, attempt)
        case job.Fail(run=run, attempt=attempt) | job.EndAttempt(run=run, attempt=attempt):
            return here == ("running", run, attempt)
        case _:
            raise NotImplementedError(command)
